"""Disagreement-Aware Random Masking (DARM) of FGI ("From Gaze to Insight", IEEE TMI 2025, arXiv 2504.11368).

Random square blocks are laid where two predictions differ. Widths of 3, 5, 7, 9 and 11 pixels are drawn 1 : 2 : 2 : 2 :
1, so that a block has 55 pixels on average. The released code walks over pixels in Python; here a block is four corners
in a table of differences, whose running sums over rows and columns count the blocks on every pixel. Nothing waits for
the device: the greatest possible number of blocks follows from the size of the image.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

RADII_PX = (1, 2, 2, 3, 3, 4, 4, 5)  # one of these, all alike probable
BLOCK_AREA = sum((2 * radius + 1) ** 2 for radius in RADII_PX) / len(RADII_PX)  # 55 px
INSIDE = 0.8  # typical share of a block that lies in the disagreement (measured on rings of 6 px and more)

Budget = Literal["image", "batch"]


def block_budget(
    disagreement: Tensor, *, rho: float, budget: Budget = "image", max_area: float = 0.5
) -> tuple[Tensor, int]:
    r"""Return how many blocks each row may get.

    ``image``: :math:`K_b = \lceil -\ln(1 - \rho) |D_b| / (55 \cdot 0.8) \rceil`, which allows for blocks that overlap
    and for what falls outside, so that about a share rho of D is hidden; at most as many as hide ``max_area`` of the
    image.
    ``batch``, the released code: :math:`\lceil \rho |D| / 55 \rceil` for all images together, which hides less.

    Args:
        disagreement: (R, N) bool, one row an image (or one row in all, for ``batch``).
        rho: Share of the disagreement to hide, below 1.
        budget: How to count.
        max_area: Share of the image that may be hidden; ``image`` only.

    Returns:
        (R,) int64, 0 for an empty row; and the greatest number that any disagreement of this size can get.
    """
    pixels = disagreement.shape[1]
    if budget == "batch":
        per_pixel, cap = rho / BLOCK_AREA, pixels
    else:
        per_pixel = -math.log1p(-rho) / (BLOCK_AREA * INSIDE)
        cap = math.floor(-math.log1p(-max_area) * pixels / BLOCK_AREA) if max_area < 1 else pixels
    count = (disagreement.sum(dim=1) * per_pixel).ceil().long()
    return count.clamp(max=cap), min(math.ceil(pixels * per_pixel), cap)


def random_blocks(
    disagreement: Tensor,
    *,
    rho: float,
    generator: torch.Generator,
    budget: Budget = "image",
    max_area: float = 0.5,
    clip: bool = False,
) -> Tensor:
    """Return (B, 1, H, W) True in random blocks with centres in the disagreement; False throughout where that is empty.

    Args:
        disagreement: (B, 1, H, W) bool.
        rho: Share of the disagreement to hide.
        generator: On the device of ``disagreement``; decides centres and widths.
        budget: Count the blocks for each image, or for the whole batch as the released code does.
        max_area: Greatest share of an image to hide.
        clip: Hide nothing outside the disagreement.
    """
    count, _, height, width = disagreement.shape
    rows = disagreement.reshape(1, -1) if budget == "batch" else disagreement.flatten(1)
    number, most = block_budget(rows, rho=rho, budget=budget, max_area=max_area)
    device = disagreement.device
    score = torch.rand(rows.shape, generator=generator, device=device).add_(1.0).mul_(rows)  # 1..2 inside, else 0
    centre = score.topk(most, dim=1).indices  # (R, most), a random order of the pixels inside
    used = torch.arange(most, device=device) < number[:, None]
    which = torch.randint(len(RADII_PX), centre.shape, generator=generator, device=device)
    radius = (which + 3) // 2  # RADII_PX[which], without a copy to the device

    image = torch.arange(len(rows), device=device)[:, None] if budget == "image" else centre // (height * width)
    y, x = centre // width % height, centre % width
    top, left = (y - radius).clamp(min=0), (x - radius).clamp(min=0)
    bottom, right = (y + radius + 1).clamp(max=height), (x + radius + 1).clamp(max=width)
    table = torch.zeros(count, height + 1, width + 1, device=device, dtype=torch.int32)
    once = used.to(torch.int32)
    for line, column, value in ((top, left, once), (top, right, -once), (bottom, left, -once), (bottom, right, once)):
        place = (image * (height + 1) + line) * (width + 1) + column
        table.view(-1).scatter_add_(0, place.flatten(), value.flatten())
    laid = table.cumsum(dim=1, dtype=torch.int32).cumsum(dim=2, dtype=torch.int32)[:, None, :height, :width] > 0
    return laid & disagreement if clip else laid
