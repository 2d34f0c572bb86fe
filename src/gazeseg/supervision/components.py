"""The largest connected component of each class of a batch of label maps, in one pass over the pixels."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

from gazeseg.types import UInt8Array


def largest_components(labels: UInt8Array, num_classes: int) -> UInt8Array:
    """Keep the largest component of each class of each map; what is left of a class becomes background.

    Pixels that touch at an edge or a corner are connected, as in BCP's pseudo-labels. Of two components of one size
    the one whose first pixel comes first in reading order stays. Values from ``num_classes`` on stay as they are.

    Args:
        labels: (B, H, W) class indices.
        num_classes: Background included.

    Examples:
        >>> largest_components(np.array([[[1, 0, 1, 1]]], np.uint8), 2)
        array([[[0, 0, 1, 1]]], dtype=uint8)
    """
    out = labels.copy()
    for image in out:
        _keep_largest(image, num_classes)
    return out


def touching(labels: UInt8Array, region: npt.NDArray[np.bool_]) -> UInt8Array:
    """Delete the components of each class of (H, W) that have no pixel in a region (H, W)."""
    out = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        parts, _ = label(labels == value, structure=np.ones((3, 3), np.int8))
        kept = np.unique(parts[region & (parts > 0)])
        out[np.isin(parts, kept[kept > 0])] = value
    return out


@numba.njit(cache=True, nogil=True)
def _keep_largest(labels: UInt8Array, num_classes: int) -> None:
    height, width = labels.shape
    parent = np.empty(height * width, np.int32)
    for y in range(height):
        for x in range(width):
            here = y * width + x
            parent[here] = here
            value = labels[y, x]
            if value == 0 or value >= num_classes:
                continue
            for step in range(4):  # the neighbours that were visited before
                ny = y if step == 0 else y - 1
                nx = x - 1 if step < 2 else x + step - 2
                if ny >= 0 and 0 <= nx < width and labels[ny, nx] == value:
                    _join(parent, ny * width + nx, here)
    sizes = np.zeros(height * width, np.int32)
    best = np.full(num_classes, -1, np.int64)
    for here in range(height * width):
        value = labels[here // width, here % width]
        if 0 < value < num_classes:
            sizes[_root(parent, here)] += 1
    for here in range(height * width):
        value = labels[here // width, here % width]
        if 0 < value < num_classes and sizes[here] > 0 and (best[value] < 0 or sizes[here] > sizes[best[value]]):
            best[value] = here
    for here in range(height * width):
        value = labels[here // width, here % width]
        if 0 < value < num_classes and _root(parent, here) != best[value]:
            labels[here // width, here % width] = 0


@numba.njit(cache=True, nogil=True)
def _root(parent: npt.NDArray[np.int32], here: int) -> int:
    while parent[here] != here:
        parent[here] = parent[parent[here]]
        here = parent[here]
    return here


@numba.njit(cache=True, nogil=True)
def _join(parent: npt.NDArray[np.int32], first: int, second: int) -> None:
    """Unite two components under the root that comes first in reading order."""
    one, other = _root(parent, first), _root(parent, second)
    if one < other:
        parent[other] = one
    elif other < one:
        parent[one] = other
