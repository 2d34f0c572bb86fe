"""Fixation reports of EyeLink Data Viewer: one row a fixation, screen px with the origin at the top left, times in ms.

``CURRENT_FIX_START`` counts from the start of the trial. The column that names the image is a trial variable of the
experiment, so it is the one whose cells are cases of the data set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import Marks, ReadOptions, Session, Trial, viewings

NAME: Final = "dataviewer"


def sniff(head: str, path: Path) -> bool:
    """Tell whether this is a fixation report; GazeMedSeg's table borrows its column names but is normalised."""
    first = head.partition("\n")[0]
    return "CURRENT_FIX_X" in first and "CURRENT_FIX_DURATION" in first and "IMAGE_HEIGHT" not in first


def read(path: Path, options: ReadOptions) -> Session:
    """Read a report.

    Raises:
        DataError: if a column is missing, a cell is no number, or no column names a case of the data set.
    """
    table = Columns.read(path)
    x, y = table.numbers(table.need("CURRENT_FIX_X")), table.numbers(table.need("CURRENT_FIX_Y"))
    duration = table.numbers(table.need("CURRENT_FIX_DURATION"))
    start = table.numbers(table.need("CURRENT_FIX_START"))
    images, column = _images(table, options)
    label = table.first("RECORDING_SESSION_LABEL", "DATA_FILE", "SESSION_LABEL")
    if options.reader_id is not None or label is None:
        readers = np.full(len(table), options.reader_id or path.stem, dtype=object)
    else:
        readers = table.text(label)
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(start) & (duration > 0)
    trial = table.text("TRIAL_INDEX") if "TRIAL_INDEX" in table else np.full(len(table), "", dtype=object)
    trials = []
    for (image, reader, _), rows in viewings(images, readers, trial):
        kept = rows[good[rows]]
        kept = kept[np.argsort(start[kept], kind="stable")]
        trials.append(Trial(image, reader, "screen", marks=Marks(x[kept], y[kept], start[kept], duration[kept])))
    warnings = [] if good.all() else [f"{int((~good).sum())} rows without a position or a duration were left out"]
    return Session(
        NAME,
        path,
        tuple(trials),
        assumptions=(
            "fixations of Data Viewer in screen px, origin top left; ms from the start of the trial",
            f"the image is named by {column}" if column else f"the whole file is of '{options.image}'",
            f"the reader is named by {label}" if label and options.reader_id is None else "one reader",
        ),
        warnings=(*table.warnings, *warnings),
    )


def _images(table: Columns, options: ReadOptions) -> tuple[np.ndarray[tuple[int], np.dtype[np.object_]], str]:
    """(N,) the name of the image of each row, and the column it comes from: the one with the most cases."""
    if options.image is not None:
        return np.full(len(table), options.image, dtype=object), ""
    best, most = None, 0
    for name in map(str, table.frame.columns):
        known = sum(options.resolve(value) is not None for value in set(table.text(name)) if value)
        if known > most and not name.startswith("CURRENT_FIX"):
            best, most = name, known
    if best is None:
        raise DataError(
            f"{table.path}: no column names a case of the data set; add the image to the report, or say which case the "
            "file is of with --image"
        )
    return table.text(best), best
