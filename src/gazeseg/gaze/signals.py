"""Raw samples whose fixations are known: what an eye tracker of a given rate, noise and loss would have recorded.

For tests, benchmarks and demonstrations. Saccades follow the main sequence (Bahill, Clark and Stark, Mathematical
Biosciences 1975: 2.2 ms a degree on top of 21 ms) along a minimum-jerk path; fixations may drift, every sample has
white noise, single samples and whole blinks may be lost, and the clock may be irregular.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.types import FloatArray, Recording, ScreenGeometry

_SACCADE_MS: Final = 21.0
_SACCADE_MS_DEG: Final = 2.2
_BLINK_MS: Final = 150.0


@dataclass(frozen=True, slots=True)
class Tracker:
    """What an eye tracker does to a gaze. Lengths are screen px.

    Attributes:
        sampling_hz: samples a second.
        noise_px: standard deviation of white noise, an axis.
        drift_px_s: speed of a slow drift during fixations, in a direction of its own each time.
        loss: share of the samples that are lost singly.
        blinks: blinks of 150 ms, each in the middle of a fixation drawn at random.
        jitter: standard deviation of the sampling interval, as a share of it.
    """

    sampling_hz: float = 1000.0
    noise_px: float = 1.0
    drift_px_s: float = 0.0
    loss: float = 0.0
    blinks: int = 0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not (self.sampling_hz > 0 and 0 <= self.loss < 1 and 0 <= self.jitter < 0.3):
            raise DataError(
                f"Tracker needs sampling_hz > 0, loss in 0..1 and jitter below 0.3, got {self.sampling_hz:g}, "
                f"{self.loss:g}, {self.jitter:g}"
            )


def simulate_recording(
    x_px: FloatArray,
    y_px: FloatArray,
    duration_ms: FloatArray,
    tracker: Tracker,
    px_per_degree: float,
    rng: np.random.Generator,
    *,
    image_id: str = "simulated",
    reader_id: str = "",
    start_ms: float = 0.0,
    screen: ScreenGeometry | None = None,
) -> tuple[Recording, FloatArray]:
    """Sample a scanpath.

    Args:
        x_px: (K,) places of the fixations in screen px.
        y_px: (K,) the same down the screen.
        duration_ms: (K,) how long the eye rests at each.
        tracker: rate, noise and loss.
        px_per_degree: makes the duration of a saccade from its length.
        rng: the only source of chance.
        image_id: names the recording.
        reader_id: names the reader.
        start_ms: when the first fixation begins.
        screen: is handed on.

    Returns:
        The recording, and the true onset of each fixation in ms (K,).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> places, durations = np.array([100.0, 500.0]), np.array([300.0, 200.0])
        >>> recording, onset_ms = simulate_recording(places, places, durations, Tracker(500), 40.0, rng)
        >>> onset_ms.round().tolist(), len(recording.time_ms)
        ([0.0, 352.0], 277)
    """
    amplitude_deg = np.hypot(np.diff(x_px), np.diff(y_px)) / px_per_degree
    saccade_ms = _SACCADE_MS + _SACCADE_MS_DEG * amplitude_deg
    onset_ms = start_ms + np.concatenate([[0.0], np.cumsum(duration_ms[:-1] + saccade_ms)])
    end_ms = onset_ms + duration_ms
    step_ms = 1e3 / tracker.sampling_hz
    count = math.floor((end_ms[-1] - start_ms) / step_ms + 1e-9) + 1
    time = start_ms + np.arange(count) * step_ms
    if tracker.jitter:
        # bounded, so that the clock cannot run backwards
        time = time + np.clip(rng.normal(size=count) * tracker.jitter, -0.45, 0.45) * step_ms
    heading = rng.uniform(0, 2 * math.pi, len(x_px))
    drift = tracker.drift_px_s / 1e3 * np.stack([np.cos(heading), np.sin(heading)])
    signals = [
        _path(time, places, speed, onset_ms, end_ms) + rng.normal(size=count) * tracker.noise_px
        for places, speed in zip((x_px, y_px), drift, strict=True)
    ]
    lost = rng.random(count) < tracker.loss
    for k in rng.choice(len(x_px), min(tracker.blinks, len(x_px)), replace=False):
        lost |= np.abs(time - (onset_ms[k] + end_ms[k]) / 2) <= _BLINK_MS / 2
    for signal in signals:
        signal[lost] = np.nan
    return Recording(time, signals[0], signals[1], image_id, reader_id, screen=screen), onset_ms


def _path(
    time_ms: FloatArray, places: FloatArray, speed_px_ms: FloatArray, onset_ms: FloatArray, end_ms: FloatArray
) -> FloatArray:
    """(N,) where the eye is on one axis: drifting about each place while it rests, and in between on its way."""
    k = np.clip(np.searchsorted(onset_ms, time_ms, side="right") - 1, 0, len(places) - 1)
    middle = (onset_ms + end_ms) / 2
    rest: FloatArray = places[k] + speed_px_ms[k] * (np.minimum(time_ms, end_ms[k]) - middle[k])
    following = np.minimum(k + 1, len(places) - 1)
    landing = places[following] + speed_px_ms[following] * (onset_ms[following] - middle[following])
    moving = (time_ms > end_ms[k]) & (following > k)
    way = np.clip((time_ms - end_ms[k]) / np.where(moving, onset_ms[following] - end_ms[k], 1.0), 0, 1)
    return np.where(moving, rest + (landing - rest) * way**3 * (10 - 15 * way + 6 * way**2), rest)
