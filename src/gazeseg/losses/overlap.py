"""Overlap of probabilities or masks with a target."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTH = 1e-6  # keeps 0/0 away: nothing predicted where nothing is true counts as a full overlap, loss 0


def soft_dice_loss(foreground: Tensor, truth: Tensor) -> Tensor:
    r"""Return :math:`1 - 2 \sum pg / (\sum p + \sum g)`, averaged over images and classes.

    The sums run over the pixels of one class of one image (Milletari et al., 3DV 2016, with plain sums below, as
    GazeMedSeg reports it).

    Args:
        foreground: (B, K, H, W) probabilities of the foreground classes.
        truth: (B, K, H, W) in {0, 1}.
    """
    both = (foreground * truth).sum(dim=(2, 3))
    total = foreground.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return (1 - (2 * both + SMOOTH) / (total + SMOOTH)).mean()


def hard_overlap(prediction: Tensor, truth: Tensor, *, both_empty: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return Dice and IoU of boolean masks (..., H, W), each (...); ``both_empty`` where neither has a pixel.

    Examples:
        >>> dice, iou = hard_overlap(torch.tensor([[True, True]]), torch.tensor([[True, False]]))
        >>> round(dice.item(), 3), iou.item()
        (0.667, 0.5)
    """
    both = (prediction & truth).sum(dim=(-2, -1)).float()
    total = prediction.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    empty = total == 0
    safe = total.clamp(min=1).float()
    union = (safe - both).clamp(min=1)
    fill = torch.tensor(both_empty, device=both.device)
    return torch.where(empty, fill, 2 * both / safe), torch.where(empty, fill, both / union)
