"""Pull maps of a network's perception towards a heatmap of gaze: the Gaze Loss of our HG-DTGL-style reconstruction.

Known from the abstract of arXiv 2604.10754 is that such a loss aligns perception and gaze; the formula is ours. It is
free of scale, because the amplitude of a heatmap means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["kl_cc", "cc", "mse", "bce"]

EMPTY = 1e-8
NO_SPREAD = 1e-12  # variance of a map below which it correlates with nothing


def gaze_loss(perception: Sequence[Tensor], gaze: Tensor, valid: Tensor, *, kind: Kind = "kl_cc") -> Tensor:
    r"""Return the mean over the maps of :math:`\sum_i v_i \ell_i / \sum_i v_i`; 0 where no image is valid.

    With q the gaze, pooled to the size of the map and normalised to sum 1, and p the softmax of the map over its
    pixels, ``kl_cc`` is :math:`\mathrm{KL}(q \| p) / \log(hw) + 1 - \mathrm{Pearson}(p, q)` and ``cc`` its second part.
    ``mse`` and ``bce`` compare the sigmoid of the map with the gaze divided by its maximum.

    Args:
        perception: Logits (B, 1, h, w), sizes may differ.
        gaze: (B, 1, H, W), not negative.
        valid: (B,) bool; an image whose gaze is zero everywhere is not valid whatever this says.
        kind: What is compared.
    """
    terms = [_term(logit.float(), gaze.float(), valid, kind) for logit in perception]
    return torch.stack(terms).mean()


def _term(logit: Tensor, gaze: Tensor, valid: Tensor, kind: Kind) -> Tensor:
    size = (logit.shape[-2], logit.shape[-1])
    target = (gaze if gaze.shape[-2:] == size else F.adaptive_avg_pool2d(gaze, size)).flatten(1)
    flat = logit.flatten(1)
    total = target.sum(dim=1, keepdim=True)
    weight = (valid & (total[:, 0] > 0)).to(flat.dtype)
    if kind in ("mse", "bce"):
        share = target / target.amax(dim=1, keepdim=True).clamp_min(EMPTY)
        if kind == "mse":
            each = (torch.sigmoid(flat) - share).square().mean(dim=1)
        else:
            each = F.binary_cross_entropy_with_logits(flat, share, reduction="none").mean(dim=1)
    else:
        q = target / total.clamp_min(EMPTY)
        log_p = F.log_softmax(flat, dim=1)
        each = 1 - _pearson(log_p.exp(), q)
        if kind == "kl_cc":
            divergence = (torch.xlogy(q, q) - q * log_p).sum(dim=1)
            each = each + divergence / math.log(max(flat.shape[1], 2))
    return (weight * each).sum() / (weight.sum() + EMPTY)


def _pearson(p: Tensor, q: Tensor) -> Tensor:
    """Correlation of the rows of two (B, N); 0 where one of them is flat."""
    size = p.shape[1]
    p, q = (p - p.mean(dim=1, keepdim=True)) * size, (q - q.mean(dim=1, keepdim=True)) * size  # of order one
    spread = (p.square().mean(dim=1) * q.square().mean(dim=1)).clamp_min(NO_SPREAD).sqrt()
    return (p * q).mean(dim=1) / spread
