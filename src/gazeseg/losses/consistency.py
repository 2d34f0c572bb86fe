"""Agreement between the networks of several pseudo-mask levels.

Zhong et al., "Weakly-supervised Medical Image Segmentation with Gaze Annotations", MICCAI 2024, arXiv 2407.07406.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gazeseg.losses.logits import probabilities


def cross_level_consistency(
    logits: Sequence[Tensor], num_classes: int, *, propagated: Sequence[Tensor] | None = None
) -> Tensor:
    r"""Return one term a level, :math:`-\frac{1}{m-1} \sum_{j \ne i} \mathrm{mean}\,\langle \tilde P_i, P_j \rangle`.

    The product sums over classes, the mean runs over batch and pixels, and the peers :math:`P_j` receive no gradient.
    Each term lies in [-1, 0]; a single level has no peer and gives 0.

    Args:
        logits: m tensors (B, 1 or K, H, W), one a level.
        num_classes: Classes including background.
        propagated: The same after local pixel propagation, which then takes the place of :math:`P_i` ("prop");
            without it the plain predictions are compared ("pure").

    Returns:
        (m,) tensor.
    """
    own = [probabilities(level, num_classes) for level in (logits if propagated is None else propagated)]
    count = len(own)
    if count == 1:
        return own[0].new_zeros(1)
    peers = [probabilities(level.detach(), num_classes) for level in logits]
    terms = []
    for i, mine in enumerate(own):
        others = torch.stack([peer for j, peer in enumerate(peers) if j != i]).sum(dim=0)
        terms.append(-(mine * others).sum(dim=1).mean() / (count - 1))
    return torch.stack(terms)
