"""How good a recording is: loss, precision, rate, accuracy; and from which figure on to warn.

Precision is measured on the samples of fixations, in degrees where the geometry of the display is known:

- ``rms_s2s``: root mean square of the steps from sample to sample, in space: noise from one sample to the next;
- ``sd``: root of the summed variances of x and y about the middle of each fixation: noise and drift together.

Definitions follow Holmqvist, Nyström and Mulvey (ETRA 2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from gazeseg.gaze.fixations import Events
from gazeseg.types import FloatArray, Recording

_SETTLED_MS: Final = 500.0  # of each target: the eye has to get there first


@dataclass(frozen=True, slots=True)
class Limits:
    """From which figure on to warn."""

    loss: float = 0.2  # lost share; readings above a fifth are commonly excluded
    precision_deg: float = 0.5  # RMS from sample to sample; research trackers lie below 0.1
    accuracy_deg: float = 1.0  # EyeLink calls a validation fair up to 1 degree on average
    off_image: float = 0.2
    jitter: float = 0.25  # sd of the sampling interval as a share of it
    low_hz: float = 50.0  # below it the ends of fixations are known to no better than 20 ms


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one reading of one image; NaN where there is nothing to measure."""

    case_id: str
    reader_id: str
    samples: int
    duration_s: float
    loss: float
    sampling_hz: float
    jitter: float
    rms_s2s_px: float
    sd_px: float
    rms_s2s_deg: float
    sd_deg: float
    accuracy_deg: float
    accuracy_px: float
    fixations: int
    fixation_ms: float
    in_fixations: float
    off_image: float

    def warnings(self, limits: Limits = LIMITS) -> list[str]:
        """What is worse than it should be, one sentence each."""
        found = []
        if self.samples and self.loss > limits.loss:
            found.append(f"{self.loss:.0%} of the samples are lost")
        if self.rms_s2s_deg > limits.precision_deg:
            found.append(f"precision {self.rms_s2s_deg:.2f} degrees from sample to sample")
        if self.accuracy_deg > limits.accuracy_deg:
            found.append(f"accuracy {self.accuracy_deg:.2f} degrees")
        if self.off_image > limits.off_image:
            found.append(f"{self.off_image:.0%} of the fixations lie off the image")
        if self.jitter > limits.jitter:
            found.append(f"the sampling interval varies by {self.jitter:.0%}")
        if self.sampling_hz < limits.low_hz:
            found.append(f"only {self.sampling_hz:.0f} samples a second")
        if not self.fixations:
            found.append("no fixation")
        return found


def measure(
    case_id: str,
    reader_id: str,
    recording: Recording,
    events: Events | None,
    *,
    fixations: int,
    fixation_ms: float,
    off_image: float,
    px_per_degree: float | None,
    validation_deg: float = math.nan,
    target: tuple[FloatArray, FloatArray] | None = None,
) -> Quality:
    """Measure a reading.

    Args:
        case_id: the image.
        reader_id: who looked.
        recording: its samples, in px; may be empty.
        events: its fixations in the same px, found in these samples.
        fixations: how many the reading has.
        fixation_ms: their median duration.
        off_image: share of them off the image.
        px_per_degree: of these px; ``None``: unknown, and every figure in degrees is NaN.
        validation_deg: mean error of the tracker's own validation.
        target: (N,) x and (N,) y of a known target.
    """
    time = recording.time_ms
    steps = np.diff(time)
    interval = float(np.median(steps)) if len(steps) else math.nan
    good = np.isfinite(recording.x_px) & np.isfinite(recording.y_px)
    rms_px, sd_px, inside = _precision(recording, events)
    error_px = _target_error(recording, target) if target is not None else math.nan
    scale = px_per_degree or math.nan
    return Quality(
        case_id,
        reader_id,
        len(time),
        float(time[-1] - time[0] + interval) / 1e3 if len(steps) else math.nan,
        1 - float(good.mean()) if len(time) else math.nan,
        1e3 / interval if interval else math.nan,
        float(np.std(steps[steps < 2.5 * interval])) / interval if len(steps) else math.nan,
        rms_px,
        sd_px,
        rms_px / scale,
        sd_px / scale,
        error_px / scale if target is not None else validation_deg,
        error_px,
        fixations,
        fixation_ms,
        inside / int(good.sum()) if good.any() else math.nan,
        off_image,
    )


def _precision(recording: Recording, events: Events | None) -> tuple[float, float, int]:
    """RMS from sample to sample, pooled SD, and the number of samples in fixations."""
    if events is None or not len(events):
        return math.nan, math.nan, 0
    squares, variance, count, pairs = 0.0, 0.0, 0, 0
    for first, last in zip(events.first.tolist(), events.last.tolist(), strict=True):
        xy = np.stack([recording.x_px[first : last + 1], recording.y_px[first : last + 1]])
        step = np.diff(xy).T
        step = step[np.isfinite(step).all(axis=1)]
        xy = xy[:, np.isfinite(xy).all(axis=0)]
        squares, pairs = squares + float((step**2).sum()), pairs + len(step)
        variance += float(((xy - xy.mean(axis=1, keepdims=True)) ** 2).sum())
        count += xy.shape[1]
    rms = math.sqrt(squares / pairs) if pairs else math.nan
    return rms, math.sqrt(variance / count) if count else math.nan, count


def _target_error(recording: Recording, target: tuple[FloatArray, FloatArray]) -> float:
    """Mean over targets of the distance from the median gaze to the target, its first half second left out."""
    x, y = target
    moves = np.flatnonzero((np.diff(x) != 0) | (np.diff(y) != 0)) + 1
    edges = [0, *moves.tolist(), len(x)]
    errors = []
    for first, last in pairwise(edges):
        part = slice(first, last)
        settled = recording.time_ms[part] >= recording.time_ms[first] + _SETTLED_MS if last > first else np.array([])
        gaze = np.stack([recording.x_px[part], recording.y_px[part]])[:, settled.astype(bool)]
        gaze = gaze[:, np.isfinite(gaze).all(axis=0)]
        if gaze.shape[1]:
            middle = np.median(gaze, axis=1)
            errors.append(math.hypot(middle[0] - x[first], middle[1] - y[first]))
    return float(np.mean(errors)) if errors else math.nan


def to_json(quality: Sequence[Quality]) -> list[dict[str, Any]]:
    """Return rows that JSON can hold: NaN becomes null."""
    return [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(one).items()
        }
        | {"warnings": one.warnings()}
        for one in quality
    ]
