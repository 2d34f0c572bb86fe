"""Confidence-Weighted Consistency of FGI ("From Gaze to Insight", IEEE TMI 2025, arXiv 2504.11368), and its ramp."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gazeseg.losses.logits import probabilities

RAMP_SHARPNESS = 5.0  # of the Gaussian ramp-up (Laine & Aila, ICLR 2017)


def confident_consistency(
    logits: Tensor,
    target: Tensor,
    *,
    tau_pos: float = 0.8,
    tau_neg: float = 0.2,
    both: bool = True,
    weighted: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy with the hard labels of another network, where the predictions are confident.

    .. math:: L = \sum_R w \, \mathrm{CE}(s, \hat y) / \sum_R w, \qquad w = \max_k t_k, \quad \hat y = \arg\max_k t_k

    R holds the pixels where t gives more than ``tau_pos`` to a foreground class, or more than 1 - ``tau_neg`` to the
    background; with ``both``, s must do so for the same class. 0 where R is empty. The target receives no gradient.

    In R of the paper (``both``) the loss of a pixel is at most -ln .8 = .22, so its gradients are weak. The released
    code tests the target alone and weights nothing in effect: its two weights cancel.

    Args:
        logits: (B, 1, H, W) for two classes, else (B, K, H, W): the network that learns, s.
        target: (B, K, H, W) probabilities, K = 2 for one logit: the network that is believed, t.
        tau_pos: Least confident foreground.
        tau_neg: Greatest foreground probability of a confident background.
        both: Test both networks, or the target alone.
        weighted: Weight with the confidence, or uniformly.

    Returns:
        The loss, and the share of the pixels that lie in R (detached).
    """
    num_classes = target.shape[1]
    own = logits if logits.dtype == torch.float64 else logits.float()
    confidence, label = most_probable(target.detach())
    bound = torch.where(label > 0, tau_pos, 1 - tau_neg)
    region = confidence > bound
    if both:
        chosen = probabilities(own.detach(), num_classes).gather(1, label[:, None])[:, 0]
        region = region & (chosen > bound)
    if num_classes == 2:
        loss = F.binary_cross_entropy_with_logits(own[:, 0], label.to(own.dtype), reduction="none")
    else:
        loss = F.cross_entropy(own, label, reduction="none")
    weight = torch.where(region, confidence if weighted else torch.ones_like(confidence), 0.0)
    tiny = torch.finfo(weight.dtype).tiny
    return (weight * loss).sum() / weight.sum().clamp(min=tiny), region.float().mean()


def most_probable(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the greatest of the probabilities (B, K, H, W) and its class, both (B, H, W); a tie goes to the first."""
    if values.shape[1] > 2:
        return values.max(dim=1)
    background, foreground = values.unbind(dim=1)  # for two classes ten times faster than a reduction on a CPU
    return torch.maximum(background, foreground), (foreground > background).long()


def ramp_up(step: int, length: int, *, zero_first: bool = False) -> float:
    r"""Return :math:`\exp(-5 (1 - \min(t, T) / T)^2)` for iteration t (from 0) and length T; 1 for T = 0.

    Args:
        step: t.
        length: T.
        zero_first: Give 0 instead of exp(-5) at iteration 0, as the released code does.

    Examples:
        >>> [round(ramp_up(step, 4000), 4) for step in (0, 2000, 4000, 9000)]
        [0.0067, 0.2865, 1.0, 1.0]
    """
    if zero_first and step == 0:
        return 0.0
    left = 1 - min(step, length) / length if length else 0.0
    return math.exp(-RAMP_SHARPNESS * left * left)
