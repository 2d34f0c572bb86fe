"""Cross-entropy and Dice over a region of a mixed image, as BCP weighs pasted and remaining pixels.

Bai et al., "Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation", CVPR 2023, arXiv 2305.00673; the
formulas are those of the released code, GitHub DeepMed-Lab-ECNU/BCP at 7879f98.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gazeseg.losses.logits import probabilities
from gazeseg.types import IGNORE

DICE_SMOOTH = 1e-10
MEAN_SMOOTH = 1e-16


def region_dice(
    values: Tensor, target: Tensor, region: Tensor | None = None, *, masked_background: bool = True
) -> Tensor:
    r"""Return the mean over all classes of :math:`1 - 2 \sum p y m / (\sum p^2 m + \sum y m)`.

    The sums run over the batch and its pixels, as in SSL4MIS. Pixels of 255 belong to no region.

    Args:
        values: (B, K, H, W) probabilities, background first.
        target: (B, H, W) int64 class indices, 255 = ignore.
        region: (B, H, W) bool; None: everywhere.
        masked_background: Whether the region holds for the background as well. Code of BCP before October 2023, on
            which its published numbers very likely rest, counted the background of the whole image.
    """
    seen = target != IGNORE
    inside = seen if region is None else seen & region
    classes = torch.arange(values.shape[1], device=target.device).view(1, -1, 1, 1)
    truth = (target[:, None] == classes).to(values.dtype)
    weight = inside[:, None].to(values.dtype).expand_as(values)
    if not masked_background:
        weight = torch.cat([seen[:, None].to(values.dtype), weight[:, 1:]], dim=1)
    both = (values * truth * weight).sum(dim=(0, 2, 3))
    total = (values.square() * weight).sum(dim=(0, 2, 3)) + (truth * weight).sum(dim=(0, 2, 3))
    return (1 - (2 * both + DICE_SMOOTH) / (total + DICE_SMOOTH)).mean()


def region_cross_entropy(logits: Tensor, target: Tensor, region: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy over the pixels of a region; binary for one logit; 0 where the region is empty.

    Args:
        logits: (B, 1, H, W) for two classes, else (B, K, H, W).
        target: (B, H, W) int64 class indices, 255 = ignore.
        region: (B, H, W) bool; None: everywhere.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    seen = target != IGNORE
    inside = seen if region is None else seen & region
    if logits.shape[1] == 1:
        loss = F.binary_cross_entropy_with_logits(logits[:, 0], (target == 1).to(logits.dtype), reduction="none")
    else:
        loss = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    return torch.where(inside, loss, 0.0).sum() / (inside.sum() + MEAN_SMOOTH)


def region_loss(
    logits: Tensor, target: Tensor, region: Tensor | None, num_classes: int, *, masked_background: bool = True
) -> Tensor:
    """Return Dice + cross-entropy over a region; arguments as :func:`region_dice` and :func:`region_cross_entropy`."""
    dice = region_dice(probabilities(logits, num_classes), target, region, masked_background=masked_background)
    return dice + region_cross_entropy(logits, target, region)


def mixed_loss(
    logits: Tensor,
    *,
    foreground: Tensor,
    background: Tensor,
    pasted: Tensor,
    foreground_weight: float,
    background_weight: float,
    num_classes: int,
    masked_background: bool = True,
) -> Tensor:
    r"""Return :math:`\frac12 [w_B \ell(o, y_B; 1 - M) + w_F \ell(o, y_F; M)]` with :math:`\ell` = Dice + cross-entropy.

    Args:
        logits: Of the mixed images, (B, 1, H, W) for two classes, else (B, K, H, W).
        foreground: (B, H, W) labels of what was pasted.
        background: (B, H, W) labels of what was pasted into.
        pasted: (B, H, W) bool, M: True where the foreground lies.
        foreground_weight: w_F.
        background_weight: w_B.
        num_classes: Background included.
        masked_background: See :func:`region_dice`.
    """
    inner = region_loss(logits, foreground, pasted, num_classes, masked_background=masked_background)
    outer = region_loss(logits, background, ~pasted, num_classes, masked_background=masked_background)
    return (foreground_weight * inner + background_weight * outer) / 2
