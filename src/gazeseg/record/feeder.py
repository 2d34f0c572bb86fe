"""What a source of gaze is that the server reads itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from gazeseg.types import FloatArray

BATCH_S: Final = 0.02


@dataclass(frozen=True)
class Feeder(ABC):
    """A source of gaze for one reader, by its place in the list of readers."""

    reader: int

    @abstractmethod
    def batches(self) -> AsyncIterator[FloatArray]:
        """Yield samples (N, 4) of time_ms, x, y, pupil as they come.

        Raises:
            DataError: if the source ends before its time.
        """
