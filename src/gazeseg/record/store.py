"""Files that only grow: a log of one JSON object a line, synced to the disk, and the samples of one viewing.

A log line counts once its line end is on the disk. What a crash leaves behind it, a line without end, is cut off when
the log is opened again, so that at most the event under way is lost.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from gazeseg.errors import DataError
from gazeseg.types import FloatArray

SAMPLE_COLUMNS: Final = ("time_ms", "x_px", "y_px", "pupil")


class StorageError(DataError):
    """The disk is full, read-only or gone while a session runs; the reader has to see it at once."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Say what cannot be written, and what to do."""
        self.reason = error.strerror or str(error)
        super().__init__(f"{path}: cannot be written ({self.reason}); free some space, then go on")


class Log:
    """An append-only file of events; open in one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the log at ``path``.

        Raises:
            DataError: if another process has it open, or a line in the middle is damaged.
            StorageError: if it cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            _sync_folder(path.parent)
        except OSError as error:
            raise StorageError(path, error) from None
        try:
            _lock(self._file)
        except OSError:
            os.close(self._file)
            raise DataError(
                f"{path}: another gazeseg records for this reader; stop it, or name another reader with --reader ID"
            ) from None
        try:
            self.events, length = parse_log(path.read_bytes(), path)
            os.ftruncate(self._file, length)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is on the disk when this returns, or the log is as before.

        Raises:
            StorageError: if it cannot be written.
        """
        line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode()
        length = os.fstat(self._file).st_size
        try:
            write_all(self._file, line)
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, length)
            raise StorageError(self.path, error) from None
        self.events.append(dict(event))

    def close(self) -> None:
        """Release the log."""
        os.close(self._file)


def parse_log(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the events of a log and how many bytes of it they take; a last line without end is left out.

    Raises:
        DataError: naming the first damaged line.
    """
    length = content.rfind(b"\n") + 1
    events = []
    for number, line in enumerate(content[:length].splitlines(), 1):
        try:
            event = json.loads(line)
        except (ValueError, UnicodeDecodeError):
            event = None
        if not isinstance(event, dict):
            raise DataError(f"{path}, line {number}: damaged; restore the file, or move its folder away to start anew")
        events.append(event)
    return events, length


class SampleFile:
    """The samples of one viewing as CSV, written as they come and synced at the end."""

    def __init__(self, path: Path) -> None:
        """Start the file anew.

        Raises:
            StorageError: if it cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
            write_all(self._file, (",".join(SAMPLE_COLUMNS) + "\n").encode())
        except OSError as error:
            raise StorageError(path, error) from None

    def add(self, samples: FloatArray) -> None:
        """Write samples (N, 4) of time_ms, x_px, y_px, pupil; NaN becomes an empty cell.

        Raises:
            StorageError: if they cannot be written.
        """
        text = "".join(f"{t:.3f},{x:.2f},{y:.2f},{p:.3f}\n" for t, x, y, p in samples.tolist()).replace("nan", "")
        try:
            write_all(self._file, text.encode())
        except OSError as error:
            raise StorageError(self.path, error) from None

    def close(self, *, sync: bool = True) -> None:
        """Close the file; with ``sync`` it is on the disk then.

        Raises:
            StorageError: if it cannot be synced.
        """
        try:
            if sync:
                os.fsync(self._file)
        except OSError as error:
            raise StorageError(self.path, error) from None
        finally:
            os.close(self._file)


def read_samples(path: Path) -> FloatArray:
    """Read what :class:`SampleFile` wrote: (N, 4), NaN where a cell is empty."""
    values: FloatArray = pd.read_csv(path, usecols=SAMPLE_COLUMNS, dtype=np.float64)[list(SAMPLE_COLUMNS)].to_numpy()
    return values


def write_all(file: int, content: bytes) -> None:
    """Write every byte: the system may take a part at a time."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last: without it a power cut may lose the whole file."""
    if sys.platform != "win32":  # folders cannot be opened there, and need not be
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
