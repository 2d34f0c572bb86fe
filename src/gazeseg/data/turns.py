"""Turns of whole pixels on a CPU, straight from the stored bytes to the numbers of a batch.

What :func:`~gazeseg.data.transforms.move_pixels` does with ``params.nearest``, in one pass: every output pixel is
looked up in the source once and written once. SSL4MIS's augmentation turns most samples by quarters or not at all, so
that a sampling grid would be made for nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazeseg.data.transforms import TransformParams
from gazeseg.types import FloatArray

WHOLE: Final = 1e-9  # quarter turns: a turn that near to a whole one moves whole pixels
TILE: Final = 32  # px: a square of this side is turned within the first cache
BITS: Final = 32  # after the point of a source coordinate: 2^-33 px at most, summed up over a row
Array = npt.NDArray[Any]


def turn_pixels(
    source: Array,
    params: TransformParams,
    fill: float,
    *,
    rows: npt.NDArray[np.int64] | None = None,
    table: Array | None = None,
    blank: npt.NDArray[np.bool_] | None = None,
) -> Tensor:
    """Flip, rotate and scale B planes or stacks of planes, each pixel from the nearest one of the source.

    Args:
        source: (N, K, H, W) of any type.
        params: What to do with each of the B samples.
        fill: Value where the output shows nothing of the image.
        rows: (B,) which of the N become the samples; None: all in their order.
        table: (256,) what each byte of the source becomes; None: itself.
        blank: (B,) samples that are ``fill`` throughout; their source is not read.

    Returns:
        (B, K, H, W) of the type of the table, else of the source.
    """
    batch = len(params.zoom)
    chosen = np.arange(batch) if rows is None else rows
    kind = torch.from_numpy(np.empty(0, source.dtype if table is None else table.dtype)).dtype
    out = torch.empty(batch, *source.shape[1:], dtype=kind)
    quarters = params.angle_rad / (np.pi / 2)
    turns = np.rint(quarters)
    square = source.shape[-2] == source.shape[-1]
    whole = (np.abs(quarters - turns) < WHOLE) & (params.zoom == 1) & (square | (turns % 2 == 0))
    empty = np.zeros(batch, np.bool_) if blank is None else blank
    inverse = np.linalg.inv(params.matrices()).astype(np.float64)
    _turn(np.ascontiguousarray(source), chosen, out.numpy(), inverse, whole, empty, fill, table)
    return out


@numba.njit(cache=True, nogil=True)
def _turn(
    source: Array,
    rows: npt.NDArray[np.int64],
    out: Array,
    inverse: FloatArray,
    whole: npt.NDArray[np.bool_],
    empty: npt.NDArray[np.bool_],
    fill: float,
    table: Array | None,
) -> None:
    """Fill (B, K, H, W) from the pixels that ``inverse`` points at about the centre."""
    batch, planes, height, width = out.shape
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    for b in range(batch):
        if empty[b]:
            out[b] = fill
            continue
        xx, xy, yx, yy = inverse[b, 0, 0], inverse[b, 0, 1], inverse[b, 1, 0], inverse[b, 1, 1]
        start_x, start_y = centre_x - xx * centre_x - xy * centre_y, centre_y - yx * centre_x - yy * centre_y
        for k in range(planes):
            here, there = source[rows[b], k].ravel(), out[b, k]
            if whole[b]:
                first = int(np.rint(start_y)) * width + int(np.rint(start_x))
                along = int(np.rint(yx)) * width + int(np.rint(xx))
                _whole(here, there, first, along, int(np.rint(yy)) * width + int(np.rint(xy)), table)
            else:
                one = float(1 << BITS)
                first_x, first_y = int(np.floor((start_x + 0.5) * one)), int(np.floor((start_y + 0.5) * one))
                along_x, along_y = int(np.rint(xx * one)), int(np.rint(yx * one))
                down_x, down_y = int(np.rint(xy * one)), int(np.rint(yy * one))
                for y in range(height):
                    from_x, from_y = first_x + down_x * y, first_y + down_y * y
                    _tilted(here, there[y], from_x, from_y, along_x, along_y, height, fill, table)


@numba.njit(cache=True, nogil=True)
def _whole(here: Array, there: Array, first: int, along: int, down: int, table: Array | None) -> None:
    """Fill (H, W) from places of the flat source that lie ``along`` and ``down`` apart; never outside of it."""
    height, width = there.shape
    side = width if abs(along) == 1 else TILE  # rows remain rows, or become columns
    for top in range(0, height, TILE):
        for left in range(0, width, side):
            tile = there[top : top + TILE, left : left + side]
            corner = first + top * down + left * along
            for y in range(tile.shape[0]):
                place = corner + y * down
                for x in range(tile.shape[1]):
                    value = here[np.uintp(place + x * along)]  # unsigned: no wrap to check for
                    tile[y, x] = value if table is None else table[value]


@numba.njit(cache=True, nogil=True)
def _tilted(
    here: Array,
    there: Array,
    from_x: int,
    from_y: int,
    along_x: int,
    along_y: int,
    height: int,
    fill: float,
    table: Array | None,
) -> None:
    """Fill one row (W,); coordinates are in units of 2^-BITS px, so that their whole part is a shift."""
    width = len(there)
    low, high = 0, width  # what is inside is one piece: a line crosses a rectangle once
    while low < high and not _inside(from_x + along_x * low, from_y + along_y * low, height, width):
        there[low] = fill
        low += 1
    while low < high and not _inside(from_x + along_x * (high - 1), from_y + along_y * (high - 1), height, width):
        high -= 1
        there[high] = fill
    from_x += along_x * low
    from_y += along_y * low
    inner = there[low:high]
    for x in range(high - low):
        value = here[np.uintp((from_y >> BITS) * width + (from_x >> BITS))]
        inner[x] = value if table is None else table[value]
        from_x += along_x
        from_y += along_y


@numba.njit(cache=True, nogil=True)
def _inside(from_x: int, from_y: int, height: int, width: int) -> bool:
    return 0 <= from_x < width << BITS and 0 <= from_y < height << BITS
