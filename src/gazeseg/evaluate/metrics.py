"""Scores of one case, class by class.

Overlap, with the counts TP, FP and FN of pixels: Dice = 2 TP / (2 TP + FP + FN), IoU = TP / (TP + FP + FN),
sensitivity = TP / (TP + FN), precision = TP / (TP + FP).

Surface distances, see :mod:`gazeseg.evaluate.surface`: with the directed sets A (prediction to truth) and B (truth to
prediction), ``hd95`` is the 95th percentile of A and B pooled (medpy), ``hd95_max`` the larger of the two 95th
percentiles (MONAI), ``asd`` the mean of A alone, ``assd`` the mean of the two means (medpy). They differ by a factor of
two on anisotropic volumes, so a number is only worth printing with its definition.

The empty case, in writing:

=================  =====================  ==============================  =======================
truth              prediction             overlap metrics                 distances
=================  =====================  ==============================  =======================
something          nothing (**missed**)   0                               NaN, counted
nothing            something (**alarm**)  0                               NaN, counted
nothing            nothing                ``both_empty``, 1 by default    NaN
=================  =====================  ==============================  =======================

An empty prediction therefore never improves a metric. Pixels of the truth that are 255 are ignored: they leave every
count, and are erased from the prediction before its surface is taken.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.evaluate.surface import BoolArray, surface_distances
from gazeseg.types import IGNORE, CaseScore

HD_PERCENTILE = 95


def score_case(
    prediction: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    *,
    num_classes: int,
    spacing_mm: tuple[float, ...] | None = None,
    case_id: str = "",
    patient_id: str = "",
    both_empty: float = 1.0,
    missed_distance: float = math.nan,
) -> list[CaseScore]:
    """Score every foreground class of one image or volume.

    Args:
        prediction: Class indices, (H, W) or (D, H, W), any integer type or bool.
        truth: Same shape; 255 is ignored.
        num_classes: Classes, background included.
        spacing_mm: Size of a pixel along each axis; distances are then in mm, else in px.
        case_id: Copied into the scores and named in errors.
        patient_id: Copied into the scores.
        both_empty: Overlap metrics where neither holds the class.
        missed_distance: Distances where the prediction is empty. NaN, unless a published table is to be matched:
            SSL4MIS and BCP score 0, the best value.

    Returns:
        One score a foreground class, in the order of the classes.

    Raises:
        DataError: if shapes differ, a class index is out of range or the spacing does not fit.

    Examples:
        >>> truth = np.zeros((8, 8), np.uint8)
        >>> truth[2:6, 2:6] = 1
        >>> [score] = score_case(np.roll(truth, 1, axis=1), truth, num_classes=2)
        >>> score.dice, score.hd95, score.unit
        (0.75, 1.0, 'px')
    """
    _check(prediction, truth, num_classes, spacing_mm, case_id)
    ignored = truth == IGNORE
    kept = None if not ignored.any() else ~ignored
    unit: Literal["px", "mm"] = "px" if spacing_mm is None else "mm"
    spacing = spacing_mm or (1.0,) * truth.ndim
    scores = []
    for index in range(1, num_classes):
        ours, theirs = prediction == index, truth == index
        if kept is not None:
            ours &= kept
        hit, predicted, present = (int(np.count_nonzero(mask)) for mask in (ours & theirs, ours, theirs))
        empty = _empty(predicted, present)
        if empty == "none":
            hd95, hd95_max, asd, assd = _distances(ours, theirs, spacing)
        else:
            hd95 = hd95_max = asd = assd = math.nan if predicted else missed_distance
        if empty == "both":
            dice = iou = sensitivity = precision = both_empty
        else:
            dice = 2 * hit / (predicted + present)
            iou = hit / (predicted + present - hit)
            sensitivity = hit / present if present else 0.0
            precision = hit / predicted if predicted else 0.0
        scores.append(
            CaseScore(
                case_id=case_id,
                patient_id=patient_id,
                class_index=index,
                dice=dice,
                iou=iou,
                sensitivity=sensitivity,
                precision=precision,
                hd95=hd95,
                hd95_max=hd95_max,
                asd=asd,
                assd=assd,
                unit=unit,
                empty=empty,
            )
        )
    return scores


def _empty(predicted: int, present: int) -> Literal["none", "prediction", "truth", "both"]:
    if predicted and present:
        return "none"
    if present:
        return "prediction"
    return "truth" if predicted else "both"


def _distances(
    prediction: BoolArray, truth: BoolArray, spacing: tuple[float, ...]
) -> tuple[float, float, float, float]:
    """Return hd95, hd95_max, asd, assd."""
    there, back = surface_distances(prediction, truth, spacing)
    pooled = float(np.percentile(np.concatenate((there, back)), HD_PERCENTILE))
    larger = max(float(np.percentile(there, HD_PERCENTILE)), float(np.percentile(back, HD_PERCENTILE)))
    asd, reverse = float(there.mean()), float(back.mean())
    return pooled, larger, asd, (asd + reverse) / 2


def _check(
    prediction: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    num_classes: int,
    spacing_mm: tuple[float, ...] | None,
    case_id: str,
) -> None:
    where = f"case '{case_id}'" if case_id else "score_case"
    if prediction.shape != truth.shape or truth.ndim not in (2, 3) or truth.size == 0:
        raise DataError(
            f"{where}: prediction {prediction.shape} and truth {truth.shape} must have one shape, (H, W) or (D, H, W); "
            "predict at the native size of the image"
        )
    if spacing_mm is not None and (len(spacing_mm) != truth.ndim or not all(0 < s < math.inf for s in spacing_mm)):
        raise DataError(f"{where}: spacing_mm {spacing_mm} must be {truth.ndim} positive numbers, one an axis")
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype.kind not in "bui":
            raise DataError(f"{where}: {name} is {mask.dtype}; give class indices as integers")
        low, high = int(mask.min()), int(mask.max())
        if high == IGNORE and name == "truth":
            high = int(np.max(mask, where=mask != IGNORE, initial=0))
        if low < 0 or high >= num_classes:
            raise DataError(
                f"{where}: {name} holds class {low if low < 0 else high}, but there are {num_classes} classes "
                f"(0..{num_classes - 1}{', 255 = ignore' if name == 'truth' else ''})"
            )
