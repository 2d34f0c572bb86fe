"""The fixation table of GazeMedSeg (MICCAI 2024) as a tracker file: 0..1 of the image, ms; see ``gazemedseg_csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import Marks, ReadOptions, Session, Trial, viewings

NAME: Final = "gazemedseg"


def sniff(head: str, path: Path) -> bool:
    """Tell whether the header is that of the published table."""
    first = head.partition("\n")[0]
    return all(name in first for name in ("CURRENT_FIX_X", "IMAGE_HEIGHT", "IMAGE_WIDTH"))


def read(path: Path, options: ReadOptions) -> Session:
    """Read the table.

    Raises:
        DataError: if a column is missing or a cell is no number.
    """
    table = Columns.read(path)
    x, y = table.numbers(table.need("CURRENT_FIX_X")), table.numbers(table.need("CURRENT_FIX_Y"))
    start = table.numbers(table.need("CURRENT_FIX_START"))
    duration = table.numbers(table.need("CURRENT_FIX_DURATION"))
    index = table.numbers(table.need("CURRENT_FIX_INDEX"))
    reader = options.reader_id or ""
    trials = []
    for (name,), rows in viewings(table.text(table.need("IMAGE"))):
        order = rows[np.argsort(index[rows], kind="stable")]
        order = order[np.isfinite(x[order]) & np.isfinite(y[order]) & (duration[order] > 0)]
        trials.append(Trial(name, reader, "image", marks=Marks(x[order], y[order], start[order], duration[order])))
    return Session(
        NAME,
        path,
        tuple(trials),
        assumptions=("fixations in 0..1 of the image, origin top left; ms from the start of the trial",),
        warnings=table.warnings,
    )
