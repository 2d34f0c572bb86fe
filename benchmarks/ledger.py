"""What a speed row is, and how two ways of doing one thing are timed fairly in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the ledger; ``error`` says how far the fast way departs from the published one."""

    stage: str
    published_ms: float
    ours_ms: float
    error: str
    goal: str
    met: bool

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.published_ms / self.ours_ms


def time_pair(
    published: Callable[[], object], ours: Callable[[], object], *, repeats: int = 5, inner: int = 1
) -> tuple[float, float]:
    """Median CPU milliseconds of the two, called in turn so that a drifting machine hits both; one warm-up each.

    CPU time of the process is what counts: with one thread it equals the wall clock on an idle machine and is immune to
    neighbours. ``inner`` calls of ``ours`` are timed together where one is too short for the clock.
    """
    published()
    ours()
    slow: list[float] = []
    fast: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        published()
        middle = time.process_time()
        for _ in range(inner):
            ours()
        end = time.process_time()
        slow.append(middle - start)
        fast.append((end - middle) / inner)
    return statistics.median(slow) * 1e3, statistics.median(fast) * 1e3
