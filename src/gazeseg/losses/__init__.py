"""Pure functions from logits and targets to scalars; 255 is ignored everywhere."""

from gazeseg.losses.angular import angular_consistency
from gazeseg.losses.confident import confident_consistency, most_probable, ramp_up
from gazeseg.losses.consistency import cross_level_consistency
from gazeseg.losses.cutmix import Mix, draw_mix
from gazeseg.losses.darm import random_blocks
from gazeseg.losses.logits import logits_from_probabilities, probabilities
from gazeseg.losses.neighbourhood import Neighbourhood
from gazeseg.losses.nested import broad_target, narrow_target, ring
from gazeseg.losses.overlap import hard_overlap, soft_dice_loss
from gazeseg.losses.partial import partial_cross_entropy, partial_dice_loss
from gazeseg.losses.propagation import propagate_logits

__all__ = [
    "Mix",
    "Neighbourhood",
    "angular_consistency",
    "broad_target",
    "confident_consistency",
    "cross_level_consistency",
    "draw_mix",
    "hard_overlap",
    "logits_from_probabilities",
    "most_probable",
    "narrow_target",
    "partial_cross_entropy",
    "partial_dice_loss",
    "probabilities",
    "propagate_logits",
    "ramp_up",
    "random_blocks",
    "ring",
    "soft_dice_loss",
]
