"""The formats of tracker files: recognise one, read one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from gazeseg.errors import ConfigError, DataError, suggest
from gazeseg.gaze.io import bids, dataviewer, eyelink, gazepoint, mapped, medseg, own, pupil, tobii, webcam
from gazeseg.gaze.io.columns import read_head
from gazeseg.gaze.io.trial import ReadOptions, Session

_KNOWN: Final = (bids, webcam, medseg, own, dataviewer, tobii, gazepoint, pupil, eyelink)
_SNIFF: Final[dict[str, Callable[[str, Path], bool]]] = {module.NAME: module.sniff for module in _KNOWN}
_READ: Final[dict[str, Callable[[Path, ReadOptions], Session]]] = {
    **{module.NAME: module.read for module in _KNOWN},
    mapped.NAME: mapped.read,
}
FORMATS: Final = tuple(_READ)


def recognise(path: Path, options: ReadOptions) -> str:
    """Return the name of the format of a file; a mapping makes any table one.

    Raises:
        DataError: if no reader knows it.
    """
    if options.mapping is not None:
        return mapped.NAME
    if path.suffix.lower() == ".edf":
        raise DataError(f"{path}: EDF is closed; convert it with SR Research's edf2asc and import the .asc")
    head = read_head(path)
    for name, sniff in _SNIFF.items():
        if sniff(head, path):
            return name
    first = head.partition("\n")[0][:80]
    raise DataError(
        f"{path}: no known format (it begins '{first}'); name the columns with --mapping FILE.yaml, or say which with "
        f"--format ({', '.join(FORMATS)})"
    )


def read_gaze(path: Path, options: ReadOptions, format_name: str = "auto") -> Session:
    """Read a tracker file.

    Raises:
        DataError: if the file is of no known format or broken.
        ConfigError: for an unknown name of a format.
    """
    if format_name == "auto":
        format_name = recognise(path, options)
    if format_name not in _READ:
        raise ConfigError(f"unknown format '{format_name}'{suggest(format_name, ('auto', *FORMATS))}")
    return _READ[format_name](path, options)
