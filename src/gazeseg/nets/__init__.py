"""Networks: no loss, no file access."""
