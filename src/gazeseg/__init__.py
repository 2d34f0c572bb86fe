"""gazeseg: turn where an expert looks into a segmentation model."""

__version__ = "0.1.0"
