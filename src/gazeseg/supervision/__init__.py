"""Fixations to training targets; NumPy and numba, never torch."""
