"""Nine targets on the page: how far the gaze lies from them, and a polynomial that brings it there.

Accuracy is the distance between a target and the median of the samples on it; precision is the root mean square of the
steps between neighbouring samples (RMS-S2S). The correction is a polynomial of second order in x and y for either axis,
fitted by least squares, as video-based eye trackers use it (Stampe, Behav Res Methods Instrum Comput 1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.recording import LIMITS
from gazeseg.types import FloatArray

GRID: Final = tuple((x, y) for y in (0.1, 0.5, 0.9) for x in (0.1, 0.5, 0.9))
"""Targets as shares of the page's width and height."""

MIN_SAMPLES: Final = 10  # on one target: a sixth of a second at 60 Hz
MIN_TARGETS: Final = 6  # as many as the polynomial has coefficients
_TERMS: Final = 6


@dataclass(frozen=True, slots=True)
class Correction:
    """What a calibration adds to a position: ``p' = p + C phi(u, v)`` with u, v in page widths and heights.

    Attributes:
        coefficients: (2, 6) px of the page, for 1, u, v, u v, u^2, v^2; zeros change nothing.
        width_px: of the page.
        height_px: of the page.
    """

    coefficients: tuple[tuple[float, ...], ...] = ((0.0,) * _TERMS,) * 2
    width_px: float = 1.0
    height_px: float = 1.0

    def __call__(self, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Corrected px of the page, same shape; NaN stays NaN."""
        terms = _terms(x_px / self.width_px, y_px / self.height_px)
        dx, dy = np.array(self.coefficients) @ terms
        return x_px + dx, y_px + dy


@dataclass(frozen=True, slots=True)
class Target:
    """One target and the samples that came while it was looked at."""

    x_px: float
    y_px: float
    samples: FloatArray  # (N, 2) px of the page, NaN = lost

    @property
    def seen(self) -> FloatArray:
        """(M, 2) the samples that are there."""
        return self.samples[np.isfinite(self.samples).all(axis=1)]

    @property
    def centre(self) -> FloatArray:
        """(2,) median of the samples."""
        centre: FloatArray = np.median(self.seen, axis=0)
        return centre


def fit_correction(targets: Sequence[Target], width_px: float, height_px: float) -> Correction:
    """Fit the correction that brings the medians to their targets.

    Raises:
        DataError: if too few targets were looked at.
    """
    usable = [target for target in targets if len(target.seen) >= MIN_SAMPLES]
    if len(usable) < MIN_TARGETS:
        raise DataError(
            f"gaze on {len(usable)} of {len(targets)} targets, {MIN_TARGETS} are needed; check that the tracker sees "
            "the eyes, then calibrate again"
        )
    centres = np.array([target.centre for target in usable])
    wanted = np.array([(target.x_px, target.y_px) for target in usable])
    terms = _terms(centres[:, 0] / width_px, centres[:, 1] / height_px)
    solution = np.linalg.lstsq(terms.T, wanted - centres, rcond=None)[0]  # (6, 2)
    rows = [tuple(float(value) for value in column) for column in solution.T]
    return Correction(tuple(rows), float(width_px), float(height_px))


def accuracy(targets: Sequence[Target], px_per_degree: float | None) -> dict[str, Any]:
    """Measure how far the gaze lies from the targets.

    Args:
        targets: Corrected already, where a correction is in use.
        px_per_degree: CSS px to a degree, None where the display was not measured: then degrees are None too.

    Returns:
        ``targets`` (place, error_px, rms_px, samples, each None where nothing was seen), ``error_px`` and ``error_deg``
        (mean over targets), ``worst_px``, ``rms_px``, ``lost`` (share of samples), ``poor`` (beyond the limits of
        :mod:`gazeseg.gaze.recording`, so that the reader is told before the images are read).

    Raises:
        DataError: if no target was looked at.
    """
    rows, errors, spreads = [], [], []
    for target in targets:
        row: dict[str, Any] = {"x_px": target.x_px, "y_px": target.y_px, "samples": len(target.samples)}
        row |= {"error_px": None, "rms_px": None, "seen_x_px": None, "seen_y_px": None}
        if len(target.seen) >= MIN_SAMPLES:
            x, y = target.centre.tolist()
            steps = np.diff(target.seen, axis=0)
            errors.append(math.dist((x, y), (target.x_px, target.y_px)))
            spreads.append(float(np.sqrt((steps**2).sum(axis=1).mean())))
            row |= {"error_px": round(errors[-1], 2), "rms_px": round(spreads[-1], 3)}
            row |= {"seen_x_px": round(x, 2), "seen_y_px": round(y, 2)}
        rows.append(row)
    if not errors:
        raise DataError("no gaze on any target; check that the source sends samples, then validate again")
    total = sum(len(target.samples) for target in targets)
    mean = float(np.mean(errors))
    lost = 1 - sum(len(target.seen) for target in targets) / max(total, 1)
    degrees = None if px_per_degree is None else mean / px_per_degree
    return {
        "targets": rows,
        "error_px": round(mean, 2),
        "error_deg": None if degrees is None else round(degrees, 3),
        "worst_px": round(max(errors), 2),
        "rms_px": round(float(np.mean(spreads)), 3),
        "lost": round(lost, 4),
        "poor": lost > LIMITS.loss or (degrees is not None and degrees > LIMITS.accuracy_deg),
    }


def _terms(u: FloatArray, v: FloatArray) -> FloatArray:
    """(6, N) the terms of the polynomial."""
    return np.stack([np.ones_like(u), u, v, u * v, u**2, v**2])
