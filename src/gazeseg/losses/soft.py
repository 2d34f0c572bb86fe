"""Cross-entropy and Dice with soft targets and a weight for each pixel; weight 0 ignores it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gazeseg.losses.overlap import SMOOTH


def soft_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy with a probability as target.

    Args:
        logits: (B, H, W) foreground logit.
        target: (B, H, W) in 0..1.
        weight: (B, H, W), at least 0.

    Returns:
        (B,) weighted mean over the pixels of each image; 0 where they all weigh nothing.
    """
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * loss).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)


def soft_target_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    r"""Dice semimetric loss :math:`1 - (|p| + |y| - |p - y|) / (|p| + |y|)`, with weighted sums.

    Wang et al., "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels", MICCAI 2023 (DML1). For targets
    of 0 and 1 it is the soft Dice loss; unlike that, it is least at p = y for any y.

    Args:
        logits: (B, H, W) foreground logit.
        target: (B, H, W) in 0..1.
        weight: (B, H, W), at least 0.

    Returns:
        (B,) one loss an image; 0 where all pixels weigh nothing.
    """
    foreground = logits.float().sigmoid()
    total = (weight * (foreground + target)).sum(dim=(1, 2))
    apart = (weight * (foreground - target).abs()).sum(dim=(1, 2))
    return 1 - (total - apart + SMOOTH) / (total + SMOOTH)


def missing_dwell(foreground: Tensor, gaze_map: Tensor, share: float) -> Tensor:
    """Return how much less than ``share`` of the dwell time the predicted foreground holds.

    Dwell time is read off the core of the heatmap, what is above half its maximum: its foot is as wide as the Gaussian
    that drew it, wider than many an object.

    Args:
        foreground: (B, H, W) probability.
        gaze_map: (B, H, W) heatmap in 0..1; an image without gaze gives 0.
        share: Least share, 0..1; above it the loss is 0, so that a larger mask gains nothing.
    """
    peak = gaze_map.amax(dim=(1, 2), keepdim=True)
    core = (gaze_map - 0.5 * peak).clamp(min=0)
    mass = core.sum(dim=(1, 2))
    held = (core * foreground).sum(dim=(1, 2)) / mass.clamp(min=SMOOTH)
    return (share - held).clamp(min=0) * (mass > 0)
