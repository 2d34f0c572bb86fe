"""How far probabilities and case scores can be believed: temperature, reliability, and risk against coverage.

NumPy only. Temperature scaling and the expected calibration error: Guo et al., On Calibration of Modern Neural
Networks, ICML 2017. Risk against coverage: Geifman & El-Yaniv, Selective Classification for Deep Neural Networks,
NeurIPS 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import rankdata

from gazeseg.errors import DataError
from gazeseg.types import FloatArray

BINS: Final = 15  # Guo et al.
_RANGE: Final = (0.05, 20.0)  # of temperatures; beyond it a network says nothing


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was said against what was: one entry a bin of equal width over 0..1 that holds anything, in rising order."""

    said: FloatArray  # mean of what was said
    was: FloatArray  # mean of what was
    share: FloatArray  # of all entries, summing to 1

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of the two, weighted by the share."""
        return float((self.share * np.abs(self.said - self.was)).sum())


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Mean risk of the most trusted cases, for every number of cases kept."""

    coverage: FloatArray  # (N,) share of the cases kept, rising to 1
    risk: FloatArray  # (N,) their mean risk
    best: FloatArray  # (N,) the same for a score that knows the risk

    @property
    def area(self) -> float:
        """Area under the curve, as the mean over the N coverages; lower is better."""
        return float(self.risk.mean())

    @property
    def best_area(self) -> float:
        """Area of a score that sorts the cases by their risk: no score can have less."""
        return float(self.best.mean())

    @property
    def random_area(self) -> float:
        """Area of a score that knows nothing, in expectation: the mean risk."""
        return float(self.risk[-1])


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """Return the T > 0 for which ``logits / T`` has the lowest cross-entropy; above 1 the network was too sure.

    Args:
        logits: (N, K), one row a pixel; for two classes (0, logit).
        labels: (N,) class indices.

    Raises:
        DataError: without a pixel.
    """
    if not len(labels):
        raise DataError("no labelled pixel to fit a temperature to; calibrate on cases with masks")
    low, high = (float(np.log(limit)) for limit in _RANGE)
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits / np.exp(log_t), labels), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def cross_entropy(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of (N,) labels under (N, K) logits."""
    chosen = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return float((logsumexp(logits, axis=1) - chosen).mean())


def reliability(said: npt.NDArray[np.floating], was: npt.NDArray[np.floating], bins: int = BINS) -> Reliability:
    """Compare what was said with what was, in bins of what was said.

    Args:
        said: (N,) in 0..1: a probability, or an expected Dice.
        was: (N,) in 0..1: 0 or 1 for an event, or the Dice.
        bins: Number of bins of equal width.

    Examples:
        >>> round(reliability(np.array([0.9, 0.9, 0.1]), np.array([1.0, 0.0, 0.0])).ece, 3)
        0.3
    """
    index = np.minimum((said * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    there = count > 0
    means = [np.bincount(index, weights=values, minlength=bins)[there] / count[there] for values in (said, was)]
    return Reliability(means[0], means[1], count[there] / max(len(said), 1))


def risk_coverage(score: npt.NDArray[np.floating], risk: npt.NDArray[np.floating]) -> RiskCoverage:
    """Keep the cases in falling order of a score, and say what risk is left.

    Ties of the score share their risk evenly, so that their order says nothing.

    Args:
        score: (N,) trust in each case, e.g. its expected Dice.
        risk: (N,) what went wrong, e.g. 1 - Dice.

    Raises:
        DataError: without a case.

    Examples:
        >>> risk_coverage(np.array([0.9, 0.2]), np.array([0.0, 1.0])).area
        0.25
    """
    if not len(score):
        raise DataError("no case to rank")
    values, group = np.unique(-score, return_inverse=True)
    shared = np.bincount(group, weights=risk, minlength=len(values)) / np.bincount(group, minlength=len(values))
    kept = np.arange(1, len(score) + 1)
    ordered = np.sort(group)
    return RiskCoverage(kept / len(score), np.cumsum(shared[ordered]) / kept, np.cumsum(np.sort(risk)) / kept)


def rank_correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Return Spearman's correlation, ties given their mean rank; 0 where one of the two is constant."""
    first, second = (rankdata(values) - (len(values) + 1) / 2 for values in (a, b))
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0 else 0.0
