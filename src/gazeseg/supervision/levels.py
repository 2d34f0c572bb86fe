"""Soft maps to training targets: nested binary levels, and the ternary split with an ignore band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gazeseg.errors import ConfigError, DataError
from gazeseg.types import IGNORE, PseudoMasks, UInt8Array

SoftMap = npt.NDArray[np.floating[Any]]


def nested_levels(values: SoftMap, thresholds: Sequence[float], image_id: str = "") -> PseudoMasks:
    """Cut a soft map at several thresholds: level i is 1 where ``values >= thresholds[i]``.

    Levels are nested by construction, the mask of a higher threshold inside that of a lower one. Their order is that of
    ``thresholds``, as methods refer to levels by position (GazeMedSeg, arXiv 2407.07406: .5 and .3 on Kvasir-SEG, .2
    and .4 on NCI-ISBI). A map of zeros gives empty masks, as a threshold is positive.

    Args:
        values: (H, W) in [0, 1].
        thresholds: one or more numbers strictly between 0 and 1.
        image_id: names the result, and the case in errors.

    Raises:
        ConfigError: if there is no threshold, or one outside (0, 1).
        DataError: if ``values`` is not (H, W) in [0, 1].

    Examples:
        >>> nested_levels(np.array([[0.2, 0.4, 0.9]]), (0.5, 0.3)).labels.tolist()
        [[[0, 0, 1]], [[0, 1, 1]]]
    """
    if not thresholds or not all(0 < t < 1 for t in thresholds):
        raise ConfigError(f"thresholds must be one or more numbers strictly between 0 and 1, got {tuple(thresholds)}")
    _check(values, image_id)
    labels = np.stack([values >= threshold for threshold in thresholds]).astype(np.uint8)
    return PseudoMasks(labels, tuple(float(t) for t in thresholds), image_id)


def ternary(values: SoftMap, tau_f: float, tau_b: float) -> UInt8Array:
    """Split a soft map into foreground, background and an ignored band between them.

    1 where ``values >= tau_f``, 0 where ``values <= tau_b``, 255 between (GNAN, MICCAI 2025: .6 and .3 on the plain
    heatmap). A map of zeros is background everywhere.

    Args:
        values: (H, W) in [0, 1].
        tau_f: lowest value of the foreground.
        tau_b: highest value of the background, below ``tau_f``.

    Returns:
        (H, W) uint8 in {0, 1, 255}.

    Raises:
        ConfigError: unless 0 <= tau_b < tau_f <= 1.
        DataError: if ``values`` is not (H, W) in [0, 1].

    Examples:
        >>> ternary(np.array([[0.3, 0.45, 0.6]]), 0.6, 0.3).tolist()
        [[0, 255, 1]]
    """
    if not 0 <= tau_b < tau_f <= 1:
        raise ConfigError(f"partial.tau_b must lie below partial.tau_f, both in 0..1; got tau_b {tau_b}, tau_f {tau_f}")
    _check(values, "")
    target = np.full(values.shape, IGNORE, np.uint8)
    target[values >= tau_f] = 1
    target[values <= tau_b] = 0
    return target


def _check(values: SoftMap, image_id: str) -> None:
    name = f"soft map of '{image_id}'" if image_id else "soft map"
    if values.ndim != 2 or not values.size:
        raise DataError(f"{name}: expected (H, W) with at least one pixel, got shape {values.shape}")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise DataError(f"{name}: values {low:g}..{high:g} leave 0..1; stretch or clip the map first")
