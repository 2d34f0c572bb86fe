"""Distances between the surfaces of two masks, exact and without a distance map of the whole image.

Definitions (those of medpy's ``hd95``, ``asd`` and ``assd``): the surface of a mask is the set of its pixels that have
a face neighbour outside (beyond the image border is outside); the distance of a surface pixel is the Euclidean one, in
units of the spacing, to the nearest pixel of the other surface.

The way there: both masks are cropped to the box around their union. In each column of the crop, two scans leave the
number of rows to the nearest surface pixel; a query then walks outwards over columns and slices and stops as soon as
the step alone is longer than the best distance found. Only surface pixels are ever queried.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from gazeseg.types import FloatArray

BoolArray = npt.NDArray[np.bool_]

_FAR = np.int32(2**30)  # rows to the nearest surface pixel where the column holds none


def surface(mask: BoolArray) -> BoolArray:
    """Return the pixels of ``mask`` (any number of axes) with a face neighbour that is outside the mask or the array.

    Examples:
        >>> surface(np.ones((3, 3), bool)).astype(int)
        array([[1, 1, 1],
               [1, 0, 1],
               [1, 1, 1]])
    """
    padded = np.pad(mask, 1)
    centre = tuple(slice(1, -1) for _ in mask.shape)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for shifted in (slice(0, -2), slice(2, None)):
            inside &= padded[(*centre[:axis], shifted, *centre[axis + 1 :])]
    return mask & ~inside


def union_box(first: BoolArray, second: BoolArray) -> tuple[slice, ...]:
    """Return the smallest box that holds both masks; at least one must hold a pixel."""
    either = first | second
    box = []
    for axis in range(either.ndim):
        # reduce over the trailing axes first: contiguous memory, and the rest is small
        profile = either.any(axis=tuple(other for other in range(either.ndim) if other != axis))
        hit = np.flatnonzero(profile)
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def surface_distances(
    prediction: BoolArray, truth: BoolArray, spacing: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return the directed surface distances: of each surface pixel of the prediction to the truth, and the reverse.

    Args:
        prediction: (H, W) or (D, H, W), with at least one pixel.
        truth: Same shape, with at least one pixel.
        spacing: Size of a pixel along each axis, in the unit of the result.

    Returns:
        ``(prediction -> truth, truth -> prediction)``, lengths the number of surface pixels of each mask.
    """
    box = union_box(prediction, truth)
    ours, theirs = surface(prediction[box]), surface(truth[box])
    if prediction.ndim == 2:
        ours, theirs, spacing = ours[None], theirs[None], (1.0, *spacing)
    steps = np.asarray(spacing, dtype=np.float64)
    return (
        _nearest(np.argwhere(ours), _rows_to_surface(theirs), steps),
        _nearest(np.argwhere(theirs), _rows_to_surface(ours), steps),
    )


@numba.njit(cache=True, nogil=True)
def _rows_to_surface(border: BoolArray) -> npt.NDArray[np.int32]:
    """Rows to the nearest surface pixel of the same column and slice; (D, H, W)."""
    depth, height, width = border.shape
    rows = np.empty((depth, height, width), np.int32)
    for z in range(depth):
        for x in range(width):
            rows[z, 0, x] = 0 if border[z, 0, x] else _FAR
        for y in range(1, height):  # row by row, so that memory is read in order
            for x in range(width):
                rows[z, y, x] = 0 if border[z, y, x] else min(rows[z, y - 1, x] + 1, _FAR)
        for y in range(height - 2, -1, -1):
            for x in range(width):
                rows[z, y, x] = min(rows[z, y, x], rows[z, y + 1, x] + 1)
    return rows


@numba.njit(cache=True, nogil=True)
def _nearest(points: npt.NDArray[np.int64], rows: npt.NDArray[np.int32], spacing: FloatArray) -> Any:
    """Distance of each point (N, 3) to the surface that ``rows`` describes; (N,)."""
    depth, _, width = rows.shape
    step_z, step_y, step_x = spacing
    out = np.empty(len(points), np.float64)
    for n in range(len(points)):
        z, y, x = points[n]
        best = np.inf
        for dz in range(max(z, depth - 1 - z) + 1):
            from_z = (dz * step_z) ** 2
            if from_z >= best:
                break
            for side in range(2 if dz else 1):
                slice_index = z - dz if side else z + dz
                if slice_index < 0 or slice_index >= depth:
                    continue
                row = rows[slice_index, y]
                for dx in range(max(x, width - 1 - x) + 1):
                    from_x = from_z + (dx * step_x) ** 2
                    if from_x >= best:
                        break
                    nearest = _FAR
                    if x - dx >= 0:
                        nearest = row[x - dx]
                    if x + dx < width:
                        nearest = min(nearest, row[x + dx])
                    if nearest < _FAR:
                        best = min(best, from_x + (nearest * step_y) ** 2)
        out[n] = np.sqrt(best)
    return out
