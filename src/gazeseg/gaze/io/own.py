"""gazeseg's own fixation table as a tracker file, such as ``gaze/fixations.csv`` of another data set.

One row a fixation: ``case_id``, ``x_px`` and ``y_px`` in px of the image (or ``x`` and ``y`` in 0..1 of it) and
``duration_ms``; ``reader_id`` and ``onset_ms`` may be left out, as in :mod:`gazeseg.gaze.io.table`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.gaze.io.table import onsets, positions
from gazeseg.gaze.io.trial import Marks, ReadOptions, Session, Space, Trial, viewings
from gazeseg.gaze.io.validate import Table

NAME: Final = "gazeseg"


def sniff(head: str, path: Path) -> bool:
    """Tell whether the header names cases and durations as ours does."""
    first = head.partition("\n")[0]
    return "case_id" in first and "duration_ms" in first


def read(path: Path, options: ReadOptions) -> Session:
    """Read the table.

    Raises:
        DataError: if a column is missing, or a cell is no number, no duration or no share of the image.
    """
    table = Table.read(path)
    x, y, normalised = positions(table)
    duration = table.durations("duration_ms")
    names = np.array(table.cells["case_id"], dtype=object)
    readers = np.full(len(names), options.reader_id or "", dtype=object)
    if options.reader_id is None and "reader_id" in table.cells:
        readers = np.array(table.cells["reader_id"], dtype=object)
    onset = onsets(table, list(zip(names, readers, strict=True)), duration)
    space: Space = "image" if normalised else "pixels"
    trials = []
    for (name, who), rows in viewings(names, readers):
        order = rows[np.argsort(onset[rows], kind="stable")]
        trials.append(Trial(name, who, space, marks=Marks(x[order], y[order], onset[order], duration[order])))
    place = "0..1 of the image" if normalised else "px of the image"
    told = f"fixations in {place}, origin top left; ms from the start of the trial"
    return Session(NAME, path, tuple(trials), assumptions=(told,))
