"""Targets from nested pseudo-masks, by what their levels agree on; the order of the levels plays no part."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from gazeseg.types import IGNORE


def narrow_target(pseudo: Tensor, *, background: Literal["outside_bc", "all"] = "outside_bc") -> Tensor:
    """Return (B, H, W): the class where all levels agree on it, 255 where one of them ignores.

    The ring between the narrowest and the broadest mask is 255 with ``outside_bc``, background with ``all``.

    Args:
        pseudo: (B, L, H, W) nested classes, 255 = ignore.
        background: What is background.
    """
    low, high = _extremes(pseudo)
    if background == "all":
        return torch.where(high == IGNORE, IGNORE, low)
    return torch.where(low == high, low, IGNORE)


def broad_target(pseudo: Tensor) -> Tensor:
    """Return (B, H, W), the broadest of the nested masks (B, L, H, W); 255 where one of them ignores."""
    return _extremes(pseudo)[1]


def ring(pseudo: Tensor) -> Tensor:
    """Return (B, H, W) True where the nested masks (B, L, H, W) differ and none ignores."""
    low, high = _extremes(pseudo)
    return (low != high) & (high != IGNORE)


def _extremes(pseudo: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest label over the levels; 255 is the greatest, so one level ignores for all."""
    levels = pseudo.unbind(dim=1)  # much faster than amin and amax on a CPU
    return functools.reduce(torch.minimum, levels), functools.reduce(torch.maximum, levels)
