"""The data sets of this package: one file, one record, one entry point each. Readers are imported when they read."""
