"""What a reader of tracker files returns: one :class:`Trial` for each image that was looked at, and what was assumed.

Positions stay in the space of the file until the place of the image on the screen is known:

==========  ===========================================================================================
``screen``  px of the display, pixel centres at integers, origin top left
``image``   0..1 of the image, origin top left: nothing has to be known about the screen
``pixels``  px of the image, pixel centres at integers: likewise
==========  ===========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.types import FloatArray

Eye = Literal["auto", "left", "right", "mean"]
Space = Literal["screen", "image", "pixels"]
Box = tuple[float, float, float, float]  # left, top, width, height in screen px
Places = tuple[tuple[float, Box], ...]  # a box from each time on, ms of the tracker


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw samples in the clock of the tracker; every array is (N,), NaN marks a lost sample; ``time_ms`` rises."""

    time_ms: FloatArray
    x: FloatArray
    y: FloatArray
    pupil: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.time_ms)

    def between(self, start_ms: float, stop_ms: float) -> Samples:
        """Return the samples of [start, stop)."""
        part = slice(*np.searchsorted(self.time_ms, (start_ms, stop_ms)).tolist())
        pupil = None if self.pupil is None else self.pupil[part]
        return Samples(self.time_ms[part], self.x[part], self.y[part], pupil)


@dataclass(frozen=True, slots=True)
class Marks:
    """Fixations as the tracker's own software found them, in temporal order; every array is (K,)."""

    x: FloatArray
    y: FloatArray
    onset_ms: FloatArray
    duration_ms: FloatArray

    def __len__(self) -> int:
        return len(self.x)

    def between(self, start_ms: float, stop_ms: float) -> Marks:
        """Return those that begin in [start, stop)."""
        part = slice(*np.searchsorted(self.onset_ms, (start_ms, stop_ms)).tolist())
        return Marks(self.x[part], self.y[part], self.onset_ms[part], self.duration_ms[part])


NO_SAMPLES = Samples(np.empty(0), np.empty(0), np.empty(0))
NO_MARKS = Marks(np.empty(0), np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a validation of the tracker measured, in degrees."""

    mean_deg: float
    max_deg: float
    eye: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One image as one reader saw it.

    Attributes:
        image: the image as the file names it; empty where it names none.
        reader_id: who looked.
        space: of the positions.
        samples: from the start of the image to its end, or none.
        marks: the tracker's own fixations, or none.
        start_ms: when the image appeared, on the clock of the tracker.
        places: where on the screen the file says that the image was, each from a time on; empty: it does not say.
        accuracy: the last validation before the trial.
        target: (N,) x and (N,) y of a target that the reader was told to look at, in the same space.
    """

    image: str
    reader_id: str
    space: Space
    samples: Samples = NO_SAMPLES
    marks: Marks = NO_MARKS
    start_ms: float = 0.0
    places: Places = ()
    accuracy: Accuracy | None = None
    target: tuple[FloatArray, FloatArray] | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """The content of one tracker file.

    Attributes:
        format: its name, as ``--format`` takes it.
        path: the file.
        trials: in temporal order.
        screen_px: (width, height) of the display where the file knows it.
        screen_cm: the same in centimetres.
        distance_cm: from the eye to the display.
        px_per_degree: where the file states it.
        eye: which eye, or ``mean``; empty where the file does not say.
        assumptions: what was decided for the user, one sentence each; printed and stored.
        warnings: what is wrong with the file, one sentence each.
    """

    format: str
    path: Path
    trials: tuple[Trial, ...]
    screen_px: tuple[int, int] | None = None
    screen_cm: tuple[float, float] | None = None
    distance_cm: float | None = None
    px_per_degree: float | None = None
    eye: str = ""
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user says about the files.

    Attributes:
        resolve: the case that a name stands for, or ``None``: readers find names of images among messages with it.
        eye: which eye to take of a binocular recording; ``auto`` is the mean of both where both are there.
        reader_id: who looked, where the file does not say or says it wrongly.
        image: the case that was looked at, for files that name none.
        start: regular expression of the message that shows an image; its group ``image`` names it.
        end: regular expression of the message that takes it away.
        screen_px: (width, height) of the display.
        mapping: YAML file of columns, see :mod:`gazeseg.gaze.io.mapped`.
    """

    resolve: Callable[[str], str | None] = field(default=lambda name: None)
    eye: Eye = "auto"
    reader_id: str | None = None
    image: str | None = None
    start: str | None = None
    end: str | None = None
    screen_px: tuple[int, int] | None = None
    mapping: Path | None = None


def rising(path: Path, samples: Samples) -> tuple[Samples, list[str]]:
    """Return samples whose clock rises, and a warning where it did not.

    Single steps back (a sample delivered late) are sorted; equal times keep the first sample.

    Raises:
        DataError: if the clock runs backwards by more than a second: two recordings in one file.
    """
    steps = np.diff(samples.time_ms)
    back = np.flatnonzero(steps <= 0)
    if not len(back):
        return samples, []
    worst = float(steps.min())
    if worst < -1000:
        at = int(np.argmin(steps)) + 1
        raise DataError(
            f"{path}: the clock runs backwards by {-worst / 1e3:.1f} s at sample {at + 1} "
            f"({samples.time_ms[at]:.0f} ms); split the file into one recording each"
        )
    order = np.argsort(samples.time_ms, kind="stable")
    order = order[np.concatenate([[True], np.diff(samples.time_ms[order]) > 0])]
    pupil = None if samples.pupil is None else samples.pupil[order]
    mended = Samples(samples.time_ms[order], samples.x[order], samples.y[order], pupil)
    twins = len(steps) + 1 - len(order)
    return mended, [f"{len(back)} timestamps did not rise (at most {-worst:g} ms back): sorted, {twins} twins dropped"]


def unmoved(box: Box | None) -> Places:
    """Return the places of an image that lies in one box all the time, or in none that is known."""
    return () if box is None else ((-math.inf, box),)


def combine_eyes(
    left: tuple[FloatArray, FloatArray], right: tuple[FloatArray, FloatArray], eye: Eye
) -> tuple[FloatArray, FloatArray]:
    """Return x and y of the chosen eye; the mean takes the one eye that is there where the other is lost."""
    if eye in ("left", "right"):
        return left if eye == "left" else right
    both = []
    lost = [np.isnan(x) | np.isnan(y) for x, y in (left, right)]
    for a, b in zip(left, right, strict=True):
        both.append(np.where(lost[0], np.where(lost[1], np.nan, b), np.where(lost[1], a, (a + b) / 2)))
    return both[0], both[1]


def viewings(*labels: npt.NDArray[np.object_]) -> list[tuple[tuple[str, ...], npt.NDArray[np.intp]]]:
    """Group rows by their labels, in the order of the first row; rows whose first label is empty are left out."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*labels, strict=True)):
        if key[0]:
            groups.setdefault(key, []).append(row)
    return [(key, np.array(rows, np.intp)) for key, rows in groups.items()]
