"""Angular Feature Consistency of FGI ("From Gaze to Insight", IEEE TMI 2025, arXiv 2504.11368)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6  # shortest product of two lengths that has an angle


def angular_consistency(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    r"""Return :math:`\frac{1}{S} \sum_s \mathrm{mean}_{b,h,w} (1 - \cos(F^S_s, F^T_s))`, the angle over the channels.

    0 for features of one direction, 1 for right angles, 2 for opposite ones. The teacher receives no gradient. Computed
    in float32 at least.

    Args:
        student: S maps (B, C, h, w), a scale each.
        teacher: The same shapes.

    Examples:
        >>> angular_consistency([torch.ones(1, 2, 1, 1)], [3 * torch.ones(1, 2, 1, 1)]).abs().item() < 1e-6
        True
    """
    terms = []
    for own, other in zip(student, teacher, strict=True):
        wide = torch.float64 if own.dtype == torch.float64 else torch.float32
        cosine = F.cosine_similarity(own.to(wide), other.detach().to(wide), dim=1, eps=EPS)
        terms.append(1 - cosine.mean())
    return torch.stack(terms).mean()
