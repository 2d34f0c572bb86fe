"""Pupil Labs exports: gaze and fixations on a surface, from Pupil Player (Core) or Pupil Cloud (Invisible, Neon).

======================  ==========================================================  ================  ===========
source                  files                                                       positions         clock
======================  ==========================================================  ================  ===========
Pupil Player            ``gaze_positions_on_surface_NAME.csv``,                     0..1, y **up**    seconds
                        ``fixations_on_surface_NAME.csv``
Pupil Cloud, surface    ``gaze.csv``, ``fixations.csv`` of the Marker Mapper        0..1, y down      nanoseconds
======================  ==========================================================  ================  ===========

The image is the case that the surface is named after, or that of ``--image``. The surface is that image, or the screen
on which it was shown where ``--screen`` gives the size of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import NO_MARKS, NO_SAMPLES, Marks, ReadOptions, Samples, Session, Space, Trial, rising
from gazeseg.types import FloatArray

NAME: Final = "pupil"
_SURE: Final = 0.6  # Pupil Player's own limit of confidence
_FILE: Final = re.compile(r"(?:gaze_positions|fixations)_on_surface_(.+)$")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names of the columns of one kind of file, and their units."""

    x: str
    y: str
    time: str
    duration: str  # empty: samples
    to_ms: float
    duration_to_ms: float
    y_up: bool
    number: str = ""  # of the fixation


_LAYOUTS: Final = (
    _Layout("norm_pos_x", "norm_pos_y", "start_timestamp", "duration", 1e3, 1.0, True, "fixation_id"),
    _Layout("x_norm", "y_norm", "gaze_timestamp", "", 1e3, 1.0, True),
    _Layout(
        "fixation x [normalized]",
        "fixation y [normalized]",
        "start timestamp [ns]",
        "duration [ms]",
        1e-6,
        1.0,
        False,
        "fixation id",
    ),
    _Layout(
        "gaze position on surface x [normalized]",
        "gaze position on surface y [normalized]",
        "timestamp [ns]",
        "",
        1e-6,
        1.0,
        False,
    ),
)


def sniff(head: str, path: Path) -> bool:
    """Tell whether the header is one of Pupil Labs'."""
    names = {name.strip() for name in head.partition("\n")[0].split(",")}
    return any({layout.x, layout.y, layout.time} <= names for layout in _LAYOUTS)


def read(path: Path, options: ReadOptions) -> Session:
    """Read an export of samples or of fixations on one surface.

    Raises:
        DataError: if the surface is neither a case nor the screen, a column is missing, or a cell is no number.
    """
    table = Columns.read(path)
    layout = next((found for found in _LAYOUTS if all(name in table for name in (found.x, found.y, found.time))), None)
    if layout is None:
        raise DataError(f"{path}: no gaze or fixations on a surface; export the surface tracker or the Marker Mapper")
    named = _FILE.match(path.stem)
    surface = named[1] if named else path.parent.name
    image = options.image or options.resolve(surface)
    if image is None:
        raise DataError(
            f"{path}: surface '{surface}' is no case of the data set; say which image it was with --image, or name the "
            "surface after it"
        )
    x, y = table.numbers(layout.x), table.numbers(layout.y)
    if layout.y_up:
        y = 1 - y
    space: Space = "image"
    if options.screen_px is not None:
        space, (width, height) = "screen", options.screen_px
        x, y = x * width - 0.5, y * height - 0.5
    time = table.numbers(layout.time)
    origin = float(np.nanmin(time)) if layout.to_ms < 1 and len(time) else 0.0  # nanoseconds since 1970 exceed a double
    time = (time - origin) * layout.to_ms
    reader = options.reader_id if options.reader_id is not None else path.parent.name
    samples, marks = NO_SAMPLES, NO_MARKS
    notes: list[str] = []
    if layout.duration:
        marks = _marks(table, layout, time, x, y)
    else:
        sure = table.numbers("confidence") >= _SURE if "confidence" in table else np.ones(len(table), np.bool_)
        samples, notes = rising(path, Samples(time, np.where(sure, x, np.nan), np.where(sure, y, np.nan)))
    start = float(samples.time_ms[0]) if len(samples) else float(marks.onset_ms[0]) if len(marks) else 0.0
    return Session(
        NAME,
        path,
        (Trial(image, reader, space, samples, marks, start),),
        screen_px=options.screen_px,
        eye="mean",
        assumptions=(
            f"gaze in 0..1 of the surface '{surface}', origin {'bottom' if layout.y_up else 'top'} left",
            "the surface is the " + ("screen" if space == "screen" else f"image '{image}'"),
            f"samples of a confidence below {_SURE:g} count as lost"
            if not layout.duration
            else "Pupil's own fixations",
            f"reader '{reader}'",
        ),
        warnings=(*table.warnings, *notes),
    )


def _marks(table: Columns, layout: _Layout, time: FloatArray, x: FloatArray, y: FloatArray) -> Marks:
    """One fixation a number: the Player repeats each for every frame of the scene camera, placed anew."""
    duration = table.numbers(layout.duration) * layout.duration_to_ms
    number = table.numbers(layout.number)
    good = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (duration > 0))
    groups = [good[number[good] == one] for one in dict.fromkeys(number[good].tolist())]
    groups.sort(key=lambda rows: float(time[rows[0]]))
    if not groups:
        return NO_MARKS
    first = np.array([rows[0] for rows in groups])
    return Marks(
        np.array([np.median(x[rows]) for rows in groups]),
        np.array([np.median(y[rows]) for rows in groups]),
        time[first],
        duration[first],
    )
