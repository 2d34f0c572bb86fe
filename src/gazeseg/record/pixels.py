"""The pixels of a case for the page: nothing but pixels, whatever else their file says about a patient."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import read_stored
from gazeseg.types import UInt8Array

SHOWN: Final = (0.5, 99.5)  # percentiles that the first window of a deep image spans


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as the page shows it.

    Attributes:
        pixels: (H, W, 1 or 3) uint8, what the heatmap and the CRF work on.
        deep: (H, W) uint16 where the file stores more than 8 bits, for window and level on the page.
        low: Stored value shown black.
        high: Stored value shown white.
    """

    pixels: UInt8Array
    deep: npt.NDArray[np.uint16] | None
    low: float
    high: float

    @property
    def about(self) -> dict[str, Any]:
        """What the page has to know before it fetches the pixels."""
        height, width = self.pixels.shape[:2]
        depth = 8 if self.deep is None else 16
        return {"width": width, "height": height, "depth": depth, "low": self.low, "high": self.high}

    def body(self) -> tuple[bytes, str]:
        """Return the pixels and their media type: a PNG without any metadata, or little-endian uint16 rows."""
        if self.deep is not None:
            return self.deep.astype("<u2").tobytes(), "application/octet-stream"
        buffer = io.BytesIO()
        pixels = self.pixels[..., 0] if self.pixels.shape[2] == 1 else self.pixels
        Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
        return buffer.getvalue(), "image/png"


def load_picture(dataset: Dataset, case: Case) -> Picture:
    """Read the image of a case.

    Raises:
        DataError: if the file is gone, broken or of another size.
    """
    pixels = dataset.image(case)
    if case.image is None or pixels.shape[2] == 3:
        return Picture(pixels, None, 0, 255)
    stored = read_stored(case.image, case_id=case.case_id)
    if stored.ndim != 2 or stored.dtype == np.uint8 or stored.dtype == np.bool_:
        return Picture(pixels, None, 0, 255)
    values = stored.astype(np.float64)
    finite = values[np.isfinite(values)]
    bottom, top = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if stored.dtype == np.uint16 or (np.issubdtype(stored.dtype, np.integer) and bottom >= 0 and top <= 65535):
        deep = values.astype(np.uint16)
    else:  # signed and fractional values are carried to the range of uint16
        filled = np.where(np.isfinite(values), values, bottom)
        deep = np.rint((filled - bottom) * (65535 / max(top - bottom, 1e-300))).astype(np.uint16)
    low, high = np.percentile(deep, SHOWN).tolist()
    return Picture(pixels, deep, low, max(high, low + 1))
