"""Where a look lands: screen px -> viewport -> image px, and screen px <-> degrees of visual angle.

Every space has pixel centres at integers and (0, 0) at the top left. A viewport says where the image lies on the screen
for as long as nothing moves; zooming and panning is a sequence of them. With the left edge of the image at the left
edge of screen column ``left_px`` and ``zoom_x`` screen px to one image px::

    x_image = (x_screen - left_px + 0.5) / zoom_x - 0.5
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.types import FloatArray, ScreenGeometry

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Viewport:
    """Where an image lies on the screen from ``onset_ms`` on.

    Attributes:
        left_px: screen column at whose left edge the image begins; may be negative or a fraction.
        top_px: screen row at whose upper edge it begins.
        zoom_x: screen px to one image px; above 0.
        zoom_y: the same down the image; differs from ``zoom_x`` where the image is stretched.
        onset_ms: when it begins, on the clock of the recording; -inf = from the start.
    """

    left_px: float = 0.0
    top_px: float = 0.0
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    onset_ms: float = -math.inf

    def __post_init__(self) -> None:
        numbers = (self.left_px, self.top_px, self.zoom_x, self.zoom_y)
        if not (all(map(math.isfinite, numbers)) and self.zoom_x > 0 and self.zoom_y > 0):
            raise DataError(
                f"viewport at {self.left_px:g}, {self.top_px:g} px with zoom {self.zoom_x:g} x {self.zoom_y:g}: the "
                "place must be finite and the zoom above 0"
            )

    @classmethod
    def fit(cls, image_size: tuple[int, int], area_px: tuple[int, int]) -> Viewport:
        """Return the largest undistorted image in the middle of an area: bars left and right, or above and below.

        Args:
            image_size: (H, W) of the image in px.
            area_px: (width, height) of the screen or window in px.

        Examples:
            >>> Viewport.fit((100, 100), (1920, 1080))  # a square image on a wide screen
            Viewport(left_px=420.0, top_px=0.0, zoom_x=10.8, zoom_y=10.8, onset_ms=-inf)
        """
        zoom = min(area_px[0] / image_size[1], area_px[1] / image_size[0])
        return cls.centred(image_size, area_px, zoom)

    @classmethod
    def centred(cls, image_size: tuple[int, int], area_px: tuple[int, int], zoom: float = 1.0) -> Viewport:
        """Return the image in the middle of an area of (width, height) px, at a fixed zoom."""
        height, width = image_size
        return cls((area_px[0] - width * zoom) / 2, (area_px[1] - height * zoom) / 2, zoom, zoom)

    @classmethod
    def box(cls, image_size: tuple[int, int], box_px: tuple[float, float, float, float]) -> Viewport:
        """Return the image stretched to a box: left, top, width, height in screen px."""
        left, top, width, height = box_px
        return cls(left, top, width / image_size[1], height / image_size[0])

    def zoomed(self, factor: float, x_px: float, y_px: float, onset_ms: float) -> Viewport:
        """Return the view after zooming by ``factor`` about a screen position, whose image position stays."""
        return Viewport(
            x_px + 0.5 - factor * (x_px + 0.5 - self.left_px),
            y_px + 0.5 - factor * (y_px + 0.5 - self.top_px),
            self.zoom_x * factor,
            self.zoom_y * factor,
            onset_ms,
        )

    def panned(self, dx_px: float, dy_px: float, onset_ms: float) -> Viewport:
        """Return the view after dragging the image by so many screen px."""
        return replace(self, left_px=self.left_px + dx_px, top_px=self.top_px + dy_px, onset_ms=onset_ms)

    def to_image(self, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Image px of screen px, same shape; NaN stays NaN."""
        return (
            (x_px - self.left_px + 0.5) / self.zoom_x - 0.5,
            (y_px - self.top_px + 0.5) / self.zoom_y - 0.5,
        )

    def to_screen(self, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Screen px of image px, same shape: the inverse of :meth:`to_image`."""
        return (
            (x_px + 0.5) * self.zoom_x + self.left_px - 0.5,
            (y_px + 0.5) * self.zoom_y + self.top_px - 0.5,
        )


@dataclass(frozen=True, slots=True)
class Viewing:
    """The viewports of one image in temporal order; each holds until the next begins.

    What was seen before the first one begins is mapped by the first.
    """

    viewports: tuple[Viewport, ...]

    def __post_init__(self) -> None:
        onsets = [view.onset_ms for view in self.viewports]
        if not onsets:
            raise DataError("a viewing without a viewport: say where on the screen the image was")
        if any(later <= earlier for earlier, later in pairwise(onsets)):
            raise DataError(f"viewports begin at {', '.join(f'{t:g}' for t in onsets)} ms; their onsets must rise")

    def index(self, time_ms: FloatArray) -> IndexArray:
        """(N,) which viewport holds at each time; a view holds from its onset on, onset included."""
        onsets = np.array([view.onset_ms for view in self.viewports])
        return np.maximum(np.searchsorted(onsets, time_ms, side="right") - 1, 0)

    def to_image(self, time_ms: FloatArray, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N,) image px of screen px seen at ``time_ms`` (N,)."""
        left, top, zoom_x, zoom_y = self._parameters(time_ms)
        return (x_px - left + 0.5) / zoom_x - 0.5, (y_px - top + 0.5) / zoom_y - 0.5

    def to_screen(self, time_ms: FloatArray, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N,) screen px of image px shown at ``time_ms`` (N,): the inverse of :meth:`to_image`."""
        left, top, zoom_x, zoom_y = self._parameters(time_ms)
        return (x_px + 0.5) * zoom_x + left - 0.5, (y_px + 0.5) * zoom_y + top - 0.5

    def _parameters(self, time_ms: FloatArray) -> Sequence[FloatArray]:
        table = np.array([(view.left_px, view.top_px, view.zoom_x, view.zoom_y) for view in self.viewports])
        parameters: FloatArray = table[self.index(time_ms)].T
        return tuple(parameters)


def to_degrees(x_px: FloatArray, y_px: FloatArray, screen: ScreenGeometry) -> tuple[FloatArray, FloatArray]:
    """Degrees of visual angle right of and below the middle of the screen, for an eye straight in front of it.

    ``x_deg = atan(distance of the column from the middle in cm / viewing distance)``, an axis at a time.
    """
    return (
        np.degrees(
            np.arctan((x_px + 0.5 - screen.width_px / 2) * (screen.width_cm / screen.width_px / screen.distance_cm))
        ),
        np.degrees(
            np.arctan((y_px + 0.5 - screen.height_px / 2) * (screen.height_cm / screen.height_px / screen.distance_cm))
        ),
    )


def from_degrees(x_deg: FloatArray, y_deg: FloatArray, screen: ScreenGeometry) -> tuple[FloatArray, FloatArray]:
    """Screen px of degrees from the middle of the screen: the inverse of :func:`to_degrees`."""
    return (
        np.tan(np.radians(x_deg)) * (screen.distance_cm * screen.width_px / screen.width_cm)
        + screen.width_px / 2
        - 0.5,
        np.tan(np.radians(y_deg)) * (screen.distance_cm * screen.height_px / screen.height_cm)
        + screen.height_px / 2
        - 0.5,
    )


def px_per_degree(screen: ScreenGeometry) -> float:
    """Screen px to one degree at the middle of the screen, the geometric mean of both axes.

    Examples:
        >>> round(px_per_degree(ScreenGeometry(1920, 1080, 53.0, 30.0, 60.0)), 1)
        37.8
    """
    per_cm = math.sqrt((screen.width_px / screen.width_cm) * (screen.height_px / screen.height_cm))
    return screen.distance_cm * math.tan(math.radians(1)) * per_cm
