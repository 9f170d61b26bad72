"""Where models are beside packages and folders: one file for each kind of store. No torch."""
