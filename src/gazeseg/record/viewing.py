"""One image in front of one reader: its samples as they come, where the image lay, and the fixations in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.fixations import Detection, detect_fixations
from gazeseg.gaze.geometry import Viewing, Viewport
from gazeseg.record.calibration import Correction
from gazeseg.record.store import SampleFile
from gazeseg.types import Fixations, FloatArray, Recording

Stage = Literal["locate", "scan"]

MAX_SAMPLES: Final = 4_000_000  # over half an hour at 2000 Hz: one image never takes so long


@dataclass(frozen=True, slots=True)
class Window:
    """Where the page lies on the display: ``page = (screen + 0.5) / scale - 0.5 - left``, in CSS px."""

    left_px: float = 0.0  # CSS px of the display left of the page
    top_px: float = 0.0
    scale: float = 1.0  # px of the display to one CSS px
    screen_width_px: int = 1920  # of the whole display, CSS px
    screen_height_px: int = 1080

    def to_page(self, x: FloatArray, y: FloatArray, units: str) -> tuple[FloatArray, FloatArray]:
        """CSS px of the page from px of the display, or from 0..1 of it."""
        if units == "normalised":
            return (
                x * self.screen_width_px - 0.5 - self.left_px,
                y * self.screen_height_px - 0.5 - self.top_px,
            )
        return (x + 0.5) / self.scale - 0.5 - self.left_px, (y + 0.5) / self.scale - 0.5 - self.top_px


class Look:
    """The samples of one viewing; positions are px of the page, or raw ones of a device, as they came."""

    def __init__(self, case_id: str, file: SampleFile, started_ms: float) -> None:
        """Start a viewing at ``started_ms`` of the page's clock."""
        self.case_id = case_id
        self.file = file
        self.started_ms = started_ms
        self.stage: Stage = "locate"
        self.scan_ms: float | None = None  # when the second stage began
        self.ended_ms: float | None = None
        self.viewports: list[Viewport] = []
        self._blocks: list[FloatArray] = []
        self._count = 0
        self._last_ms = -np.inf

    @property
    def count(self) -> int:
        """Samples so far."""
        return self._count

    def view(self, viewport: Viewport) -> None:
        """The image moved; a message that comes twice, or late, changes nothing."""
        if not self.viewports or viewport.onset_ms > self.viewports[-1].onset_ms:
            self.viewports.append(viewport)

    def add(self, samples: FloatArray) -> int:
        """Store samples (N, 4) of time_ms, x, y, pupil; those from before the image are left out.

        Returns:
            How many were stored.

        Raises:
            DataError: if time does not rise, or the viewing has grown beyond all reason.
            StorageError: if the disk takes no more.
        """
        time_ms = samples[:, 0]
        if not np.isfinite(time_ms).all():
            raise DataError("samples without a time; send a finite time in ms with every sample")
        if len(time_ms) and (time_ms[0] <= self._last_ms or not (np.diff(time_ms) > 0).all()):
            raise DataError(
                f"time runs backwards within or before the batch that begins at {time_ms[0]:.1f} ms (last stored: "
                f"{self._last_ms:.1f}); send samples once and in order"
            )
        fresh = samples[time_ms >= self.started_ms]
        if not len(fresh):
            return 0
        if self._count + len(fresh) > MAX_SAMPLES:
            raise DataError(f"more than {MAX_SAMPLES} samples of one image; finish or redo it")
        self.file.add(fresh)
        self._blocks.append(fresh)
        self._count += len(fresh)
        self._last_ms = float(fresh[-1, 0])
        return len(fresh)

    def samples(self) -> FloatArray:
        """(N, 4) up to the end of the viewing."""
        values = np.concatenate(self._blocks) if self._blocks else np.empty((0, 4))
        return values if self.ended_ms is None else values[values[:, 0] <= self.ended_ms]


def look_fixations(
    look: Look,
    *,
    size: tuple[int, int],
    reader_id: str,
    px_per_degree: float,
    detection: Detection,
    window: Window | None,
    units: str,
    correction: Correction,
    scan_only: bool,
) -> Fixations:
    """Find the fixations of a viewing on the page and carry each to the image as it lay then.

    Args:
        look: The viewing, ended.
        size: (H, W) of the image.
        reader_id: Whose gaze it is.
        px_per_degree: CSS px to a degree.
        detection: Thresholds.
        window: Where the page lies on the display, for a device; None for a pointer, which comes in px of the page.
        units: Of a device: "px" or "normalised".
        correction: Of a calibration on the page.
        scan_only: Leave the first stage out.

    Returns:
        Fixations in image px; onsets count from the beginning of the viewing.

    Raises:
        DataError: if the page never said where the image lay.
    """
    samples = look.samples()
    time_ms, x, y = samples[:, 0], samples[:, 1], samples[:, 2]
    if window is not None:
        x, y = correction(*window.to_page(x, y, units))
    onsets = tuple(view.onset_ms for view in look.viewports[1:])
    breaks = onsets if look.scan_ms is None else (*onsets, look.scan_ms)
    events = detect_fixations(
        Recording(time_ms, x, y, look.case_id, reader_id), px_per_degree, detection, breaks_ms=tuple(sorted(breaks))
    )
    kept = np.ones(len(events), bool)
    if scan_only and look.scan_ms is not None:
        kept = events.onset_ms >= look.scan_ms
    onset = events.onset_ms[kept]
    x_image, y_image = Viewing(tuple(look.viewports)).to_image(onset, events.x_px[kept], events.y_px[kept])
    return Fixations(
        np.round(x_image, 2),
        np.round(y_image, 2),
        np.round(onset - look.started_ms, 2),
        np.round(events.duration_ms[kept], 2),
        size,
        look.case_id,
        reader_id,
    )


def fixations_json(fix: Fixations) -> dict[str, Any]:
    """Return the columns of fixations as lists, for a log line."""
    names = ("x_px", "y_px", "onset_ms", "duration_ms")
    return {name: getattr(fix, name).tolist() for name in names}


def fixations_of(values: dict[str, Any], size: tuple[int, int], case_id: str, reader_id: str) -> Fixations:
    """Return the fixations of a log line."""
    x, y, onset, duration = (np.array(values[name], np.float64) for name in ("x_px", "y_px", "onset_ms", "duration_ms"))
    return Fixations(x, y, onset, duration, size, case_id, reader_id)
