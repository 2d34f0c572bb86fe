"""From a trained run and images to masks."""
