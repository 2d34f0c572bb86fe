"""From what a tracker file holds to fixations on images: name -> case, screen -> viewport -> image px.

Every decision that the files leave open is taken here, once, and told: where the image lay on the screen, how large a
degree is, whose fixations count.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from gazeseg.errors import ConfigError, DataError, near_miss
from gazeseg.gaze.fixations import Detection, Events, detect_fixations
from gazeseg.gaze.geometry import Viewing, Viewport, px_per_degree
from gazeseg.gaze.io.trial import Session, Trial
from gazeseg.gaze.recording import Quality, measure
from gazeseg.types import Fixations, FloatArray, Recording, ScreenGeometry

Source = Literal["auto", "detect", "tracker"]

ASSUMED_PX_PER_DEGREE: Final = 40.0  # 1920 px on 53 cm seen from 63 cm
ASSUMED_IMAGE_DEG: Final = 20.0  # longer side of an image whose display is unknown


@dataclass(frozen=True, slots=True)
class Display:
    """What is known about the display beside what the files say.

    Attributes:
        screen_px: (width, height).
        screen_cm: (width, height).
        distance_cm: from the eye.
        viewport: where the image lay, if the file does not say: ``fit`` (as large as it goes, in the middle),
            ``native`` (one screen px to an image px, in the middle), ``stretch`` (the whole screen) or
            ``box:LEFT,TOP,WIDTH,HEIGHT`` in screen px.
    """

    screen_px: tuple[int, int] | None = None
    screen_cm: tuple[float, float] | None = None
    distance_cm: float | None = None
    viewport: str = "fit"


@dataclass(frozen=True, slots=True)
class Reading:
    """One image as one reader saw it, in px of the image, and how good the recording is."""

    fixations: Fixations
    quality: Quality
    found_by: Literal["detect", "tracker"]


@dataclass(frozen=True, slots=True)
class Readings:
    """The readings of one file, and what to tell about them."""

    readings: tuple[Reading, ...]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    px_per_degree: float | None = field(default=None)


def make_readings(
    session: Session,
    sizes: Mapping[str, tuple[int, int]],
    resolve: Callable[[str], str | None],
    display: Display,
    detection: Detection | None = None,
    source: Source = "auto",
) -> Readings:
    """Turn the trials of a file into fixations on images.

    Args:
        session: what the file holds.
        sizes: (H, W) in px of every case.
        resolve: the case that a name stands for.
        display: what is known about the display.
        detection: thresholds of the detector.
        source: whose fixations: found here in the samples, or those of the tracker; ``auto`` prefers the samples.

    Raises:
        DataError: if no trial is of a case of the data set, the size of the screen is needed and unknown, or the file
            has no samples or no fixations although they are asked for.
        ConfigError: for an unknown viewport.
    """
    display = dataclasses.replace(
        display,
        screen_px=display.screen_px or session.screen_px,
        screen_cm=display.screen_cm or session.screen_cm,
        distance_cm=display.distance_cm or session.distance_cm,
    )
    degree = session.px_per_degree or _px_per_degree(display)
    told: dict[str, None] = {}
    readings, strangers = [], []
    for trial in session.trials:
        case = resolve(trial.image)
        if case is None:
            strangers.append(trial.image)
            continue
        readings.append(_reading(session, trial, case, sizes[case], display, degree, detection, source, told))
    _check_strangers(session, strangers, bool(readings), sizes)
    warnings = list(session.warnings)
    if strangers:
        names = ", ".join(f"'{name}'" for name in list(dict.fromkeys(strangers))[:3])
        warnings.append(
            f"{len(strangers)} of {len(session.trials)} viewings are of no case and were left out ({names})"
        )
    if degree is None:
        warnings.append(
            "the display is not known (--screen, --screen-cm, --distance-cm): nothing is reported in degrees; "
            f"thresholds take a degree for {ASSUMED_PX_PER_DEGREE:g} screen px"
        )
    return Readings(tuple(readings), (*session.assumptions, *told), tuple(warnings), degree)


def _check_strangers(session: Session, strangers: list[str], any_known: bool, sizes: Mapping[str, object]) -> None:
    if any_known:
        return
    if not session.trials:
        raise DataError(f"{session.path}: holds no gaze; export it again")
    name = strangers[0]
    hint = near_miss(name, sizes) or f"; its ids look like {', '.join(repr(case) for case in sorted(sizes)[:3])}"
    what = f"names images such as '{name}'" if name else "names no image"
    raise DataError(
        f"{session.path}: {what}, but none of its {len(session.trials)} viewings is of a case of the data set{hint}; "
        "give the file that belongs to these images, or say which case it is of with --image"
    )


def _px_per_degree(display: Display) -> float | None:
    if display.screen_px is None or display.screen_cm is None or display.distance_cm is None:
        return None
    return px_per_degree(ScreenGeometry(*display.screen_px, *display.screen_cm, display.distance_cm))


def _reading(
    session: Session,
    trial: Trial,
    case: str,
    size: tuple[int, int],
    display: Display,
    degree: float | None,
    detection: Detection | None,
    source: Source,
    told: dict[str, None],
) -> Reading:
    viewing = _viewing(session, trial, size, display, told)
    detected = source == "detect" or (source == "auto" and len(trial.samples) > 1)
    if (source == "tracker" and not len(trial.marks)) or (detected and not len(trial.samples)):
        raise DataError(
            f"{session.path}: '{trial.image}' has no {'samples' if detected else 'fixations of the tracker'}; take "
            f"--fixations {'tracker' if detected else 'detect'}"
        )
    told[f"fixations: {'found in the samples' if detected else 'those of the tracker'}"] = None
    if trial.space == "screen":
        scale = degree if degree is not None else ASSUMED_PX_PER_DEGREE
        x, y = trial.samples.x, trial.samples.y
    else:
        height, width = size
        x, y = _image_px(trial, trial.samples.x, trial.samples.y, size)
        zoom = 1.0 if display.screen_px is None else min(display.screen_px[0] / width, display.screen_px[1] / height)
        scale = degree / zoom if degree is not None else max(size) / ASSUMED_IMAGE_DEG
        if degree is None:
            told[f"the longer side of an image is taken for {ASSUMED_IMAGE_DEG:g} degrees"] = None
    recording = Recording(trial.samples.time_ms, x, y, case, trial.reader_id)
    breaks = tuple(view.onset_ms for view in viewing.viewports[1:]) if viewing is not None else ()
    events = detect_fixations(recording, scale, detection, breaks_ms=breaks) if len(trial.samples) else None
    if detected and events is not None:
        places, onset, duration = (events.x_px, events.y_px), events.onset_ms, events.duration_ms
        _tell_detection(events, told)
    else:
        places, onset, duration = (trial.marks.x, trial.marks.y), trial.marks.onset_ms, trial.marks.duration_ms
        if viewing is None:
            places = _image_px(trial, *places, size)
    if viewing is not None:
        places = viewing.to_image(onset, *places)
    fixations = Fixations(*places, onset - trial.start_ms, duration, size, case, trial.reader_id)
    quality = measure(
        case,
        trial.reader_id,
        recording,
        events,
        fixations=len(fixations),
        fixation_ms=float(np.median(duration)) if len(fixations) else math.nan,
        off_image=1 - float(fixations.on_image.mean()) if len(fixations) else math.nan,
        px_per_degree=None if degree is None else scale,
        validation_deg=math.nan if trial.accuracy is None else trial.accuracy.mean_deg,
        target=trial.target,
    )
    return Reading(fixations, quality, "detect" if detected else "tracker")


def _image_px(trial: Trial, x: FloatArray, y: FloatArray, size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Positions on an image of (H, W) in px, from shares of it where they are not px."""
    return (x, y) if trial.space == "pixels" else (x * size[1] - 0.5, y * size[0] - 0.5)


def _tell_detection(events: Events, told: dict[str, None]) -> None:
    figures = events.figures
    name = {"ivt": "I-VT", "idt": "I-DT"}[str(figures["algorithm"])]
    told[f"{name} with thresholds that follow the noise, at {float(figures['sampling_hz']):.0f} Hz"] = None


def _viewing(
    session: Session, trial: Trial, size: tuple[int, int], display: Display, told: dict[str, None]
) -> Viewing | None:
    """Where the image lay on the screen, or ``None`` where the positions are those on the image."""
    if trial.space != "screen":
        return None
    if not trial.places:
        told[f"where the image lay on the screen: {display.viewport}, on {_wide(display)} (the file does not say)"] = (
            None
        )
        return Viewing((_viewport(session, size, display),))
    told["where the image lay on the screen: as the file says"] = None
    return Viewing(tuple(dataclasses.replace(Viewport.box(size, box), onset_ms=at) for at, box in trial.places))


def _wide(display: Display) -> str:
    return "{} x {} px".format(*display.screen_px) if display.screen_px else "a screen of unknown size"


def _viewport(session: Session, size: tuple[int, int], display: Display) -> Viewport:
    kind = display.viewport
    if kind.startswith("box:"):
        try:
            left, top, width, height = (float(part) for part in kind[4:].split(","))
        except ValueError:
            raise ConfigError(
                f"--viewport '{kind}': give four numbers, box:LEFT,TOP,WIDTH,HEIGHT in screen px"
            ) from None
        return Viewport.box(size, (left, top, width, height))
    if kind not in ("fit", "native", "stretch"):
        raise ConfigError(f"unknown viewport '{kind}'; known: fit, native, stretch, box:LEFT,TOP,WIDTH,HEIGHT")
    if display.screen_px is None:
        raise DataError(
            f"{session.path}: the size of the screen is unknown, so nobody knows where the image lay; give --screen "
            "WIDTHxHEIGHT"
        )
    if kind == "fit":
        return Viewport.fit(size, display.screen_px)
    if kind == "native":
        return Viewport.centred(size, display.screen_px)
    return Viewport.box(size, (0, 0, *display.screen_px))


def join(fixations: Iterable[Fixations], pause_ms: float = 1000.0) -> Fixations:
    """Return several viewings of one image as one: each begins ``pause_ms`` after the end of the one before."""
    viewings = list(fixations)
    parts = [fix for fix in viewings if len(fix)]
    if len(parts) < 2:
        return parts[0] if parts else viewings[0]
    onsets: list[FloatArray] = []
    clock = 0.0
    for fix in parts:
        onsets.append(fix.onset_ms - fix.onset_ms[0] + (clock if onsets else fix.onset_ms[0]))
        clock = float((onsets[-1] + fix.duration_ms).max()) + pause_ms
    readers = "+".join(dict.fromkeys(fix.reader_id for fix in parts))
    x, y, duration = (np.concatenate([getattr(f, name) for f in parts]) for name in ("x_px", "y_px", "duration_ms"))
    return Fixations(x, y, np.concatenate(onsets), duration, parts[0].image_size, parts[0].image_id, readers)
