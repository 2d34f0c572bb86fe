"""Raw samples -> fixations: I-VT and I-DT with thresholds that follow the noise of the recording, for 30 to 2000 Hz.

Both algorithms are those of Salvucci and Goldberg (ETRA 2000). Thresholds are in degrees; ``px_per_degree`` carries
them to the pixels of the recording, so that nothing here depends on the size of a display.

I-VT joins samples whose velocity stays below a threshold. Velocity is taken between the mean of the samples of 10 ms
before and of 10 ms after an instant, or between neighbours where the rate gives no more: noise then counts about
equally at every rate. The threshold is elliptic, 6 median-based standard deviations of the velocity of either axis
(Engbert and Kliegl, Vision Research 2003), and never below ``velocity_deg_s``: a fixed one breaks a noisy fixation into
several.

I-DT joins samples while the sum of the ranges of x and y stays below a threshold, at least ``dispersion_deg`` and ten
standard deviations of the positional noise, estimated from neighbouring samples. It needs no velocity and so suits low
rates: "auto" takes I-DT below 100 Hz, where a saccade is shorter than three samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from gazeseg.errors import ConfigError, DataError
from gazeseg.types import FloatArray, Recording

Algorithm = Literal["auto", "ivt", "idt"]
IndexArray = npt.NDArray[np.intp]

_HALF_WINDOW_MS: Final = 10.0  # 20 ms in all, the window of Tobii's I-VT filter (Olsen 2012)
_ENGBERT: Final = 6.0  # median-based standard deviations (Engbert and Kliegl 2003)
_RANGES: Final = 10.0  # x range + y range of some hundred samples of white noise, in standard deviations
_SLOW_HZ: Final = 100.0  # below it a saccade of 30 ms is under three samples


@dataclass(frozen=True, slots=True)
class Detection:
    """How samples become fixations. Angles are degrees of visual angle, times ms.

    Attributes:
        algorithm: "auto" is I-VT from 100 Hz on and I-DT below.
        velocity_deg_s: lowest threshold of I-VT.
        dispersion_deg: lowest threshold of I-DT, sum of the ranges of x and y.
        adaptive: raise either with the noise of the recording.
        min_duration_ms: shorter fixations are dropped, after merging.
        max_gap_ms: lost samples for longer end a fixation; for less it goes on.
        merge_gap_ms: fixations no further apart in time ...
        merge_deg: ... and in space become one.
        blink_pad_ms: samples so near to a loss of more than ``max_gap_ms`` are dropped: the lid drags the gaze along.
    """

    algorithm: Algorithm = "auto"
    velocity_deg_s: float = 30.0  # Tobii's I-VT filter (Olsen 2012); saccades of 1 degree peak above it
    dispersion_deg: float = 1.0  # the usual 0.5 to 1 degree of Salvucci and Goldberg
    adaptive: bool = True
    min_duration_ms: float = 60.0  # Tobii's I-VT filter
    max_gap_ms: float = 75.0  # shorter than a blink
    merge_gap_ms: float = 75.0
    merge_deg: float = 0.5
    blink_pad_ms: float = 25.0

    def __post_init__(self) -> None:
        positive = ("velocity_deg_s", "dispersion_deg", "max_gap_ms")
        for name in (*positive, "min_duration_ms", "merge_gap_ms", "merge_deg", "blink_pad_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0 and (value > 0 or name not in positive)):
                raise ConfigError(
                    f"Detection.{name} must be {'above 0' if name in positive else '0 or more'}, got {value}"
                )


@dataclass(frozen=True, slots=True)
class Events:
    """Fixations in the pixels of the samples they come from, in temporal order. Every array is (K,).

    ``first`` and ``last`` index the samples of the recording; ``figures`` says what was used: algorithm, thresholds in
    degrees and px, sampling rate.
    """

    x_px: FloatArray
    y_px: FloatArray
    onset_ms: FloatArray
    duration_ms: FloatArray
    first: IndexArray
    last: IndexArray
    figures: dict[str, float | str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x_px)


def detect_fixations(
    recording: Recording,
    px_per_degree: float,
    detection: Detection | None = None,
    *,
    breaks_ms: tuple[float, ...] = (),
) -> Events:
    """Find the fixations of one recording.

    A fixation lasts from its first sample to its last and one sampling interval more; its place is the median of its
    samples, so that a stray one does not move it.

    Args:
        recording: samples in screen px; NaN is lost. An irregular rate is allowed.
        px_per_degree: screen px to a degree, see :func:`gazeseg.gaze.geometry.px_per_degree`.
        detection: thresholds; by default those of :class:`Detection`.
        breaks_ms: instants that no fixation may span, such as a change of zoom.

    Raises:
        DataError: if ``px_per_degree`` is not above 0.
    """
    if not px_per_degree > 0:
        raise DataError(f"'{recording.image_id}': px_per_degree must be above 0, got {px_per_degree}")
    settings = detection or Detection()
    kept = _usable(recording, settings)
    time, x, y = recording.time_ms[kept], recording.x_px[kept], recording.y_px[kept]
    interval = sampling_interval_ms(recording.time_ms)
    algorithm = settings.algorithm
    if algorithm == "auto":
        algorithm = "ivt" if interval <= 1e3 / _SLOW_HZ + 0.5 else "idt"
    figures: dict[str, float | str] = {"algorithm": algorithm, "px_per_degree": px_per_degree}
    figures["sampling_hz"] = 1e3 / interval if interval else math.nan
    if len(time) < 2:
        return _events(recording, kept, np.empty((0, 2), np.intp), interval, figures)
    cuts = np.flatnonzero((np.diff(time) > settings.max_gap_ms) | _crosses(time, breaks_ms)) + 1
    if algorithm == "ivt":
        speed = velocity_px_ms(time, x, y)
        radius = np.full(2, settings.velocity_deg_s * px_per_degree / 1e3)
        if settings.adaptive:
            radius = np.maximum(radius, _ENGBERT * median_deviation(speed))
        threshold = (radius * 1e3 / px_per_degree).tolist()
        figures |= {"threshold_x_deg_s": threshold[0], "threshold_y_deg_s": threshold[1]}
        spans = ivt_spans((speed / radius[:, None]) ** 2, cuts)
    else:
        dispersion = settings.dispersion_deg * px_per_degree
        if settings.adaptive:
            dispersion = max(dispersion, _RANGES * position_noise_px(time, x, y, settings.max_gap_ms))
        figures |= {"threshold_deg": dispersion / px_per_degree}
        spans = np.concatenate(
            [
                start + idt_spans(time[start:stop], x[start:stop], y[start:stop], dispersion, settings.min_duration_ms)
                for start, stop in _between(cuts, len(time))
            ]
        )
    # what is shorter than the window of the velocity is no rest, and would stand between two that are one
    spans = spans[
        time[spans[:, 1]] - time[spans[:, 0]] + interval >= min(2 * _HALF_WINDOW_MS, settings.min_duration_ms)
    ]
    spans = _merge(spans, time, x, y, cuts, settings, px_per_degree)
    long_enough = time[spans[:, 1]] - time[spans[:, 0]] + interval >= settings.min_duration_ms
    return _events(recording, kept, spans[long_enough], interval, figures)


def velocity_px_ms(time_ms: FloatArray, x_px: FloatArray, y_px: FloatArray) -> FloatArray:
    """(2, N - 1) velocity between sample i and i + 1, from the means of up to 10 ms of samples on either side."""
    intervals = np.diff(time_ms)
    typical = float(np.median(intervals))
    width = max(1, min(round(_HALF_WINDOW_MS / typical), len(time_ms) // 2))
    signals = np.stack([time_ms - time_ms[0], x_px, y_px])
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum(signals - signals[:, :1], axis=1)], axis=1)
    after = np.arange(1, len(time_ms))  # the first sample behind each interval
    # fewer samples at the ends, the same number on both sides
    reach = np.minimum(np.minimum(after, len(time_ms) - after), width)
    moved = (sums[:, after + reach] - 2 * sums[:, after] + sums[:, after - reach]) / reach
    velocity: FloatArray = moved[1:] / moved[0]
    return velocity


def median_deviation(values: FloatArray) -> FloatArray:
    """(C,) standard deviation of each row of ``values`` (C, N) that saccades do not inflate: root of the median square.

    The estimator of the Microsaccade Toolbox 0.9 (Engbert 2015), without the factor 1.48 for a normal distribution.
    """
    deviation: FloatArray = np.sqrt(np.median((values - np.median(values, axis=1, keepdims=True)) ** 2, axis=1))
    return deviation


def position_noise_px(time_ms: FloatArray, x_px: FloatArray, y_px: FloatArray, max_gap_ms: float) -> float:
    """Standard deviation of white noise an axis, from the median step between neighbours; saccades hardly touch it."""
    near = np.diff(time_ms) <= max_gap_ms
    if not near.any():
        return 0.0
    steps = np.abs(np.stack([np.diff(x_px)[near], np.diff(y_px)[near]]))
    # the median of |N(0, sigma sqrt 2)| is 0.6745 sigma sqrt 2
    return float(np.median(steps, axis=1).max()) / (0.6745 * math.sqrt(2))


def ivt_spans(excess: FloatArray, cuts: IndexArray) -> IndexArray:
    """(K, 2) first and last sample of every run that no fast interval interrupts.

    Args:
        excess: (2, N - 1) squared velocity of each interval over the squared threshold; a sum above 1 is fast.
        cuts: samples that begin something new.
    """
    joined = excess.sum(axis=0) <= 1
    joined[cuts - 1] = False
    edges = np.diff(np.concatenate([[False], joined, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def idt_spans(
    time_ms: FloatArray, x_px: FloatArray, y_px: FloatArray, dispersion_px: float, min_duration_ms: float
) -> IndexArray:
    """(K, 2) first and last sample of every window of at least the duration whose dispersion stays below a threshold.

    Windows grow from the left as far as they can and do not overlap.
    """
    spans: list[tuple[int, int]] = []
    n = len(time_ms)
    ends = np.searchsorted(time_ms, time_ms + min_duration_ms)  # the sample that completes the duration
    possible = np.flatnonzero(ends < n)
    spread = _range_px(x_px, possible, ends[possible]) + _range_px(y_px, possible, ends[possible])
    starts = possible[spread < dispersion_px]
    at = 0
    while at < len(starts):
        first = int(starts[at])
        stop = _grow(x_px, y_px, first, int(ends[first]) + 1, dispersion_px)
        spans.append((first, stop - 1))
        at = int(np.searchsorted(starts, stop))
    return np.array(spans, np.intp).reshape(-1, 2)


def sampling_interval_ms(time_ms: FloatArray) -> float:
    """Median step of the clock in ms; 0 for fewer than two samples."""
    return float(np.median(np.diff(time_ms))) if len(time_ms) > 1 else 0.0


def long_gaps(recording: Recording, max_gap_ms: float) -> list[tuple[float, float]]:
    """From the last sample before to the first after every loss of more than ``max_gap_ms``, in ms."""
    seen = recording.time_ms[np.isfinite(recording.x_px) & np.isfinite(recording.y_px)]
    wide = np.flatnonzero(np.diff(seen) > max_gap_ms)
    return list(zip(seen[wide].tolist(), seen[wide + 1].tolist(), strict=True))


def _usable(recording: Recording, settings: Detection) -> IndexArray:
    """Indices of the samples that are there and lie away from a blink."""
    good = np.isfinite(recording.x_px) & np.isfinite(recording.y_px)
    time = recording.time_ms
    # from the first lost instant to the last: at low rates even the samples beside the loss are far enough from it
    reach = settings.blink_pad_ms - sampling_interval_ms(time)
    if reach > 0:
        for start, stop in long_gaps(recording, settings.max_gap_ms):
            good[np.searchsorted(time, start - reach, side="right") : np.searchsorted(time, stop + reach)] = False
    return np.flatnonzero(good)


def _crosses(time_ms: FloatArray, breaks_ms: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    side = np.searchsorted(np.array(breaks_ms), time_ms, side="right")
    return np.diff(side) > 0


def _lasting(spans: IndexArray, time_ms: FloatArray, interval_ms: float) -> FloatArray:
    lasting: FloatArray = time_ms[spans[:, 1]] - time_ms[spans[:, 0]] + interval_ms
    return lasting


def _between(cuts: IndexArray, n: int) -> Iterator[tuple[int, int]]:
    edges = [0, *cuts.tolist(), n]
    yield from pairwise(edges)


def _range_px(values: FloatArray, first: IndexArray, last: IndexArray) -> FloatArray:
    """(M,) maximum - minimum of ``values[first..last]``, last included: two overlapping powers of two cover it."""
    out = np.empty(len(first))
    level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
    high, low, k = values, values, 0
    while k <= (int(level.max()) if len(level) else -1):
        chosen = level == k
        left, right = first[chosen], last[chosen] - (1 << k) + 1
        out[chosen] = np.maximum(high[left], high[right]) - np.minimum(low[left], low[right])
        high = np.maximum(high[: -(1 << k)], high[1 << k :])
        low = np.minimum(low[: -(1 << k)], low[1 << k :])
        k += 1
    return out


def _grow(x_px: FloatArray, y_px: FloatArray, first: int, stop: int, dispersion_px: float) -> int:
    """Return the first sample that the window from ``first`` cannot take in."""
    bounds = [f(values[first:stop]) for values in (x_px, y_px) for f in (np.max, np.min)]
    length = 64
    while stop < len(x_px):
        end = min(stop + length, len(x_px))
        x_high = np.maximum(np.maximum.accumulate(x_px[stop:end]), bounds[0])
        x_low = np.minimum(np.minimum.accumulate(x_px[stop:end]), bounds[1])
        y_high = np.maximum(np.maximum.accumulate(y_px[stop:end]), bounds[2])
        y_low = np.minimum(np.minimum.accumulate(y_px[stop:end]), bounds[3])
        wide = (x_high - x_low) + (y_high - y_low) >= dispersion_px
        if wide.any():
            return stop + int(np.argmax(wide))
        bounds = [x_high[-1], x_low[-1], y_high[-1], y_low[-1]]
        stop, length = end, length * 2
    return stop


def _merge(
    spans: IndexArray,
    time: FloatArray,
    x: FloatArray,
    y: FloatArray,
    cuts: IndexArray,
    settings: Detection,
    px_per_degree: float,
) -> IndexArray:
    """Join neighbours that one eye movement cannot have parted; a cut stays."""
    out: list[list[int]] = []
    places: list[tuple[float, float]] = []
    for first, last in spans.tolist():
        place = (float(np.median(x[first : last + 1])), float(np.median(y[first : last + 1])))
        if out and time[first] - time[out[-1][1]] <= settings.merge_gap_ms:
            near = math.dist(place, places[-1]) <= settings.merge_deg * px_per_degree
            cut = np.searchsorted(cuts, out[-1][1], side="right") != np.searchsorted(cuts, first, side="right")
            if near and not cut:
                out[-1][1] = last
                start = out[-1][0]
                places[-1] = (float(np.median(x[start : last + 1])), float(np.median(y[start : last + 1])))
                continue
        out.append([first, last])
        places.append(place)
    return np.array(out, np.intp).reshape(-1, 2)


def _events(
    recording: Recording, kept: IndexArray, spans: IndexArray, interval: float, figures: dict[str, float | str]
) -> Events:
    places = np.empty((2, len(spans)))
    for k, (first, last) in enumerate(spans.tolist()):
        inside = kept[first : last + 1]
        places[:, k] = np.median(recording.x_px[inside]), np.median(recording.y_px[inside])
    first, last = kept[spans[:, 0]], kept[spans[:, 1]]
    onset = recording.time_ms[first]
    return Events(places[0], places[1], onset, recording.time_ms[last] - onset + interval, first, last, figures)
