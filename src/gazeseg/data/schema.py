"""What a data set is made of: the models behind ``dataset.yaml`` and a row of ``cases.csv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from gazeseg.config import MasksConfig, Section, build
from gazeseg.data.images import MaskEncoding
from gazeseg.types import Fixations, Split

FORMAT: Final = 1
"""Version of the folder layout."""

COLUMNS: Final = (
    "case_id",
    "patient_id",
    "split",
    "image",
    "mask",
    "height",
    "width",
    "spacing_y_mm",
    "spacing_x_mm",
    "volume_id",
    "slice_index",
    "spacing_z_mm",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One image (or slice) of a data set. Paths are absolute; ``None`` where the data set has no such file."""

    case_id: str
    patient_id: str
    split: Split
    image: Path | None
    mask: Path | None
    height: int  # px, upright
    width: int
    spacing_mm: tuple[float, float] | None = None  # (y, x)
    volume_id: str = ""  # slices of one volume share it
    slice_index: int = 0  # from 0, along the volume
    spacing_z_mm: float | None = None  # from slice to slice of the volume

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width


SIMULATED: Final = "simulated gaze (uses ground truth)"
"""Stands beside every result of simulated gaze."""

MAY_HAVE_SEEN: Final = "the promptable model may have seen public images, and their masks, in its own training"
"""Stands beside every result of prompted masks."""


class Roots(Section):
    """The folders below which the paths of ``cases.csv`` lie."""

    images: Path | None = None  # absolute, or relative to the dataset folder; None: no case has an image
    masks: Path | None = None  # None: no masks are used, whatever cases.csv says
    images_relative: Path | None = None  # the same folder seen from the dataset folder: tried when the root is gone
    masks_relative: Path | None = None


class GazeInfo(Section):
    """What the gaze of a data set is."""

    kind: Literal["recorded", "simulated", "none"] = "none"
    source: str = ""
    note: str = ""


class DatasetInfo(Section):
    """The content of ``dataset.yaml``."""

    format: Literal[1] = FORMAT
    name: str
    classes: tuple[str, ...] = Field(("background", "foreground"), min_length=2)
    channels: Literal[1, 3] = 3
    modality: str = ""
    mask_encoding: MaskEncoding = "auto"
    roots: Roots
    gaze: GazeInfo = GazeInfo()
    split_note: str = ""  # which published split this is, or how it was drawn
    labelled_order: tuple[str, ...] = ()  # patients in the published order of labelled subsets; the first are labelled
    supervision: dict[str, Any] = Field(default_factory=dict)  # keys of MasksConfig that suit this data set
    citation: str = ""

    def masks_config(self) -> MasksConfig:
        """Return the supervision defaults of this data set.

        Raises:
            ConfigError: if ``supervision`` holds an unknown key or value.
        """
        return build(MasksConfig, self.supervision, "dataset.yaml: supervision")


def no_fixations(case_id: str, size: tuple[int, int]) -> Fixations:
    """Return the gaze of an image that nobody looked at."""
    return Fixations(np.empty(0), np.empty(0), np.empty(0), np.empty(0), size, case_id)
