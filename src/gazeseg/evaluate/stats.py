"""Uncertainty of a mean over cases, and tests between methods that were scored on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

from gazeseg.errors import DataError

Values = Sequence[float] | npt.NDArray[np.float64]

_CHUNK = 1_000_000  # resampled values held at once: 8 MB, whatever the number of cases


def bootstrap_ci(values: Values, *, samples: int = 10_000, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron & Tibshirani 1993, section 13.3).

    Args:
        values: (N,) finite numbers, one a case.
        samples: Resamples with replacement.
        seed: The interval is a pure function of the values and the seed.
        level: Coverage, between 0 and 1.

    Returns:
        ``(low, high)``; NaN twice where there is no value.

    Raises:
        DataError: if a value is not finite; leave missing cases out, and say how many.

    Examples:
        >>> bootstrap_ci([0.5, 0.5, 0.5])
        (0.5, 0.5)
    """
    array = _finite(values)
    n = len(array)
    if n == 0:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    means = np.empty(samples)
    rows = max(1, _CHUNK // n)
    for start in range(0, samples, rows):
        stop = min(start + rows, samples)
        means[start:stop] = array[rng.integers(0, n, size=(stop - start, n))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_wilcoxon(first: Values, second: Values) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test on paired values.

    Pairs without a difference are dropped (Wilcoxon 1945); when no pair differs, p is 1.

    Raises:
        DataError: if the lengths differ or a value is not finite.
    """
    a, b = _finite(first), _finite(second)
    if len(a) != len(b):
        raise DataError(f"a paired test needs the same cases on both sides, got {len(a)} and {len(b)}")
    if not np.any(a != b):
        return 1.0
    return float(wilcoxon(a, b).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for several tests by Holm's step-down procedure (Holm 1979), in the given order.

    The k-th smallest of m values is multiplied by m - k + 1; the result never falls along the order and is cut at 1.

    Examples:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    m = len(p_values)
    adjusted = [1.0] * m
    running = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, (m - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def _finite(values: Values) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise DataError("statistics need a list of finite numbers; leave cases without a value out and count them")
    return array
