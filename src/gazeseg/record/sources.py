"""Gaze that the server reads itself: a stream of a tracker, or a recorded file, played in its own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.io.validate import Table
from gazeseg.record.feeder import BATCH_S, Feeder
from gazeseg.types import FloatArray


@dataclass(frozen=True)
class FileFeeder(Feeder):
    """A table with the columns time_ms, x, y and, where there is one, pupil; it starts anew when it ends."""

    path: Path

    async def batches(self) -> AsyncIterator[FloatArray]:
        """Yield what was recorded, at the speed at which it was recorded."""
        samples = read_stream(self.path)
        loop = asyncio.get_running_loop()
        length_ms = float(samples[-1, 0] - samples[0, 0] + np.median(np.diff(samples[:, 0])))
        start, sent, lap = loop.time(), 0, 0
        while True:
            await asyncio.sleep(BATCH_S)
            played_ms = 1e3 * (loop.time() - start) - lap * length_ms
            until = int(np.searchsorted(samples[:, 0] - samples[0, 0], played_ms))
            if until > sent:
                batch = samples[sent:until].copy()
                batch[:, 0] += lap * length_ms
                sent = until
                yield batch
            if sent == len(samples):
                sent, lap = 0, lap + 1


def read_stream(path: Path) -> FloatArray:
    """Read a table of samples: (N, 4).

    Raises:
        DataError: if a column is missing, fewer than two samples are there, or time does not rise.
    """
    table = Table.read(path)
    table.require(("time_ms", "x", "y"))
    columns = [table.numbers("time_ms"), *(_gappy(table, name) for name in ("x", "y"))]
    columns.append(_gappy(table, "pupil") if "pupil" in table.cells else np.full(len(columns[0]), np.nan))
    samples = np.stack(columns, axis=1)
    if len(samples) < 2:
        raise DataError(f"{path}: {len(samples)} samples; give a recording of two or more")
    table.refuse(
        "time_ms", np.diff(samples[:, 0], prepend=-np.inf) <= 0, "is not later than the one before; sort the rows"
    )
    return samples


def _gappy(table: Table, column: str) -> FloatArray:
    """The cells of a column where an empty one is a lost sample."""
    values = np.array([_number(cell) for cell in table.cells[column]])
    table.refuse(column, np.isinf(values), "is not a number; leave the cell empty where the eye was lost")
    return values


def _number(cell: str) -> float:
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        return np.inf


def make_feeders(source: str, stream: str | None) -> tuple[Feeder, ...]:
    """Return the sources that the server reads itself, for the first reader.

    Args:
        source: As in :class:`~gazeseg.record.config.RecordConfig`.
        stream: The table of ``file``, or the name of the stream of ``lsl``.

    Raises:
        ConfigError: if the source needs a stream and none is named, or the other way round.
        DataError: if the table cannot be used.
    """
    if source == "file":
        if stream is None:
            raise ConfigError("--source file plays a table; name it with --stream TABLE (columns time_ms, x, y)")
        read_stream(Path(stream))  # what is wrong with it is said before a browser opens
        return (FileFeeder(0, Path(stream)),)
    if source == "lsl":
        from gazeseg.record.lsl import LslFeeder

        return (LslFeeder(0, stream),)
    if stream is not None:
        raise ConfigError(f"--stream belongs to --source file or lsl, not to {source}; leave it away")
    return ()
