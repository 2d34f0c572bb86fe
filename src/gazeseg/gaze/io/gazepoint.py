"""Gazepoint Analysis exports (``*_all_gaze.csv``, ``*_fixations.csv``): 0..1 of the screen, origin top left; seconds.

In ``all_gaze`` a row is a sample, with the best point of regard (``BPOGX``, ``BPOGY``, valid where ``BPOGV`` is 1); in
``fixations`` it is a fixation (``FPOGX``, ``FPOGY``, begun at ``FPOGS``, of ``FPOGD`` seconds). ``MEDIA_NAME`` is the
image.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import (
    NO_SAMPLES,
    Marks,
    ReadOptions,
    Samples,
    Session,
    Trial,
    rising,
    viewings,
)
from gazeseg.types import FloatArray

NAME: Final = "gazepoint"


def sniff(head: str, path: Path) -> bool:
    """Tell whether the header is one of Gazepoint's."""
    first = head.partition("\n")[0]
    return "FPOGX" in first and "FPOGY" in first


def read(path: Path, options: ReadOptions) -> Session:
    """Read an export of samples or of fixations.

    Raises:
        DataError: if the size of the screen is not given, a column is missing, or a cell is no number.
    """
    if options.screen_px is None:
        raise DataError(f"{path}: Gazepoint gives shares of the screen; say how large it is with --screen WIDTHxHEIGHT")
    table = Columns.read(path)
    width, height = options.screen_px
    time_name = next((str(name) for name in table.frame.columns if re.match(r"TIME(\(|$)", str(name))), None)
    all_gaze = time_name is not None and "BPOGX" in table and not path.stem.lower().endswith("fixations")
    image = np.full(len(table), options.image, dtype=object) if options.image else table.text(table.need("MEDIA_NAME"))
    user = table.first("USER", "USER_NAME")
    reader = re.sub(r"[_ -]*(all[_ ]?gaze|fixations)$", "", path.stem, flags=re.IGNORECASE)
    start = 1e3 * table.numbers(table.need("FPOGS"))
    marks = (
        table.numbers("FPOGX") * width - 0.5,
        table.numbers("FPOGY") * height - 0.5,
        start,
        1e3 * table.numbers(table.need("FPOGD")),
    )
    valid = table.numbers("FPOGV") > 0 if "FPOGV" in table else np.isfinite(start)
    number = table.numbers(table.need("FPOGID")) if all_gaze else np.arange(len(table))
    sampled = _samples(table, time_name, options, width, height) if all_gaze and time_name else None
    trials, warnings = [], list(table.warnings)
    for (name,), rows in viewings(image):
        samples = NO_SAMPLES
        if sampled is not None:
            samples, notes = rising(path, Samples(*(values[rows] for values in sampled)))
            warnings += notes
        kept = rows[valid[rows] & np.isfinite(start[rows]) & (marks[3][rows] > 0)]
        # while a fixation lasts its duration grows: the last row of each is the whole
        last = kept[np.append(np.diff(number[kept]) != 0, True)] if len(kept) else kept
        last = last[np.argsort(start[last], kind="stable")]
        onset = float(samples.time_ms[0]) if len(samples) else float(start[last[0]]) if len(last) else 0.0
        who = options.reader_id if options.reader_id is not None else reader
        trials.append(Trial(name, who, "screen", samples, Marks(*(part[last] for part in marks)), onset))
    return Session(
        NAME,
        path,
        tuple(trials),
        screen_px=options.screen_px,
        eye="mean" if options.eye == "auto" else options.eye,
        assumptions=(
            f"gaze in 0..1 of a screen of {width} x {height} px, origin top left; seconds",
            "samples: best point of regard of both eyes" if all_gaze else "Gazepoint's own fixations, no samples",
            f"reader '{options.reader_id or reader}'" + (", the name of the file" if not user else ""),
        ),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _samples(
    table: Columns, time_name: str, options: ReadOptions, width: int, height: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(N,) time in ms, x and y in screen px."""
    eyes = {}
    for side, letter in (("mean", "B"), ("left", "L"), ("right", "R")):
        if f"{letter}POGX" in table:
            x, y = table.numbers(f"{letter}POGX"), table.numbers(table.need(f"{letter}POGY"))
            if f"{letter}POGV" in table:
                valid = table.numbers(f"{letter}POGV") > 0
                x, y = np.where(valid, x, np.nan), np.where(valid, y, np.nan)
            eyes[side] = (x * width - 0.5, y * height - 0.5)
    wanted = "mean" if options.eye == "auto" else options.eye
    if wanted not in eyes:
        raise DataError(
            f"{table.path}: --eye {wanted}, but the export has no points of it; export {wanted[0].upper()}POGX"
        )
    return 1e3 * table.numbers(time_name), *eyes[wanted]
