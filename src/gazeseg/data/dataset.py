"""The dataset folder: ``dataset.yaml``, ``cases.csv`` and ``gaze/fixations.csv``; images by reference or copy."""
