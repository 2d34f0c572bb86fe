"""What a display showed, on the clock of the display: images, their places (zoom, pan), and the drift of that clock.

A table with one row a change: ``time_ms, image, left_px, top_px, width_px, height_px``, the last four the box of the
image in screen px, an empty image: nothing is shown. A column ``tracker_ms`` holds the time of the tracker in rows
where it is known, such as those of a message sent to it: the clocks are fitted to each other by a straight line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import Marks, Samples, Session, Trial
from gazeseg.types import FloatArray

_WORST_MS: Final = 50.0  # a fixation moves to another view from about there
_MOST_DRIFT: Final = 0.01


@dataclass(frozen=True, slots=True)
class Clock:
    """``tracker_ms = rate * display_ms + offset_ms``; the residual is the largest error at the instants it rests on."""

    rate: float
    offset_ms: float
    residual_ms: float

    def __call__(self, display_ms: FloatArray) -> FloatArray:
        """Return times of the tracker."""
        tracker_ms: FloatArray = self.rate * display_ms + self.offset_ms
        return tracker_ms

    def __str__(self) -> str:
        drift = (self.rate - 1) * 1e6
        worst = f"off by {self.residual_ms:.1f} ms at most"
        return f"clock of the display: {self.offset_ms:+.1f} ms, drift {drift:+.0f} ppm, {worst}"


def fit_clock(display_ms: FloatArray, tracker_ms: FloatArray) -> Clock:
    """Fit one clock to another, least squares; a single instant gives the offset alone.

    Raises:
        DataError: if there is no instant, or the clocks do not fit a straight line.
    """
    if not len(display_ms):
        raise DataError("no instant is known on both clocks; fill tracker_ms in at least one row")
    centre = float(display_ms.mean())
    moved = display_ms - centre
    rate = 1.0
    if len(np.unique(display_ms)) > 1:
        rate = float(moved @ (tracker_ms - tracker_ms.mean()) / (moved @ moved))
    offset = float(tracker_ms.mean()) - rate * centre
    residual = float(np.abs(rate * display_ms + offset - tracker_ms).max())
    if abs(rate - 1) > _MOST_DRIFT or residual > _WORST_MS:
        raise DataError(
            f"the clocks of display and tracker do not fit: rate {rate:.4f}, off by {residual:.0f} ms; check the unit "
            "of tracker_ms and that both tables are of one recording"
        )
    return Clock(rate, offset, residual)


@dataclass(frozen=True, slots=True)
class Shown:
    """One image from ``start_ms`` to before ``stop_ms`` of the tracker, and its boxes on the screen by their onset."""

    image: str
    start_ms: float
    stop_ms: float
    boxes: tuple[tuple[float, tuple[float, float, float, float]], ...]


def read_views(path: Path) -> tuple[list[Shown], str]:
    """Read a table of views; return what was shown when, and what was found out about the clocks.

    Raises:
        DataError: if a column is missing, a time falls, a box is empty, or the clocks do not fit.
    """
    table = Columns.read(path)
    display = table.numbers(table.need("time_ms"))
    images = table.text(table.need("image"))
    sides = np.stack([table.numbers(table.need(name)) for name in ("left_px", "top_px", "width_px", "height_px")]).T
    falling = np.flatnonzero(~(np.diff(display) >= 0))
    if len(falling) or not len(display):
        row = int(falling[0]) + 3 if len(falling) else 2
        raise DataError(f"{path}, row {row}: time_ms must not fall; sort the rows")
    clock = Clock(1.0, 0.0, 0.0)
    told = "the display's clock is taken for the tracker's (no column tracker_ms)"
    if "tracker_ms" in table:
        known = table.numbers("tracker_ms")
        both = np.isfinite(known)
        try:
            clock = fit_clock(display[both], known[both])
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        told = str(clock)
    time = clock(display)
    shown: list[Shown] = []
    edges = [0, *(np.flatnonzero(images[1:] != images[:-1]) + 1).tolist(), len(images)]
    for first, last in pairwise(edges):
        if not images[first]:
            continue
        boxes = sides[first:last]
        bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= 0).any(axis=1))
        if len(bad):
            row = first + int(bad[0]) + 2
            raise DataError(f"{path}, row {row}: the box of '{images[first]}' is empty or incomplete; give all four")
        stop = float(time[last]) if last < len(time) else math.inf
        places = tuple(
            (float(at), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
            for at, box in zip(time[first:last], boxes, strict=True)
        )
        shown.append(Shown(str(images[first]), float(time[first]), stop, places))
    if not shown:
        raise DataError(f"{path}: no row names an image; fill the column image")
    return shown, told


def apply_views(session: Session, path: Path) -> Session:
    """Return a session cut into what a table of views says was shown, whatever its own trials were.

    Raises:
        DataError: if the table is broken, or the recording does not cover any of it.
    """
    shown, told = read_views(path)
    trials = []
    for reader in dict.fromkeys(trial.reader_id for trial in session.trials):
        own = sorted((t for t in session.trials if t.reader_id == reader), key=lambda trial: trial.start_ms)
        if any(trial.space != "screen" for trial in own):
            raise DataError(f"{session.path}: positions are shares of the image; a table of views has nothing to add")
        parts = [np.concatenate([getattr(t.samples, name) for t in own]) for name in ("time_ms", "x", "y")]
        samples = Samples(*parts)
        fields = ("x", "y", "onset_ms", "duration_ms")
        marks = Marks(*(np.concatenate([getattr(t.marks, name) for t in own]) for name in fields))
        for view in shown:
            within = samples.between(view.start_ms, view.stop_ms)
            found = marks.between(view.start_ms, view.stop_ms)
            if len(within) or len(found):
                trials.append(
                    Trial(view.image, reader, "screen", within, found, view.start_ms, view.boxes, own[0].accuracy)
                )
    if not trials:
        raise DataError(
            f"{session.path}: none of its samples lies in the times of {path}; fill tracker_ms in some rows, so that "
            "the clocks can be fitted"
        )
    told = f"images and their places from {path.name}; {told}"
    return replace(session, trials=tuple(trials), assumptions=(*session.assumptions, told))
