"""One file a method, found by scanning this folder."""
