"""EyeLink ``.asc`` files (SR Research, made from EDF by ``edf2asc``): samples, events and messages, streamed.

A line that begins with a digit is a sample, ``time x y pupil`` of one eye or of both, ``.`` where it is lost; others
are messages (``MSG time text``), events (``EFIX``, ``EBLINK``) and the frames of a recording (``START``, ``END``,
``SAMPLES``). Gaze positions are screen px with the origin at the top left, times ms of the tracker.

Which image was shown when is found in the messages: by ``--start`` and ``--end``, or else by what mentions a case of
the data set between ``TRIALID`` (or ``START``) and ``TRIAL_RESULT`` (or ``END``).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from gazeseg.errors import DataError
from gazeseg.gaze.io.messages import Message, find_trials
from gazeseg.gaze.io.trial import (
    NO_MARKS,
    NO_SAMPLES,
    Accuracy,
    Marks,
    ReadOptions,
    Samples,
    Session,
    Trial,
    combine_eyes,
    rising,
    unmoved,
)
from gazeseg.types import FloatArray

NAME: Final = "eyelink"
_CHUNK: Final = 1 << 24  # bytes; some minutes of one eye at 1000 Hz
_VALIDATION: Final = re.compile(r"!CAL VALIDATION .*?\b(LEFT|RIGHT)\b.*?ERROR\s+(-?[\d.]+)\s+avg\.\s+(-?[\d.]+)\s+max")


def sniff(head: str, path: Path) -> bool:
    """Tell whether this is the beginning of an ``.asc`` file."""
    return head.startswith("** CONVERTED FROM") or (
        re.search(r"^(START\t| *\*\* |MSG\t|SAMPLES\t)", head, re.MULTILINE) is not None
        and re.search(r"^(START|MSG|EFIX|SAMPLES|SFIX)\b", head, re.MULTILINE) is not None
    )


@dataclass
class _Found:
    """What has been read of a file so far."""

    parts: list[FloatArray] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    fixations: dict[str, list[tuple[float, ...]]] = field(default_factory=lambda: {"L": [], "R": []})
    validations: list[tuple[float, Accuracy]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    eyes: frozenset[str] = frozenset()
    screen_px: tuple[int, int] | None = None
    warnings: list[str] = field(default_factory=list)


def read(path: Path, options: ReadOptions) -> Session:
    """Read a file.

    Raises:
        DataError: if it holds no gaze positions in screen px, the clock runs backwards, or no message names an image.
    """
    found = _Found()
    try:
        with path.open("rb") as stream:
            for block, whole in _blocks(stream):
                samples, others = _split(block)
                for line in others:
                    _note(path, line, found)
                if samples and not whole:
                    found.warnings.append("the last line is cut short: the file is truncated")
                    continue
                if samples:
                    found.parts.append(_parse(samples, 7 if len(found.eyes) == 2 else 4))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give an .asc file") from None
    if len(found.starts) > len(found.ends):
        found.warnings.append("the last recording has no END: the file may be truncated")
    eye = _choose(path, found, options)
    samples_, notes = rising(path, _samples(found, eye))
    marks, marked = _marks(found, eye)
    spans, told = find_trials(path, found.messages, found.starts, found.ends, options)
    reader = path.stem if options.reader_id is None else options.reader_id
    trials = tuple(
        Trial(
            span.image,
            reader,
            "screen",
            samples_.between(span.start_ms, span.stop_ms),
            marks.between(span.start_ms, span.stop_ms),
            span.start_ms,
            unmoved(span.box_px),
            _latest(found.validations, span.start_ms, eye),
        )
        for span in spans
    )
    return Session(
        NAME,
        path,
        trials,
        screen_px=found.screen_px,
        eye=eye,
        assumptions=("gaze in screen px, origin top left; ms of the tracker's clock", *marked, *told),
        warnings=(*found.warnings, *notes),
    )


def _blocks(stream: io.BufferedReader) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of whole lines, and whether they end in one; carriage returns end a line too."""
    rest = b""
    while piece := stream.read(_CHUNK):
        piece = rest + piece
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = piece.rfind(b"\n") + 1
        rest = piece[cut:]
        if cut:
            yield piece[:cut], True
    if rest.strip():
        yield rest, False


def _split(block: bytes) -> tuple[bytes, list[str]]:
    """Part a block into the text of its samples and its other lines."""
    raw = np.frombuffer(block, np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(raw == 10) + 1])
    starts = starts[starts < len(raw)]
    is_sample = (raw[starts] >= 48) & (raw[starts] <= 57)  # a digit
    turns = starts[np.flatnonzero(np.diff(is_sample)) + 1]
    samples, others = [], []
    sample = bool(is_sample[0])
    for first, last in pairwise([0, *turns.tolist(), len(block)]):
        if sample:
            samples.append(block[first:last])
        else:
            others += block[first:last].decode("utf-8", errors="replace").rstrip("\n").split("\n")
        sample = not sample
    return b"".join(samples), others


def _parse(text: bytes, width: int) -> FloatArray:
    """(N, 4) or (N, 7): time, then x, y and pupil of one eye or of both."""
    if b"," in text.partition(b"\n")[0]:
        text = text.replace(b",", b".")
    frame = pd.read_csv(
        io.BytesIO(text),
        sep="\t",
        header=None,
        names=list(range(width)),
        usecols=list(range(width)),
        index_col=False,
        na_values=["."],
        skipinitialspace=True,
        low_memory=False,
    )
    for column in frame.select_dtypes(exclude="number").columns:
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    values: FloatArray = frame.to_numpy(np.float64)
    return values[~np.isnan(values[:, 0])]


def _note(path: Path, line: str, found: _Found) -> None:
    """Take in a line that is no sample."""
    words = line.split()
    if not words:
        return
    kind = words[0]
    if kind == "MSG" and len(words) > 2:
        _note_message(line, words, found)
    elif kind == "EFIX" and len(words) >= 7:
        numbers = [_number(word) for word in words[2:7]]
        if all(map(math.isfinite, numbers)):
            found.fixations.setdefault(words[1], []).append(tuple(numbers))
    elif kind == "START":
        found.starts.append(_number(words[1]))
        eyes = frozenset(words) & {"LEFT", "RIGHT"}
        if found.parts and found.eyes and eyes != found.eyes:
            raise DataError(
                f"{path}: recordings of {' and '.join(sorted(found.eyes))} and then of {' and '.join(sorted(eyes))} in "
                "one file; split it with edf2asc"
            )
        found.eyes = eyes or found.eyes
    elif kind == "END":
        found.ends.append(_number(words[1]))
    elif kind == "SAMPLES":
        if "GAZE" not in words:
            raise DataError(
                f"{path}: samples are {words[1] if len(words) > 1 else 'unknown'}, not gaze on the screen; convert the "
                "EDF again with edf2asc -sg"
            )
        if not found.eyes:
            found.eyes = frozenset(words) & {"LEFT", "RIGHT"}


def _note_message(line: str, words: list[str], found: _Found) -> None:
    time_ms = _number(words[1])
    if not math.isfinite(time_ms):
        return
    text = line.split(None, 2)[2].strip()
    delay = re.match(r"(-?\d+)\s+(?=\S)", text)
    if delay:  # Data Viewer's rule: the event was so many ms before the message
        time_ms, text = time_ms - float(delay[1]), text[delay.end() :]
    found.messages.append(Message(time_ms, text))
    if words[2] in ("DISPLAY_COORDS", "GAZE_COORDS") and len(words) >= 7:
        left, top, right, bottom = (_number(word) for word in words[3:7])
        if all(map(math.isfinite, (left, top, right, bottom))):
            found.screen_px = (round(right - left) + 1, round(bottom - top) + 1)
    validation = _VALIDATION.search(line)
    if validation:
        found.validations.append((time_ms, Accuracy(float(validation[2]), float(validation[3]), validation[1].lower())))


def _number(word: str) -> float:
    try:
        return float(word.replace(",", "."))
    except ValueError:
        return math.nan


def _choose(path: Path, found: _Found, options: ReadOptions) -> str:
    eyes = {name.lower() for name in found.eyes}
    if options.eye == "auto":
        return "mean" if len(eyes) == 2 else next(iter(eyes), "unknown")
    if options.eye not in eyes and not (options.eye == "mean" and len(eyes) == 2):
        raise DataError(
            f"{path}: --eye {options.eye}, but the recording is of {' and '.join(sorted(eyes)) or 'no eye'}"
        )
    return options.eye


def _samples(found: _Found, eye: str) -> Samples:
    if not found.parts:
        return NO_SAMPLES
    table = np.concatenate(found.parts).T
    found.parts.clear()  # hours at 1000 Hz are hundreds of megabytes
    if len(table) == 4:
        return Samples(table[0], table[1], table[2], table[3])
    if eye in ("left", "right"):
        x, y, pupil = table[1:4] if eye == "left" else table[4:7]
        return Samples(table[0], x, y, pupil)
    x, y = combine_eyes((table[1], table[2]), (table[4], table[5]), "mean")
    return Samples(table[0], x, y, (table[3] + table[6]) / 2)


def _marks(found: _Found, eye: str) -> tuple[Marks, list[str]]:
    """The tracker's fixations, ``EFIX eye start end duration x y``: of one eye, since two would count twice."""
    letter = {"left": "L", "right": "R"}.get(eye) or max(found.fixations, key=lambda name: len(found.fixations[name]))
    rows = found.fixations[letter]
    if not rows:
        return NO_MARKS, []
    start, _, duration, x, y = np.array(sorted(rows)).T
    both = all(found.fixations[name] for name in ("L", "R"))
    side = "left" if letter == "L" else "right"
    return Marks(x, y, start, duration), [f"the tracker's own fixations are those of the {side} eye"] if both else []


def _latest(validations: list[tuple[float, Accuracy]], time_ms: float, eye: str) -> Accuracy | None:
    """The last validation before a time, of the eye in use where it has one."""
    before = [found for at, found in validations if at <= time_ms]
    fitting = [found for found in before if found.eye == eye] or before
    return fitting[-1] if fitting else None
