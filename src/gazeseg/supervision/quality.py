"""A pseudo-mask against the truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError


def mask_quality(pseudo: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Overlap of a pseudo-mask with the true mask, both (H, W) bool.

    dice = 2 TP / (|pseudo| + |truth|), precision = TP / |pseudo|, recall = TP / |truth|.

    Empty cases: both empty count as agreement, 1 throughout. Where only one is empty every figure is 0, also those with
    a zero denominator, so that an empty pseudo-mask never improves a mean.

    Raises:
        DataError: if the shapes differ.

    Examples:
        >>> mask_quality(np.array([[True, True, False]]), np.array([[False, True, True]]))
        {'dice': 0.5, 'precision': 0.5, 'recall': 0.5}
    """
    if pseudo.shape != truth.shape:
        raise DataError(
            f"pseudo-mask {pseudo.shape} and true mask {truth.shape} differ in size; resize one of them first"
        )
    claimed, wanted = int(np.count_nonzero(pseudo)), int(np.count_nonzero(truth))
    if not claimed and not wanted:
        return {"dice": 1.0, "precision": 1.0, "recall": 1.0}
    if not claimed or not wanted:
        return {"dice": 0.0, "precision": 0.0, "recall": 0.0}
    hit = int(np.count_nonzero(np.logical_and(pseudo, truth)))
    return {"dice": 2 * hit / (claimed + wanted), "precision": hit / claimed, "recall": hit / wanted}
