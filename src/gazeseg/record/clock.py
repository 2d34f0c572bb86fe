"""Two clocks that run side by side: what one shows when the other shows something.

Messages travel at least no time, so that the smallest difference between arriving and leaving is the best estimate of
the offset between the clocks; a window of some minutes follows their drift.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_MS: Final = 120_000.0  # quartz drifts by less than 50 ppm: 6 ms in this window


class ClockOffset:
    """Offset of the local clock against a remote one, in ms: ``local = remote + offset``."""

    def __init__(self, window_ms: float = WINDOW_MS) -> None:
        """Start without an estimate; messages older than ``window_ms`` no longer count."""
        self._window_ms = window_ms
        self._lowest: deque[tuple[float, float]] = deque()  # (local_ms, difference), differences rise

    def seen(self, remote_ms: float, local_ms: float) -> None:
        """Count a message that left at ``remote_ms`` of its clock and came at ``local_ms`` of ours."""
        difference = local_ms - remote_ms
        while self._lowest and self._lowest[-1][1] >= difference:
            self._lowest.pop()
        self._lowest.append((local_ms, difference))
        while self._lowest[0][0] < local_ms - self._window_ms:
            self._lowest.popleft()

    @property
    def known(self) -> bool:
        """True once a message came."""
        return bool(self._lowest)

    @property
    def offset_ms(self) -> float:
        """The estimate; 0 before any message."""
        return self._lowest[0][1] if self._lowest else 0.0
