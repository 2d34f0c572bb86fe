"""Pure functions from logits and targets to scalars; 255 is ignored everywhere."""

from gazeseg.losses.consistency import cross_level_consistency
from gazeseg.losses.logits import logits_from_probabilities, probabilities
from gazeseg.losses.overlap import hard_overlap, soft_dice_loss
from gazeseg.losses.partial import partial_cross_entropy, partial_dice_loss
from gazeseg.losses.propagation import Neighbourhood, propagate_logits

__all__ = [
    "Neighbourhood",
    "cross_level_consistency",
    "hard_overlap",
    "logits_from_probabilities",
    "partial_cross_entropy",
    "partial_dice_loss",
    "probabilities",
    "propagate_logits",
    "soft_dice_loss",
]
