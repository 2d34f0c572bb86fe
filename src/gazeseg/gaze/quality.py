"""How good the gaze is: share inside the mask, distance of the centroids, and controls that reveal a wrong frame.

The share inside the mask of the coordinates as they are must beat that of the same coordinates flipped, transposed or
handed to another image. A loader that mixes up an axis or a pairing shows in these figures at once, except where the
anatomy is symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.types import Fixations, FloatArray

BoolArray = npt.NDArray[np.bool_]

SHUFFLES: Final = (0, 1, 2)  # seeds of the shuffled control
CLEARLY: Final = 0.05  # a control whose mean share is higher by this much is no accident

# Each takes the true distances x, y from the left and top edge, in px of an image of width w and height h, to those
# that a loader with one mistake would have.
_Mistake = Callable[[FloatArray, FloatArray, int, int], tuple[FloatArray, FloatArray]]
_MISTAKES: Final[Mapping[str, _Mistake]] = {
    "true": lambda x, y, w, h: (x, y),
    "flipped_x": lambda x, y, w, h: (w - x, y),
    "flipped_y": lambda x, y, w, h: (x, h - y),
    "flipped_xy": lambda x, y, w, h: (w - x, h - y),
    "transposed": lambda x, y, w, h: (y / h * w, x / w * h),
}

_HINTS: Final = {
    "flipped_x": "x seems to run from the right edge; mirror x before the import",
    "flipped_y": "y seems to run from the bottom edge; mirror y before the import",
    "flipped_xy": "x and y seem to run from the bottom right corner; mirror both before the import",
    "transposed": "x and y seem to be swapped; swap the two columns",
    "shuffled": "the gaze seems to be paired with the wrong images; check the case ids of the fixation table",
}


@dataclass(frozen=True, slots=True)
class GazeQuality:
    """Figures of one case; NaN where there is nothing to measure (no mask, an empty mask, no fixation)."""

    image_id: str
    fixations: int
    duration_ms: float
    off_image_share: float
    in_mask_share: float
    centroid_offset: float


def in_mask_share(fix: Fixations, mask: BoolArray, *, weighted: bool = False) -> float:
    """Share of the fixations that fall on a pixel of the mask.

    A fixation falls on the pixel whose square it lies in, column floor(x_px + 0.5); off the image is outside the mask.

    Args:
        fix: fixations in image px.
        mask: (H, W) of the size of the image.
        weighted: weigh by duration.

    Returns:
        A share in 0..1; 0 for an empty mask, NaN without fixations.

    Raises:
        DataError: if the mask has another size than the image.
    """
    _check_size(fix, mask)
    return _share(mask, *_from_edges(fix, mask), fix.duration_ms if weighted else None)


def centroid_offset(fix: Fixations, mask: BoolArray) -> float:
    """Distance of the duration-weighted gaze centroid to the centroid of the mask, both normalised to 0..1 an axis.

    All fixations count, also those off the image: this measures the gaze, not what becomes of it. NaN without fixations
    or for an empty mask.

    Raises:
        DataError: if the mask has another size than the image.
    """
    _check_size(fix, mask)
    if not len(fix) or not mask.any():
        return math.nan
    offset = []
    for positions, profile in zip(_from_edges(fix, mask), (mask.sum(axis=0), mask.sum(axis=1)), strict=True):
        target = np.average(np.arange(len(profile)) + 0.5, weights=profile)
        offset.append((np.average(positions, weights=fix.duration_ms) - target) / len(profile))
    return math.hypot(*offset)


def gaze_quality(fix: Fixations, mask: BoolArray | None = None) -> GazeQuality:
    """Measure one case; without a mask, or with an empty one, the two figures that need it are NaN.

    Raises:
        DataError: if the mask has another size than the image.
    """
    measurable = mask is not None and bool(mask.any())
    return GazeQuality(
        image_id=fix.image_id,
        fixations=len(fix),
        duration_ms=float(fix.duration_ms.sum()),
        off_image_share=float(1 - fix.on_image.mean()) if len(fix) else math.nan,
        in_mask_share=in_mask_share(fix, mask) if mask is not None and measurable else math.nan,
        centroid_offset=centroid_offset(fix, mask) if mask is not None and measurable else math.nan,
    )


def summarise(cases: Sequence[GazeQuality]) -> dict[str, dict[str, float]]:
    """Mean, median, minimum and maximum over cases, JSON-able.

    Keys: fixations, duration_s, off_image_share, in_mask_share, centroid_offset. A figure that no case has is left out,
    and a case without it does not count in it.
    """
    figures = {
        "fixations": [float(case.fixations) for case in cases],
        "duration_s": [case.duration_ms / 1e3 for case in cases],
        "off_image_share": [case.off_image_share for case in cases],
        "in_mask_share": [case.in_mask_share for case in cases],
        "centroid_offset": [case.centroid_offset for case in cases],
    }
    out: dict[str, dict[str, float]] = {}
    for name, values in figures.items():
        known = [value for value in values if not math.isnan(value)]
        if known:
            out[name] = {**_mean_median(known), "min": min(known), "max": max(known)}
    return out


def control_shares(fixations: Mapping[str, Fixations], masks: Mapping[str, BoolArray]) -> dict[str, dict[str, float]]:
    """Share inside the mask for the true coordinates and for spoilt ones, mean and median over cases.

    Cases without fixations, without mask or with an empty mask are left out. ``masks`` may read from disk: each mask is
    asked for once.

    Args:
        fixations: fixations by case id.
        masks: (H, W) foreground by case id.

    Returns:
        ``{"mean", "median"}`` for true, weighted (true, by duration), flipped_x, flipped_y, flipped_xy, transposed and
        shuffled (each case gets another one's gaze; averaged over three permutations). JSON-able; empty if no case can
        be measured.

    Raises:
        DataError: if a mask has another size than its image.
    """
    names = sorted(name for name, fix in fixations.items() if len(fix) and name in masks)
    orders = [np.random.default_rng(seed).permutation(len(names)) for seed in SHUFFLES]
    shares: dict[str, list[float]] = {name: [] for name in (*_MISTAKES, "weighted")}
    shuffled: list[list[float]] = []
    for position, name in enumerate(names):
        mask, fix = masks[name], fixations[name]
        _check_size(fix, mask)
        if not mask.any():
            continue
        height, width = mask.shape
        x, y = _from_edges(fix, mask)
        for mistake, spoil in _MISTAKES.items():
            shares[mistake].append(_share(mask, *spoil(x, y, width, height)))
        shares["weighted"].append(_share(mask, x, y, fix.duration_ms))
        donors = (fixations[names[order[position]]] for order in orders)
        shuffled.append([_share(mask, *_from_edges(donor, mask)) for donor in donors])
    if not shuffled:
        return {}
    result = {name: _mean_median(values) for name, values in shares.items()}
    runs = [_mean_median(values) for values in zip(*shuffled, strict=True)]
    result["shuffled"] = {key: float(np.mean([run[key] for run in runs])) for key in ("mean", "median")}
    keys = ("true", "weighted", "flipped_x", "flipped_y", "flipped_xy", "transposed", "shuffled")
    return {key: result[key] for key in keys}


def frame_verdict(controls: Mapping[str, Mapping[str, float]]) -> str | None:
    """One line on the likely mistake where a control beats the true coordinates clearly, else ``None``.

    Gaze that fits its own images no better than others' is reported as wrongly paired, unless a flip explains it.

    Args:
        controls: what :func:`control_shares` returns.
    """
    if not controls:
        return None
    true = controls["true"]["mean"]
    best = max((name for name in _MISTAKES if name != "true"), key=lambda name: controls[name]["mean"])
    if controls[best]["mean"] < true + CLEARLY:
        if controls["shuffled"]["mean"] < true:
            return None
        best = "shuffled"
    return (
        f"frame: {controls[best]['mean']:.3f} of the fixations lie inside when {best.replace('_', ' ')}, "
        f"{true:.3f} as given: {_HINTS[best]}"
    )


def _check_size(fix: Fixations, mask: BoolArray) -> None:
    if mask.shape != fix.image_size:
        raise DataError(
            f"case '{fix.image_id}': mask {mask.shape} and image {fix.image_size} (H, W) differ in size; "
            "resize the mask with nearest neighbour"
        )


def _from_edges(fix: Fixations, mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Distances from the left and top edge, in px of the mask, stretched where it is of another size."""
    (height, width), (rows, columns) = fix.image_size, mask.shape
    return (fix.x_px + 0.5) * (columns / width), (fix.y_px + 0.5) * (rows / height)


def _share(mask: BoolArray, x: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> float:
    if not len(x):
        return math.nan
    height, width = mask.shape
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = (np.where(seen, np.floor(v), 0).astype(np.intp) for v in (x, y))
    return float(np.average(mask[row, column] & seen, weights=weights))


def _mean_median(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "median": float(np.median(values))}
