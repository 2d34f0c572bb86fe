"""gazeseg's own fixation table as a tracker file, such as ``gaze/fixations.csv`` of another data set.

One row a fixation: ``case_id``, ``x_px`` and ``y_px`` in px of the image (or ``x`` and ``y`` in 0..1 of it) and
``duration_ms``; ``reader_id`` and ``onset_ms`` may be left out, as in :mod:`gazeseg.gaze.io.table`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.table import refuse_normalised
from gazeseg.gaze.io.trial import Marks, ReadOptions, Session, Space, Trial, viewings

NAME: Final = "gazeseg"


def sniff(head: str, path: Path) -> bool:
    """Tell whether the header names cases and durations as ours does."""
    first = head.partition("\n")[0]
    return "case_id" in first and "duration_ms" in first


def read(path: Path, options: ReadOptions) -> Session:
    """Read the table.

    Raises:
        DataError: if a column is missing or a cell is no number.
    """
    table = Columns.read(path)
    space: Space = "image" if "x" in table and "x_px" not in table else "pixels"
    x, y = (table.numbers(table.need(name)) for name in (("x", "y") if space == "image" else ("x_px", "y_px")))
    if space == "pixels":
        refuse_normalised(path, x, y)
    duration = table.numbers(table.need("duration_ms"))
    onset = table.numbers("onset_ms") if "onset_ms" in table else None
    reader = np.full(len(table), options.reader_id or "", dtype=object)
    if options.reader_id is None and "reader_id" in table:
        reader = table.text("reader_id")
    trials = []
    for (name, who), rows in viewings(table.text(table.need("case_id")), reader):
        good = rows[np.isfinite(x[rows]) & np.isfinite(y[rows]) & (duration[rows] > 0)]
        began = np.cumsum(duration[good]) - duration[good] if onset is None else onset[good]
        order = np.argsort(began, kind="stable")
        good = good[order]
        trials.append(Trial(name, who, space, marks=Marks(x[good], y[good], began[order], duration[good])))
    place = "0..1 of the image" if space == "image" else "px of the image"
    return Session(
        NAME,
        path,
        tuple(trials),
        assumptions=(f"fixations in {place}, origin top left; ms from the start of the trial",),
        warnings=table.warnings,
    )
