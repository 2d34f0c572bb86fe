"""Handing on what was made: runs to other runtimes and people, data sets to nnU-Net."""
