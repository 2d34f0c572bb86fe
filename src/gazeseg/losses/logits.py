"""Between logits and probabilities. Two classes share one foreground logit; more classes have one logit each."""

from __future__ import annotations

import torch
from torch import Tensor

CLAMP = 1e-6  # probabilities are kept this far from 0 and 1 in front of a logarithm


def probabilities(logits: Tensor, num_classes: int) -> Tensor:
    """Turn logits (B, 1, H, W) for two classes, else (B, K, H, W), into probabilities (B, K, H, W) that sum to 1.

    Computed in float32 at least, whatever the precision of the logits.

    Examples:
        >>> probabilities(torch.zeros(1, 1, 1, 1), 2).flatten().tolist()
        [0.5, 0.5]
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if num_classes == 2:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return torch.softmax(logits, dim=1)


def logits_from_probabilities(values: Tensor) -> Tensor:
    """Turn probabilities (B, K, H, W) back into logits: (B, 1, H, W) = log p1 - log p0 for two classes, else log p.

    Probabilities are clamped to [1e-6, 1 - 1e-6] first.
    """
    logs = values.clamp(CLAMP, 1 - CLAMP).log()
    return logs[:, 1:] - logs[:, :1] if values.shape[1] == 2 else logs
