"""A gaze device beside a page: two clocks brought together, the last seconds kept, figures for the reader."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.record.clock import ClockOffset
from gazeseg.types import FloatArray

RECENT_MS: Final = 6_000.0  # a calibration target stays for less


class Device:
    """Samples of one device for one reader, carried to the clock of the reader's page."""

    def __init__(self, page_clock: ClockOffset) -> None:
        """Follow the device's clock; ``page_clock`` is the page's offset against ours."""
        self._page_clock = page_clock
        self._clock = ClockOffset()
        self._holding = False
        self._shift_ms: float | None = None
        self._last_ms = -np.inf
        self._recent: deque[FloatArray] = deque()

    def hold(self) -> None:
        """Fix the shift between the clocks for one viewing: a better estimate midway would tear its times.

        A device that has not spoken yet has it fixed by its first batch.
        """
        self._holding, self._shift_ms = True, self._estimate() if self._clock.known else None

    def release(self) -> None:
        """Let the shift follow the estimate again."""
        self._holding, self._shift_ms = False, None

    def take(self, samples: FloatArray, received_ms: float) -> FloatArray:
        """Take a batch (N, 4) with times of the device's clock that came at ``received_ms`` of ours.

        Returns:
            The batch with times of the page's clock.

        Raises:
            DataError: if time does not rise, or one that was sent comes again.
        """
        if not len(samples):
            return samples
        time_ms = samples[:, 0]
        if time_ms[0] <= self._last_ms or not (np.diff(time_ms) > 0).all():
            raise DataError(
                f"time runs backwards in or before the batch that begins at {time_ms[0]:.3f} ms (last: "
                f"{self._last_ms:.3f}); send every sample once and in order"
            )
        self._last_ms = float(time_ms[-1])
        self._clock.seen(self._last_ms, received_ms)
        if self._holding and self._shift_ms is None:
            self._shift_ms = self._estimate()
        moved = samples.copy()
        moved[:, 0] += self._estimate() if self._shift_ms is None else self._shift_ms
        self._recent.append(moved)
        while self._recent and self._recent[0][-1, 0] < moved[-1, 0] - RECENT_MS:
            self._recent.popleft()
        return moved

    def between(self, from_ms: float, to_ms: float) -> FloatArray:
        """(N, 4) samples of the last seconds within a span of the page's clock."""
        samples = np.concatenate(self._recent) if self._recent else np.empty((0, 4))
        return samples[(samples[:, 0] >= from_ms) & (samples[:, 0] <= to_ms)]

    def figures(self, now_ms: float) -> dict[str, Any]:
        """Rate, share lost and the last position over the last second before ``now_ms`` of the page's clock."""
        last = self.between(now_ms - 1000, np.inf)
        seen = last[np.isfinite(last[:, 1])]
        return {
            "hz": len(last),
            "lost": None if not len(last) else round(1 - len(seen) / len(last), 3),
            "x": None if not len(seen) else round(float(seen[-1, 1]), 1),
            "y": None if not len(seen) else round(float(seen[-1, 2]), 1),
        }

    def _estimate(self) -> float:
        """Add to a time of the device: device -> ours -> page."""
        return self._clock.offset_ms - self._page_clock.offset_ms
