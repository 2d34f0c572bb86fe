"""The window of local pixel propagation, without torch: both forms of the computation read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

TINY: Final = 1e-12  # shortest feature vector that has a direction


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Which pixels exchange, and how alike they must be.

    Attributes:
        similarity: Cosine (paper) or dot product (released code) of the features.
        pad: ``exclude`` gives no weight to neighbours outside the image; ``zero`` lets them enter as zero vectors, with
            the weight exp(0), as the released code does.
        kernel: Odd side of the window, centre included.
        dilation: Spacing of the window in pixels.
        temperature: T; a small one sharpens the weights.
    """

    similarity: Literal["cosine", "dot"] = "cosine"
    pad: Literal["exclude", "zero"] = "exclude"
    kernel: int = 5
    dilation: int = 2
    temperature: float = 1.0

    @property
    def reach_px(self) -> int:
        """How far the window reaches."""
        return self.kernel // 2 * self.dilation

    def window(self) -> list[tuple[int, int]]:
        """Return the shifts (dy, dx) in row-major order, the centre in the middle."""
        reach = range(-self.reach_px, self.reach_px + 1, self.dilation)
        return [(dy, dx) for dy in reach for dx in reach]

    def offsets(self, height: int, width: int) -> list[int]:
        """Return the centre and the half below it as distances between pixels that are numbered along the rows."""
        window, pixels = self.window(), height * width
        half = window[len(window) // 2 :]
        return [min(max(dy * width + dx, 0), pixels) for dy, dx in half]  # clamped: no such pair is in the image
