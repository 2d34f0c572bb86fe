"""Named recipes run from start to verdict, result files, and the leader-board that gathers them."""
