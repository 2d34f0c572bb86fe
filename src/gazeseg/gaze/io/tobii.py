"""Tobii Pro Lab and Tobii Studio tables (TSV): screen px, origin top left; ms or microseconds.

Column names differ between versions in spelling and unit (``Gaze point X``, ``Gaze point X [DACS px]``,
``GazePointX (ADCSpx)``): names are compared without blanks and brackets, and units are read from the brackets. A
timestamp without a unit is taken for microseconds where its usual step is above 200, as no tracker is that slow in ms.
Samples that Tobii marks as invalid are lost; rows of other sensors are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import (
    NO_MARKS,
    Accuracy,
    Marks,
    ReadOptions,
    Samples,
    Session,
    Trial,
    combine_eyes,
    rising,
    unmoved,
    viewings,
)
from gazeseg.types import FloatArray

NAME: Final = "tobii"
_INVALID: Final = frozenset({"Invalid", "4", "3", "2"})  # Studio: 0 and 1 are sure of the eye


def sniff(head: str, path: Path) -> bool:
    """Tell whether the header is one of Tobii's."""
    names = {_plain(name)[0] for name in head.partition("\n")[0].split("\t")}
    return "recordingtimestamp" in names and bool(
        names & {"gazepointx", "gazepointleftx", "fixationpointx", "gazepointxleft"}
    )


def read(path: Path, options: ReadOptions) -> Session:
    """Read an export.

    Raises:
        DataError: if a column is missing, a cell is no number, or the clock runs backwards.
    """
    table = Columns.read(path)
    names: dict[str, str] = {}
    units: dict[str, str] = {}
    for spelled in map(str, table.frame.columns):
        plain, unit = _plain(spelled)
        if plain not in names or "mcs" in units[plain]:  # px of the display before those of the media
            names[plain], units[plain] = spelled, unit
    if "sensor" in names:
        sensor = table.text(names["sensor"])
        table = table.rows((sensor == "Eye Tracker") | (sensor == ""))
    time, clock = _clock(table, names, units)
    x, y, eye, notes = _positions(path, table, names, options)
    image = _labels(table, names, ("presentedstimulusname", "presentedmedianame", "medianame"), options.image or "")
    reader = _labels(table, names, ("participantname", "participant", "recordingname"), path.stem)
    if options.reader_id is not None:
        reader = np.full(len(table), options.reader_id, dtype=object)
    if options.image is not None:
        image = np.full(len(table), options.image, dtype=object)
    trials, warnings = [], list(table.warnings)
    for (name, who), rows in viewings(image, reader):
        samples, more = rising(path, Samples(time[rows], x[rows], y[rows]))
        warnings += more
        marks = _marks(table, names, time, rows)
        trials.append(
            Trial(
                name,
                who,
                "screen",
                samples,
                marks,
                float(time[rows[0]]),
                unmoved(_place(table, names, int(rows[0]))),
                _accuracy(table, names, int(rows[0])),
            )
        )
    return Session(
        NAME,
        path,
        tuple(trials),
        screen_px=_screen(table, names),
        eye=eye,
        assumptions=("gaze in px of the display, origin top left", clock, *notes),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _plain(name: str) -> tuple[str, str]:
    """A column name without blanks, case and unit; and the unit."""
    unit = re.search(r"[\[(]([^\])]*)[\])]\s*$", name)
    plain = re.sub(r"[\s_]+", "", name[: unit.start()] if unit else name).lower()
    return plain, unit[1].lower() if unit else ""


def _clock(table: Columns, names: Mapping[str, str], units: Mapping[str, str]) -> tuple[FloatArray, str]:
    raw = table.numbers(names["recordingtimestamp"])
    unit = units["recordingtimestamp"]
    steps = np.diff(raw)
    typical = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    micro = unit in ("μs", "µs", "us") or (unit != "ms" and typical > 200)
    told = f"Recording timestamp in {'microseconds' if micro else 'ms'}"
    return raw / (1e3 if micro else 1.0), told + ("" if unit else f" (no unit stated; the usual step is {typical:g})")


def _positions(
    path: Path, table: Columns, names: Mapping[str, str], options: ReadOptions
) -> tuple[FloatArray, FloatArray, str, list[str]]:
    """(N,) x and (N,) y of the chosen eye, its name and what was assumed."""
    left, right = (_eye(table, names, side) for side in ("left", "right"))
    if options.eye == "auto" and "gazepointx" in names and "gazepointy" in names:
        x, y = table.numbers(names["gazepointx"]), table.numbers(names["gazepointy"])
        return x, y, "mean", ["Gaze point X and Y, Tobii's mean of both eyes"]
    if left is not None and right is not None:
        eye = "mean" if options.eye == "auto" else options.eye
        return *combine_eyes(left, right, options.eye), eye, [f"eye: {eye}"]
    only = left if left is not None else right
    side = "left" if left is not None else "right"
    if only is not None and options.eye in ("auto", side):
        return *only, side, [f"eye: {side}"]
    if only is None and "fixationpointx" in names and options.eye == "auto":
        nothing = np.full(len(table), np.nan)
        return nothing, nothing, "", ["no samples in the file: Tobii's own fixations"]
    raise DataError(f"{path}: --eye {options.eye}, but the file has no gaze points of it; export them or leave it out")


def _eye(table: Columns, names: Mapping[str, str], side: str) -> tuple[FloatArray, FloatArray] | None:
    columns = [names.get(f"gazepoint{side}{axis}") or names.get(f"gazepoint{axis}{side}") for axis in "xy"]
    if columns[0] is None or columns[1] is None:
        return None
    x, y = table.numbers(columns[0]), table.numbers(columns[1])
    if f"validity{side}" in names:
        lost = np.isin(table.text(names[f"validity{side}"]).astype(str), list(_INVALID))
        x, y = np.where(lost, np.nan, x), np.where(lost, np.nan, y)
    return x, y


def _labels(
    table: Columns, names: Mapping[str, str], columns: tuple[str, ...], otherwise: str
) -> npt.NDArray[np.object_]:
    found = next((names[column] for column in columns if column in names), None)
    return np.full(len(table), otherwise, dtype=object) if found is None else table.text(found)


def _marks(table: Columns, names: Mapping[str, str], time: FloatArray, rows: npt.NDArray[np.intp]) -> Marks:
    """Tobii's fixations: every sample of one carries its place, duration and number."""
    kind = names.get("eyemovementtype") or names.get("gazeeventtype")
    number = names.get("eyemovementtypeindex") or names.get("fixationindex")
    needed = ("fixationpointx", "fixationpointy", "gazeeventduration")
    if kind is None or number is None or any(name not in names for name in needed):
        return NO_MARKS
    part = table.rows(np.isin(np.arange(len(table)), rows))
    fixation = part.text(kind) == "Fixation"
    index, clock = part.text(number), time[np.sort(rows)]
    first: dict[str, int] = {}
    for row in np.flatnonzero(fixation).tolist():
        first.setdefault(index[row], row)
    chosen = np.array(list(first.values()), np.intp)
    x, y, duration = (part.numbers(names[name])[chosen] for name in needed)
    good = np.isfinite(x) & np.isfinite(y) & (duration > 0)
    return Marks(x[good], y[good], clock[chosen][good], duration[good])


def _place(table: Columns, names: Mapping[str, str], row: int) -> tuple[float, float, float, float] | None:
    """Where the image lies on the screen: its left and top, its width and height in px of the display."""
    wanted = [
        names.get(name) or names.get(name.replace("presented", ""))
        for name in (
            "presentedmediapositionx",
            "presentedmediapositiony",
            "presentedmediawidth",
            "presentedmediaheight",
        )
    ]
    if any(name is None for name in wanted):
        return None
    left, top, width, height = (float(table.numbers(name)[row]) for name in wanted if name is not None)
    return (left, top, width, height) if width > 0 and height > 0 else None


def _screen(table: Columns, names: Mapping[str, str]) -> tuple[int, int] | None:
    sizes = [names.get("recordingresolutionwidth"), names.get("recordingresolutionheight")]
    if sizes[0] is None or sizes[1] is None:
        both = re.fullmatch(r"(\d+)\s*x\s*(\d+)", table.one(names.get("recordingresolution")))
        return (int(both[1]), int(both[2])) if both else None
    width, height = (table.numbers(name) for name in sizes if name is not None)
    return (int(np.nanmax(width)), int(np.nanmax(height))) if np.isfinite(width).any() else None


def _accuracy(table: Columns, names: Mapping[str, str], row: int) -> Accuracy | None:
    name = names.get("averagevalidationaccuracy") or names.get("averagecalibrationaccuracy")
    value = float(table.numbers(name)[row]) if name else np.nan
    return Accuracy(value, np.nan, "mean") if np.isfinite(value) else None
