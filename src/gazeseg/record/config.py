"""What a recording session is: how images are shown, where gaze comes from, how it becomes fixations."""

from __future__ import annotations

import math
from typing import Final, Literal

from pydantic import Field, field_validator

from gazeseg.config import Section
from gazeseg.gaze.fixations import Detection
from gazeseg.gaze.geometry import px_per_degree
from gazeseg.types import ScreenGeometry

SourceName = Literal["mouse", "websocket", "lsl", "file"]

NOMINAL_PX_PER_DEGREE: Final = 96 / 2.54 * 60 * math.tan(math.radians(1))
"""CSS px (1/96 inch) to a degree at 60 cm, 39.6: sizes and thresholds where nobody measured the display."""


class DisplayConfig(Section):
    """The display as measured with a ruler; without it nothing is reported in degrees."""

    width_cm: float = Field(gt=0)
    height_cm: float = Field(gt=0)
    distance_cm: float = Field(gt=0)


class RecordConfig(Section):
    """The protocol of a study; written into the first line of every reader's log."""

    source: SourceName = "mouse"
    view: Literal["plain", "window"] = "plain"  # window: only a disc around the pointer is sharp
    window_deg: float = Field(2.0, gt=0)  # radius of the disc: the fovea and its surround see sharply (SALICON: 2 deg)
    blur_deg: float = Field(0.35, gt=0)  # Gaussian sigma outside the disc: shapes stay, texture goes
    stages: Literal["two", "one"] = "two"  # locate, then scan: the collection of GazeMedSeg
    use: Literal["both", "scan"] = "both"  # whose fixations count
    units: Literal["px", "normalised"] = "px"  # of a device: px of the display, or 0..1 of it
    seed: int = Field(0, ge=0)  # of the blind order; every reader has another one
    split: Literal["all", "train", "val", "test", "none"] = "all"
    display: DisplayConfig | None = None
    min_duration_ms: float = Field(60.0, gt=0)  # shorter dwells are no fixations; GazeMedSeg drops those under 50

    @field_validator("window_deg", "blur_deg")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number of degrees")
        return value

    @property
    def detection(self) -> Detection:
        """Thresholds of the detector of fixations.

        A hand moves on steadily where an eye jumps: only dispersion cuts a pointer's path into dwells, and its steps
        are movement, not noise that a threshold should follow.
        """
        if self.source == "mouse":
            return Detection(algorithm="idt", adaptive=False, min_duration_ms=self.min_duration_ms)
        return Detection(min_duration_ms=self.min_duration_ms)

    def geometry(self, width_px: int, height_px: int) -> ScreenGeometry | None:
        """The display in CSS px, where it was measured."""
        if self.display is None:
            return None
        sizes = self.display
        return ScreenGeometry(width_px, height_px, sizes.width_cm, sizes.height_cm, sizes.distance_cm)

    def px_per_degree(self, width_px: int, height_px: int) -> float:
        """CSS px to a degree: measured, else nominal."""
        screen = self.geometry(width_px, height_px)
        return NOMINAL_PX_PER_DEGREE if screen is None else px_per_degree(screen)


def gaze_source(config: RecordConfig) -> str:
    """Say what the gaze of a session is, as it stands in ``dataset.yaml``: a pointer is not an eye."""
    if config.source == "mouse":
        how = "moving clear window over a blurred image" if config.view == "window" else "plain view"
        return f"gazeseg record: mouse pointer as gaze, {how}"
    return f"gazeseg record: {config.source} gaze stream"
