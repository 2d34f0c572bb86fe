"""The fixation table of a dataset folder, and users' own tables.

``case_id,reader_id,x_px,y_px,onset_ms,duration_ms``: one row a fixation, positions in image px with pixel centres at
integers (off the image is allowed and counted by ``gazeseg check``), times in ms. Instead of ``x_px`` and ``y_px`` a
table may have ``x`` and ``y`` in 0..1 of the image. ``reader_id`` may be left out, and ``onset_ms`` too: the rows of a
case are then in temporal order and follow each other without a pause.
"""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.io.validate import Table, group_by_case, pixels
from gazeseg.types import Fixations, FloatArray

COLUMNS: Final = ("case_id", "reader_id", "x_px", "y_px", "onset_ms", "duration_ms")

_FEW: Final = 10  # so many rows within the first pixel are no accident


def read_fixation_table(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Fixations]:
    """Read a fixation table; comma, tab or semicolon separated.

    Args:
        path: the table.
        sizes: (H, W) in px of every case by its id. A case without a row is absent from the result. A name in the
            table may carry the ending of its image file.

    Returns:
        Case id -> fixations in image px, sorted by onset.

    Raises:
        DataError: if a column is missing, or a row has an unknown case, a cell that is no number, a normalised
            coordinate outside 0..1 or a duration that is not positive; if a case has several readers; if pixel
            columns hold normalised values.
    """
    table = Table.read(path)
    x, y, normalised = positions(table)
    cases = table.case_ids("case_id", sizes, {})
    duration_ms = table.durations("duration_ms")
    if normalised:
        height, width = np.array([sizes[case] for case in cases], np.float64).reshape(-1, 2).T
        x, y = pixels(x, width), pixels(y, height)
    onset_ms = onsets(table, cases, duration_ms)
    return group_by_case(
        table,
        cases,
        sizes,
        x_px=x,
        y_px=y,
        onset_ms=onset_ms,
        duration_ms=duration_ms,
        order=onset_ms,
        readers=list(table.cells.get("reader_id", [""] * len(cases))),
        onset_column="onset_ms",
    )


def positions(table: Table) -> tuple[FloatArray, FloatArray, bool]:
    """Return (N,) x and y as the table has them, and whether they are shares of the image and not px.

    Raises:
        DataError: as :func:`read_fixation_table` about columns and coordinates.
    """
    normalised = bool({"x", "y"} & table.cells.keys()) and not {"x_px", "y_px"} & table.cells.keys()
    table.require(("case_id", *(("x", "y") if normalised else ("x_px", "y_px")), "duration_ms"))
    if normalised:
        return table.unit_interval("x"), table.unit_interval("y"), True
    x_px, y_px = table.numbers("x_px"), table.numbers("y_px")
    _refuse_normalised(table, x_px, y_px)
    return x_px, y_px, False


def onsets(table: Table, viewings: Sequence[Hashable], duration_ms: FloatArray) -> FloatArray:
    """Return (N,) onsets in ms: those of the table, or without any one fixation after the other.

    Args:
        table: The table.
        viewings: What each row belongs to: rows of one viewing follow each other.
        duration_ms: (N,).

    Raises:
        DataError: for a cell that is no number.
    """
    if "onset_ms" in table.cells:
        return table.numbers("onset_ms")
    onset_ms = np.zeros(len(viewings))
    clock: dict[Hashable, float] = {}
    for row, (viewing, duration) in enumerate(zip(viewings, duration_ms.tolist(), strict=True)):
        onset_ms[row] = clock.get(viewing, 0.0)
        clock[viewing] = onset_ms[row] + duration
    return onset_ms


def write_fixation_table(path: Path, fixations: Iterable[Fixations]) -> None:
    """Write the table of a dataset folder, under a temporary name first; numbers come back bit for bit.

    Raises:
        DataError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for fix in fixations:
                numbers = (fix.x_px, fix.y_px, fix.onset_ms, fix.duration_ms)
                writer.writerows(zip(repeat(fix.image_id), repeat(fix.reader_id), *(n.tolist() for n in numbers)))
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose another"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # the error above is the one to tell
            temporary.unlink(missing_ok=True)


def _refuse_normalised(table: Table, x_px: FloatArray, y_px: FloatArray) -> None:
    if len(x_px) >= _FEW and min(x_px.min(), y_px.min()) >= 0 and max(x_px.max(), y_px.max()) <= 1:
        raise DataError(
            f"{table.path}: all of x_px and y_px lie in 0..1; name the columns x and y if they are normalised"
        )
