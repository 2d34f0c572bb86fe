"""The pixels of a DICOM object as a person would see them: rescaled, bright is high, RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.data.images import stretch
from gazeseg.errors import DataError
from gazeseg.types import UInt8Array

if TYPE_CHECKING:  # an extra
    from pydicom import Dataset

PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Where an object keeps its pixels."""


def decode_frames(path: Path, item: Dataset) -> list[UInt8Array]:
    """Return the frames of an object, each (H, W, 1) or (H, W, 3).

    Unsigned grey of 8 bits is kept; what is deeper or signed is rescaled and stretched to 0..255 frame by frame, as
    images for training are. MONOCHROME1 is inverted, palettes and YBR become RGB.

    Raises:
        DataError: if no decoder for its compression is installed, or the pixels are damaged.
    """
    if not any(name in item for name in PIXELS):
        raise DataError(f"{path}: holds no pixels; export it again")
    _require_decoder(path, item)
    try:
        values = _colours(item.pixel_array, item)
    # pydicom raises any of these for damaged or unsupported pixel data
    except (OSError, ValueError, AttributeError, KeyError, RuntimeError, NotImplementedError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: its pixels cannot be decoded ({reason}); convert or replace the file") from None
    colour = values.ndim > 2 and values.shape[-1] == 3 and _is_colour(item)
    single = values.ndim == (3 if colour else 2)
    stack = values[None] if single else values
    if colour:
        return [_eight_bits(frame, item) for frame in stack]
    return [_grey(frame, item)[:, :, None] for frame in stack]


def _is_colour(item: Dataset) -> bool:
    return int(item.get("SamplesPerPixel", 1)) == 3 or item.get("PhotometricInterpretation") == "PALETTE COLOR"


def _require_decoder(path: Path, item: Dataset) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = item.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError(f"{path}: compressed as {syntax.name}, which nothing here decodes; convert the file") from None
    if not decoder.is_available:
        wanted = " or ".join(text.split(" - requires ")[-1] for text in decoder.missing_dependencies)
        raise DataError(f"{path}: compressed as {syntax.name}; its decoder is missing: install {wanted}")


def _colours(values: npt.NDArray[Any], item: Dataset) -> npt.NDArray[Any]:
    """Return RGB for a palette; pydicom has made YBR RGB already."""
    if item.get("PhotometricInterpretation") != "PALETTE COLOR":
        return values
    from pydicom.pixels.processing import apply_color_lut

    coloured = apply_color_lut(values, item)
    return (coloured >> 8).astype(np.uint8) if coloured.dtype == np.uint16 else coloured


def _eight_bits(frame: npt.NDArray[Any], item: Dataset) -> UInt8Array:
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    return (frame.astype(np.int64) >> max(int(item.BitsStored) - 8, 0)).clip(0, 255).astype(np.uint8)


def _grey(frame: npt.NDArray[Any], item: Dataset) -> UInt8Array:
    from pydicom.pixels.processing import apply_modality_lut

    inverted = item.get("PhotometricInterpretation") == "MONOCHROME1"
    rescaled = "ModalityLUTSequence" in item or float(item.get("RescaleSlope") or 1) < 0
    if frame.dtype == np.uint8 and not rescaled:
        return np.uint8(2 ** int(item.BitsStored) - 1) - frame if inverted else np.ascontiguousarray(frame)
    # stretching undoes any other slope and intercept, but not a falling one or a table
    values = (apply_modality_lut(frame, item) if rescaled else frame).astype(np.float64)
    return stretch(-values if inverted else values)
