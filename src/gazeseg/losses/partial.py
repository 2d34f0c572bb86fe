"""Cross-entropy and Dice on the labelled pixels only; 255 is ignored.

The mask acts on the loss, not on the logit: multiplying an ignored logit by zero, as is done elsewhere, leaves a
constant ln 2 per ignored pixel in the value and changes the weight of the others. Both losses are averaged over the
labelled pixels of each image and then over the batch, as GNAN (MICCAI 2025) does; an image without a labelled pixel
gives exactly 0. With every pixel labelled they are the ordinary cross-entropy and Dice losses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gazeseg.losses.logits import probabilities
from gazeseg.losses.overlap import soft_dice_loss
from gazeseg.types import IGNORE


def partial_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, binary for a single logit.

    Args:
        logits: (B, 1, H, W) foreground logit, or (B, K, H, W) with K >= 3.
        target: (B, H, W) int64 class indices, 255 = ignore.

    Returns:
        A scalar: the mean over the batch of each image's mean over its labelled pixels.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    labelled = target != IGNORE
    if logits.shape[1] == 1:
        truth = (target == 1).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
        loss = torch.where(labelled, loss, 0.0)
    else:
        loss = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    pixels = labelled.sum(dim=(1, 2)).clamp(min=1)
    return (loss.sum(dim=(1, 2)) / pixels).mean()


def partial_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of the foreground classes on the labelled pixels; arguments as :func:`partial_cross_entropy`."""
    num_classes = max(2, logits.shape[1])
    foreground = probabilities(logits, num_classes)[:, 1:]
    labelled = (target != IGNORE)[:, None]
    classes = torch.arange(1, num_classes, device=target.device).view(1, -1, 1, 1)
    truth = (target[:, None] == classes).to(foreground.dtype)  # 255 is no class, so it is already 0 here
    return soft_dice_loss(torch.where(labelled, foreground, 0.0), truth)
