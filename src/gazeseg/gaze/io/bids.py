"""BIDS 1.11 eye tracking, read: ``*_physio.tsv.gz`` with its JSON, ``*_physioevents.tsv.gz`` and ``*_events``.

``physio`` holds the samples of one eye (``recording-eye1``, ``eye2``) without a header, its columns named in the JSON:
``timestamp``, ``x_coordinate``, ``y_coordinate``. The image is ``stim_file`` (or ``image``, as
:mod:`gazeseg.gaze.io.bids_write` has it, where the pixels stay elsewhere) of ``*_events.tsv``, whose onsets count in
seconds from the first sample; its JSON describes the screen (``StimulusPresentation``). ``physioevents`` holds the
fixations and messages of the tracker on the clock of ``timestamp``.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import pandas as pd

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import NO_MARKS, Marks, Places, ReadOptions, Samples, Session, Trial, combine_eyes, rising
from gazeseg.types import FloatArray

NAME: Final = "bids"
_MS: Final = {"s": 1e3, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ns": 1e-6}
_NAME: Final = re.compile(
    r"(?P<stem>.+?)_recording-(?P<recording>[^_]+)_physio\.tsv\.gz$|(?P<plain>.+)_physio\.tsv\.gz$"
)


def sniff(head: str, path: Path) -> bool:
    """Tell by the name of the file."""
    return _NAME.match(path.name) is not None


def read(path: Path, options: ReadOptions) -> Session:
    """Read the samples of one eye, or of both where the file of the other lies beside it.

    Raises:
        DataError: if a file is missing, cut short or of another physiological type, or the image is not named.
    """
    name = _NAME.match(path.name)
    if name is None:
        raise DataError(f"{path}: a BIDS recording of gaze is called sub-..._physio.tsv.gz; give that file")
    stem = name["stem"] or name["plain"]
    meta, samples = _physio(path)
    eye = str(meta.get("RecordedEye", ""))
    other = path.with_name(path.name.replace("recording-eye1", "recording-eye2"))
    if name["recording"] == "eye1" and other != path and other.exists() and options.eye != eye:
        other_meta, second = _physio(other)
        if options.eye == str(other_meta.get("RecordedEye")):
            samples, eye = second, options.eye
        elif len(second) == len(samples):
            x, y = combine_eyes((samples.x, samples.y), (second.x, second.y), "mean")
            samples, eye = Samples(samples.time_ms, x, y, samples.pupil), "mean"
    samples, late = rising(path, samples)
    marks = _events(path, stem, name["recording"], meta)
    screen = _read_json(path.with_name(f"{stem}_events.json")).get("StimulusPresentation", {})
    size = screen.get("ScreenResolution")
    cm = screen.get("ScreenSize")
    distance = screen.get("ScreenDistance")
    subject = re.search(r"sub-([a-zA-Z0-9]+)", path.name)
    reader = options.reader_id or (subject[1] if subject else path.stem)
    trials = []
    for image, start, stop, places in _shown(path, stem, samples, options):
        trials.append(
            Trial(image, reader, "screen", samples.between(start, stop), marks.between(start, stop), start, places)
        )
    return Session(
        NAME,
        path,
        tuple(trials),
        screen_px=(int(size[0]), int(size[1])) if isinstance(size, list) else options.screen_px,
        screen_cm=(100 * cm[0], 100 * cm[1]) if isinstance(cm, list) else None,
        distance_cm=100 * distance if isinstance(distance, int | float) else None,
        eye=eye,
        assumptions=(
            f"gaze in {meta.get('x_coordinate', {}).get('Units', 'pixel')}, origin top left; clock in "
            f"{meta.get('timestamp', {}).get('Units', 'unknown')}",
            f"eye: {eye or 'unknown'}; reader '{reader}'",
        ),
        warnings=tuple(late),
    )


def _physio(path: Path) -> tuple[dict[str, Any], Samples]:
    meta = _read_json(path.with_name(path.name.removesuffix(".tsv.gz") + ".json"))
    if meta.get("PhysioType") != "eyetrack":
        raise DataError(
            f"{path}: its JSON says PhysioType {meta.get('PhysioType')!r}, not 'eyetrack'; give a recording of gaze"
        )
    table = _table(path, list(meta.get("Columns", [])))
    for column in ("timestamp", "x_coordinate", "y_coordinate"):
        if column not in table:
            raise DataError(f"{path}: no column '{column}' among Columns of its JSON; correct it")
    time = _clock(table["timestamp"].to_numpy(np.float64), meta)
    pupil = table["pupil_size"].to_numpy(np.float64) if "pupil_size" in table else None
    return meta, Samples(
        time, table["x_coordinate"].to_numpy(np.float64), table["y_coordinate"].to_numpy(np.float64), pupil
    )


def _clock(values: FloatArray, meta: dict[str, Any]) -> FloatArray:
    """Milliseconds of timestamps, by the unit that the JSON states, or else by the sampling frequency."""
    unit = str(meta.get("timestamp", {}).get("Units", ""))
    if unit not in _MS:
        step = float(np.median(np.diff(values))) if len(values) > 1 else 1.0
        return values * (1e3 / float(meta.get("SamplingFrequency", 1000)) / step)
    return values * _MS[unit]


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            return pd.read_csv(stream, sep="\t", header=None, names=columns, na_values=["n/a"], index_col=False)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path}: cut short; copy the file again") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DataError(f"{path}: no table of {len(columns)} columns ({' '.join(str(error).split())})") from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}); correct it") from None
    return content if isinstance(content, dict) else {}


def _events(path: Path, stem: str, recording: str | None, meta: dict[str, Any]) -> Marks:
    """The fixations of ``physioevents`` that carry a place."""
    middle = f"_recording-{recording}" if recording else ""
    file = path.with_name(f"{stem}{middle}_physioevents.tsv.gz")
    if not file.exists():
        return NO_MARKS
    sidecar = _read_json(file.with_name(file.name.removesuffix(".tsv.gz") + ".json"))
    table = _table(file, list(sidecar.get("Columns", [])))
    if not {"onset", "duration", "trial_type", "x_coordinate", "y_coordinate"} <= set(table):
        return NO_MARKS
    chosen = table[(table["trial_type"] == "fixation") & table["x_coordinate"].notna() & (table["duration"] > 0)]
    onset = _clock(chosen["onset"].to_numpy(np.float64), meta) if "timestamp" in meta else chosen["onset"].to_numpy()
    x, y, duration = (chosen[name].to_numpy(np.float64) for name in ("x_coordinate", "y_coordinate", "duration"))
    return Marks(x, y, onset, duration * 1e3)


def _shown(path: Path, stem: str, samples: Samples, options: ReadOptions) -> list[tuple[str, float, float, Places]]:
    """Image, start and end in ms of the tracker, and places on the screen of every image that ``*_events.tsv`` names.

    Rows of one image without a pause between them are one viewing, zoomed or panned on the way.
    """
    first = float(samples.time_ms[0]) if len(samples) else 0.0
    last = float(samples.time_ms[-1]) + 1 if len(samples) else first
    if options.image is not None:
        return [(options.image, first, last, ())]
    file = path.with_name(f"{stem}_events.tsv")
    if not file.exists():
        raise DataError(f"{path}: no {file.name} beside it names the image; say which case it was with --image")
    table = Columns.read(file)
    onset, duration = table.numbers(table.need("onset")), table.numbers(table.need("duration"))
    sides = ("left_px", "top_px", "width_px", "height_px")
    box = np.stack([table.numbers(side) for side in sides]).T if all(side in table for side in sides) else None
    found: list[tuple[str, float, float, Places]] = []
    for row, image in enumerate(table.text(table.need("stim_file", "image"))):
        if image in ("", "n/a"):
            continue
        start = first + 1e3 * float(onset[row])
        places: Places = ()
        if box is not None and np.isfinite(box[row]).all():
            left, top, width, height = box[row].tolist()
            places = ((start, (left, top, width, height)),)
        stop = start + 1e3 * float(duration[row]) if np.isfinite(duration[row]) else last
        name = PurePosixPath(str(image)).name
        if found and found[-1][0] == name and abs(found[-1][2] - start) < 0.01 and places:
            found[-1] = (name, found[-1][1], stop, (*found[-1][3], *places))
        else:
            found.append((name, start, stop, places))
    return found
