"""CutMix: one box for a whole batch, pasted from partners (Yun et al., ICCV 2019), as FGI's released code uses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FIRST_CENTRE = 1 / 8  # of the side: centres are uniform from there to the far end


@dataclass(frozen=True, slots=True)
class Mix:
    """Where to paste what: rows ``top`` to ``bottom`` and columns ``left`` to ``right`` come from ``partner`` (B,)."""

    top: int
    bottom: int
    left: int
    right: int
    partner: Tensor

    def paste(self, maps: Tensor) -> Tensor:
        """Return a copy of (B, C, H, W) in which the box of each image is its partner's."""
        out = maps.clone()
        box = (..., slice(self.top, self.bottom), slice(self.left, self.right))
        out[box] = maps[box][self.partner]
        return out


def draw_mix(
    count: int, size: tuple[int, int], *, alpha: float, rng: np.random.Generator, generator: torch.Generator
) -> Mix:
    r"""Draw a box, and a partner for each image.

    Its sides are :math:`\sqrt{1 - \lambda}` of the image, :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`. Its
    centre is uniform in [side / 8, side) of each axis, and the image cuts it off. The partners are a random
    permutation.

    Args:
        count: Images in the batch.
        size: (H, W) in pixels.
        alpha: Of the Beta distribution.
        rng: Draws the box, on the host.
        generator: Draws the partners, on the device where the batch is.
    """
    share = float(np.sqrt(1 - rng.beta(alpha, alpha)))
    (top, bottom), (left, right) = (_interval(side, share, rng) for side in size)
    partner = torch.rand(count, generator=generator, device=generator.device).argsort()
    return Mix(top, bottom, left, right, partner)


def _interval(side: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Return first and last + 1 of the rows or columns of a box."""
    centre, half = rng.uniform(side * FIRST_CENTRE, side), side * share / 2
    return max(0, round(centre - half)), min(side, round(centre + half))
