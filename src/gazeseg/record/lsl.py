"""A LabStreamingLayer gaze stream, as most trackers of research offer one.

Channels are found by their labels (x, y and pupil, also with a side in front or behind); a stream without labels has x
and y first. Two eyes are averaged where both are seen. Time stamps are seconds of LSL's clock.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.record.feeder import BATCH_S, Feeder
from gazeseg.types import FloatArray

SEARCH_S: Final = 10.0
MAX_CHUNK: Final = 2048
_WORDS: Final = {"x": re.compile(r"(^|[^a-z])x([^a-z]|$)"), "y": re.compile(r"(^|[^a-z])y([^a-z]|$)")}


@dataclass(frozen=True, slots=True)
class Channels:
    """Which channels are x, y and pupil; one index an eye."""

    x: tuple[int, ...]
    y: tuple[int, ...]
    pupil: tuple[int, ...] = ()

    @classmethod
    def of(cls, labels: Sequence[str], count: int) -> Channels:
        """Find the channels by their labels.

        Raises:
            DataError: if there is no pair of x and y.

        Examples:
            >>> Channels.of(["Left_X", "Left_Y", "Left_Pupil"], 3)
            Channels(x=(0,), y=(1,), pupil=(2,))
        """
        if not any(labels):
            if count < 2:
                raise DataError(f"the LSL stream has {count} channel and no labels; gaze needs x and y")
            return cls((0,), (1,))
        names = [label.lower().replace("_", " ") for label in labels]
        pupil = tuple(k for k, name in enumerate(names) if "pupil" in name or "diameter" in name)
        found = {
            axis: tuple(k for k, name in enumerate(names) if word.search(name) and k not in pupil)
            for axis, word in _WORDS.items()
        }
        if not found["x"] or len(found["x"]) != len(found["y"]):
            raise DataError(
                f"the LSL stream names its channels {', '.join(labels)}; label them x and y, one pair an eye"
            )
        return cls(found["x"], found["y"], pupil)

    def samples(self, values: FloatArray, stamps_s: FloatArray) -> FloatArray:
        """(N, 4) time_ms, x, y, pupil of a chunk (N, channels)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN: lost
            columns = [
                np.nanmean(values[:, list(chosen)], axis=1) if chosen else np.full(len(values), np.nan)
                for chosen in (self.x, self.y, self.pupil)
            ]
        return np.stack([1e3 * stamps_s, *columns], axis=1)


@dataclass(frozen=True)
class LslFeeder(Feeder):
    """The stream of a name, or the first of type Gaze."""

    name: str | None

    async def batches(self) -> AsyncIterator[FloatArray]:
        """Yield chunks as they come."""
        inlet, channels = await asyncio.to_thread(self._open)
        last = -np.inf
        try:
            while True:
                await asyncio.sleep(BATCH_S)
                values, stamps = inlet.pull_chunk(timeout=0.0, max_samples=MAX_CHUNK)
                if not stamps:
                    continue
                samples = channels.samples(np.asarray(values, np.float64), np.asarray(stamps, np.float64))
                rising = samples[:, 0] > np.maximum.accumulate(np.concatenate([[last], samples[:-1, 0]]))
                samples = samples[rising]  # smoothed time stamps may cross by microseconds
                if len(samples):
                    last = float(samples[-1, 0])
                    yield samples
        finally:
            inlet.close_stream()

    def _open(self) -> tuple[Any, Channels]:
        """Find the stream and its channels.

        Raises:
            DataError: if there is none.
            MissingDependencyError: without pylsl.
        """
        pylsl = _pylsl()
        wanted = ("name", self.name) if self.name is not None else ("type", "Gaze")
        found = pylsl.resolve_byprop(*wanted, minimum=1, timeout=SEARCH_S)
        if not found:
            raise DataError(f"no LSL stream of {wanted[0]} '{wanted[1]}' in {SEARCH_S:g} s; start the tracker's stream")
        inlet = pylsl.StreamInlet(found[0], max_buflen=60, processing_flags=pylsl.proc_clocksync | pylsl.proc_dejitter)
        info = inlet.info()
        labels = []
        channel = info.desc().child("channels").child("channel")
        for _ in range(info.channel_count()):
            labels.append(channel.child_value("label"))
            channel = channel.next_sibling("channel")
        return inlet, Channels.of(labels, info.channel_count())


def _pylsl() -> Any:
    try:
        import pylsl
    except ImportError:
        raise MissingDependencyError("pylsl", "trackers") from None
    return pylsl
