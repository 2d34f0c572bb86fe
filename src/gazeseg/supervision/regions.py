"""Regions of a heatmap: the components that hold most of its heat, the box around them, and what lies apart.

Both serve our HG-DTGL-style reconstruction (arXiv 2604.10754 gives no formulas): the box of a pair of images decides
what GazeMix pastes, and fixations apart from the heat are dropped as outliers before the map is drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, label

from gazeseg.types import Fixations, Float32Array

BoolArray = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; bottom and right are one past the end."""

EIGHT: Final = np.ones((3, 3), np.int8)  # pixels that touch at a corner are connected
BCP_SHARE: Final = 2 / 3  # side of BCP's random box over that of the image: 170 of 256 px


@dataclass(frozen=True, slots=True)
class BoxRule:
    """How a box follows from heatmaps; lengths are in px of the maps."""

    tau: float  # of the maximum: where a map counts as looked at
    mass: float  # share of that heat that the box holds
    margin: int
    smallest: int  # sides
    largest: int
    jitter: int  # the box is shifted by up to so much along each axis


def main_region(heat: Float32Array, tau: float, mass: float) -> BoolArray:
    """Return the components of {heat >= tau * max} that together hold at least ``mass`` of its heat, heaviest first.

    (H, W) bool, empty for a map of zeros.
    """
    top = float(heat.max())
    if top <= 0:
        return np.zeros(heat.shape, np.bool_)
    parts, count = label(heat >= tau * top, structure=EIGHT)
    weights = np.bincount(parts.ravel(), weights=heat.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-weights, kind="stable")
    held = np.cumsum(weights[order])
    enough = int(np.searchsorted(held, mass * held[-1] - 1e-9)) + 1
    region: BoolArray = np.isin(parts, order[:enough] + 1)
    return region


def gaze_box(maps: Sequence[Float32Array], rule: BoxRule, rng: np.random.Generator) -> Box:
    """Return the box that covers where the images of a pair were looked at.

    Each map gives the box of its :func:`main_region`, grown by the margin; the smallest box around them has its sides
    brought to ``smallest`` .. ``largest`` about its centre, is moved into the image and shifted by the jitter. A map of
    zeros has no say; where none has, the box is random, as BCP's: two thirds of each side, anywhere.

    Args:
        maps: Heatmaps (H, W) of one size.
        rule: Lengths above those of the image are cut down to it.
        rng: Draws the jitter, or the random box.
    """
    size = maps[0].shape
    found = [_bounds(main_region(heat, rule.tau, rule.mass)) for heat in maps if heat.max() > 0]
    if not found:
        return random_box((size[0], size[1]), rng)
    spans = []
    for axis, extent in enumerate(size):
        low = min(box[axis] for box in found) - rule.margin
        high = max(box[axis + 2] for box in found) + rule.margin
        side = min(max(min(high, extent) - max(low, 0), rule.smallest), rule.largest, extent)
        centre = (max(low, 0) + min(high, extent)) / 2
        start = round(centre - side / 2) + int(rng.integers(-rule.jitter, rule.jitter + 1))
        start = min(max(start, 0), extent - side)
        spans.append((start, start + side))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def random_box(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Return BCP's box: two thirds of each side, anywhere in the image (H, W)."""
    spans = []
    for extent in size:
        side = int(extent * BCP_SHARE)
        start = int(rng.integers(0, extent - side + 1))
        spans.append((start, start + side))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def without_outliers(
    fix: Fixations, heat: Float32Array, *, tau: float, mass: float, sigma_px: tuple[float, float]
) -> Fixations:
    """Drop the fixations that lie farther than two sigma from the main region of their heatmap.

    Fewer than two fixations left are none: such a case counts as not looked at.

    Args:
        fix: The fixations behind the map.
        heat: (H, W), drawn from them at the size of the image.
        tau: See :func:`main_region`.
        mass: See :func:`main_region`.
        sigma_px: Width of the Gaussian along y and x, in px of the image.
    """
    region = main_region(heat, tau, mass)
    if not region.any():
        return _chosen(fix, np.zeros(len(fix), np.bool_))
    # the farther axis counts less where the canvas stretched it: the distance is in sigmas
    away = distance_transform_edt(~region, sampling=[1 / sigma_px[0], 1 / sigma_px[1]])
    rows = np.clip(np.rint(fix.y_px), 0, heat.shape[0] - 1).astype(np.intp)
    columns = np.clip(np.rint(fix.x_px), 0, heat.shape[1] - 1).astype(np.intp)
    kept = fix.on_image & (away[rows, columns] <= 2)
    return _chosen(fix, kept if kept.sum() >= 2 else np.zeros(len(fix), np.bool_))


def _chosen(fix: Fixations, kept: BoolArray) -> Fixations:
    arrays: dict[str, Any] = {name: getattr(fix, name)[kept] for name in ("x_px", "y_px", "onset_ms", "duration_ms")}
    return dataclasses.replace(fix, **arrays)


def _bounds(region: BoolArray) -> Box:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
