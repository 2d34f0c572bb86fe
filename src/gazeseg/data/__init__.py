"""The dataset folder, its importers, and the way from files to batches."""
