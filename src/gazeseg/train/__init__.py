"""The only training loop, its checkpoints and its run folder."""
