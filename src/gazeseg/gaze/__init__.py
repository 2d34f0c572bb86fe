"""Recordings and fixations; NumPy only."""
