"""One case as its reader saw it: what the scanpath figure, the replay and the explanation draw from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from gazeseg.config import MapsConfig
from gazeseg.data.dataset import Dataset
from gazeseg.data.schema import no_fixations
from gazeseg.errors import DataError
from gazeseg.gaze.scanpath import ScanpathFigures, end_ms, scanpath_figures, start_ms
from gazeseg.report.overlays import BoolMask, contour_lines
from gazeseg.report.sheets import gaze_label, picture
from gazeseg.supervision.heatmap import CANVAS, heatmap
from gazeseg.types import IGNORE, Fixations, Float32Array, FloatArray, UInt8Array

TIME_COLOURS: Final = ("#fff3b0", "#fdb13c", "#f0605a", "#b832a0", "#5a32c8")
"""The course of a reading, from its first moment to its last: light to dark, so it reads in grey too."""


@dataclass(frozen=True)
class Reading:
    """The picture (H, W, C), the truth (H, W) if there is one, and the fixations, of which there may be none."""

    case_id: str
    about: str  # data set, split, kind of gaze, reader
    image: UInt8Array
    fixations: Fixations
    truth: BoolMask | None
    sigma_px: tuple[float, float]  # (x, y) width of the Gaussian of the heatmap, image px

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.fixations.image_size

    @property
    def figures(self) -> ScanpathFigures:
        """Its figures."""
        return scanpath_figures(self.fixations, self.truth)

    @property
    def inside(self) -> BoolMask | None:
        """(K,) True where a fixation falls on a pixel of the truth, None without truth."""
        if self.truth is None:
            return None
        height, width = self.size
        seen = self.fixations.on_image
        columns = np.clip(np.floor(self.fixations.x_px + 0.5), 0, width - 1).astype(np.intp)
        rows = np.clip(np.floor(self.fixations.y_px + 0.5), 0, height - 1).astype(np.intp)
        hit: BoolMask = seen & self.truth[rows, columns]
        return hit

    @cached_property
    def outline(self) -> list[FloatArray]:
        """Polygons of the truth, none without truth; a figure draws them on many panels."""
        return contour_lines(self.truth) if self.truth is not None else []

    @property
    def course(self) -> FloatArray:
        """(K,) where in the reading each fixation begins: 0 at its first moment, 1 at its last."""
        start = start_ms(self.fixations)
        span = max(end_ms(self.fixations) - start, 1e-9)
        course: FloatArray = (self.fixations.onset_ms - start) / span
        return course


def load_reading(dataset: Dataset, case_id: str) -> Reading:
    """Read one case.

    Raises:
        DataError: if there is no such case, or its image, mask or gaze cannot be read.
        ConfigError: if the width of the heatmap is in degrees and the data set does not say how wide one is.
    """
    case = dataset.case(case_id)
    fixations = dataset.fixations[case_id]
    about = [dataset.info.name, f"{case.split} split" if case.split != "none" else "", gaze_label(dataset)]
    about += [f"reader {fixations.reader_id}" if fixations.reader_id else ""]
    labels = dataset.mask(case) if case.mask is not None else None
    return Reading(
        case_id,
        " · ".join(part for part in about if part),
        picture(dataset, case),
        fixations,
        None if labels is None else (labels > 0) & (labels != IGNORE),
        gaussian_px(dataset.info.masks_config().maps, case.size),
    )


def require_gaze(reading: Reading, where: object) -> None:
    """Refuse a case that nobody looked at.

    Raises:
        DataError: if the reading has no fixation.
    """
    if not len(reading.fixations):
        raise DataError(
            f"{where}: case '{reading.case_id}' has no fixation, so there is no reading to show; add its rows to "
            "gaze/fixations.csv, or name another case"
        )


def gaussian_px(maps: MapsConfig, size: tuple[int, int]) -> tuple[float, float]:
    """Return the standard deviation along x and y, in image px, of the heatmap that ``maps`` describes.

    Raises:
        ConfigError: if ``maps`` gives it in degrees without ``px_per_degree``.
    """
    height, width = size
    sigma_px = heatmap(no_fixations("", size), maps).sigma_px  # in pixels of the canvas
    if maps.canvas == "square768":
        return sigma_px * width / CANVAS, sigma_px * height / CANVAS
    return sigma_px, sigma_px


def dwell_density(fix: Fixations, sigma_px: tuple[float, float], shape: tuple[int, int]) -> Float32Array:
    r"""Draw the dwell time around each point, in ms: what grows while someone reads.

    .. math:: g(p) = \sum_k d_k \exp\left(-\frac{(x - x_k)^2}{2 \sigma_x^2} - \frac{(y - y_k)^2}{2 \sigma_y^2}\right)

    Unlike a training map it is not stretched to 0..1, so that two moments of one reading share a scale.

    Args:
        fix: fixations in image px.
        sigma_px: standard deviation along x and y in image px.
        shape: (h, w) of the result, which spans the whole image.
    """
    (height, width), (h, w) = fix.image_size, shape
    x = (np.arange(w) + 0.5) * width / w - 0.5
    y = (np.arange(h) + 0.5) * height / h - 0.5
    seen = fix.on_image
    columns = np.exp(-0.5 * ((x - fix.x_px[seen, None]) / sigma_px[0]) ** 2)
    rows = np.exp(-0.5 * ((y - fix.y_px[seen, None]) / sigma_px[1]) ** 2)
    density: Float32Array = ((rows * fix.duration_ms[seen, None]).T @ columns).astype(np.float32)
    return density


def describe(figures: ScanpathFigures) -> str:
    """Say the figures of a reading in one line."""
    if not figures.fixations:
        return "no fixation"
    parts = [
        f"{figures.fixations} fixation{'s' * (figures.fixations > 1)}",
        f"dwell {figures.dwell_ms / 1000:.1f} s of {figures.span_ms / 1000:.1f} s",
        f"mean {figures.mean_ms:.0f} ms",
        f"scanpath {figures.length_px:,.0f} px",
    ]
    if figures.inside is not None and figures.inside_time is not None:
        parts.append(f"{figures.inside:.0%} inside the true mask ({figures.inside_time:.0%} of the time)")
    if figures.off_image:
        parts.append(f"{figures.off_image} off the image")
    return " · ".join(parts)
