"""Model directories shipped with this package, and the image slice of the demo."""
