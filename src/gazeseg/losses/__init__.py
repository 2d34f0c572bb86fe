"""Pure functions from logits and targets to scalars; 255 is ignored everywhere."""
