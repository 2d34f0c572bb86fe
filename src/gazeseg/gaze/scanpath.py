"""One reading of one image as a path in space and time: its figures, and what of it had happened by a moment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazeseg.gaze.quality import in_mask_share
from gazeseg.types import Fixations


@dataclass(frozen=True, slots=True)
class ScanpathFigures:
    """Figures of one reading; the mean is NaN without a fixation, the shares are None without a mask."""

    fixations: int
    dwell_ms: float  # the sum of the durations
    span_ms: float  # from the first onset to the end of the last fixation
    mean_ms: float
    length_px: float  # straight lines from fixation to fixation, in image px
    off_image: int
    inside: float | None  # share of the fixations inside the mask
    inside_time: float | None  # share of the dwell time inside the mask


def scanpath_figures(fix: Fixations, mask: npt.NDArray[np.bool_] | None = None) -> ScanpathFigures:
    """Measure a reading.

    Args:
        fix: fixations in image px, in order.
        mask: (H, W) of the size of the image.

    Raises:
        DataError: if the mask has another size than the image.

    Examples:
        >>> two = Fixations([0, 3], [0, 4], [0, 500], [300, 100], image_size=(9, 9), image_id="a")
        >>> figures = scanpath_figures(two)
        >>> figures.length_px, figures.dwell_ms, figures.span_ms
        (5.0, 400.0, 600.0)
    """
    return ScanpathFigures(
        fixations=len(fix),
        dwell_ms=float(fix.duration_ms.sum()),
        span_ms=end_ms(fix) - start_ms(fix),
        mean_ms=float(fix.duration_ms.mean()) if len(fix) else float("nan"),
        length_px=float(np.hypot(np.diff(fix.x_px), np.diff(fix.y_px)).sum()),
        off_image=int((~fix.on_image).sum()),
        inside=None if mask is None else in_mask_share(fix, mask),
        inside_time=None if mask is None else in_mask_share(fix, mask, weighted=True),
    )


def start_ms(fix: Fixations) -> float:
    """Onset of the first fixation, 0 without one."""
    return float(fix.onset_ms[0]) if len(fix) else 0.0


def end_ms(fix: Fixations) -> float:
    """End of the fixation that ends last, 0 without one."""
    return float((fix.onset_ms + fix.duration_ms).max()) if len(fix) else 0.0


def until(fix: Fixations, time_ms: float) -> Fixations:
    """Return what of a reading had happened by ``time_ms``: later fixations are gone, the one under way is cut short.

    Examples:
        >>> two = Fixations([1, 2], [1, 2], [0, 400], [300, 300], image_size=(9, 9), image_id="a")
        >>> until(two, 500).duration_ms
        array([300., 100.])
    """
    begun = fix.onset_ms < time_ms
    return dataclasses.replace(
        fix,
        x_px=fix.x_px[begun],
        y_px=fix.y_px[begun],
        onset_ms=fix.onset_ms[begun],
        duration_ms=np.minimum(fix.duration_ms[begun], time_ms - fix.onset_ms[begun]),
    )
