"""One importer a data set."""
