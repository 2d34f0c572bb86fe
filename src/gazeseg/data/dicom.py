"""The pixels of a DICOM object, for everything that reads one: stored values, values in which bright is high, RGB."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.data.images import stretch
from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.types import UInt8Array

if TYPE_CHECKING:  # an extra
    from pydicom import Dataset

SUFFIXES: Final = (".dcm", ".dicom", ".ima")
PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Where an object keeps its pixels."""
_BROKEN: Final = (OSError, ValueError, EOFError, AttributeError, KeyError, TypeError)  # what pydicom raises for one
_UINT16: Final = 65535


def require_pydicom() -> ModuleType:
    """Return the package.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingDependencyError("pydicom", "medical") from None
    return pydicom


def read_object(path: Path, **options: Any) -> Dataset:
    """Read a file, pixels included but not decoded.

    Args:
        path: The file.
        options: Of ``pydicom.dcmread``: what to leave out.

    Raises:
        DataError: if it is damaged or no DICOM.
        MissingDependencyError: without pydicom.
    """
    pydicom = require_pydicom()
    from pydicom.errors import InvalidDicomError

    try:
        item: Dataset = pydicom.dcmread(path, **options)
    except (InvalidDicomError, *_BROKEN) as error:
        raise DataError(f"{path}: broken DICOM file ({_line(error)}); replace it") from None
    return item


def stored_frames(path: Path, item: Dataset) -> list[npt.NDArray[Any]]:
    """Return the frames of an object as stored: grey (H, W), colours (H, W, 3) in RGB, palettes and YBR included.

    Raises:
        DataError: if no decoder for its compression is installed, or the pixels are damaged.
    """
    if not any(name in item for name in PIXELS):
        raise DataError(f"{path}: holds no pixels; export it again")
    _require_decoder(path, item)
    try:
        values = _coloured(item.pixel_array, item)
    except (*_BROKEN, RuntimeError, NotImplementedError) as error:
        reason = _line(error)[:200]
        raise DataError(f"{path}: its pixels cannot be decoded ({reason}); convert or replace the file") from None
    colour = values.ndim > 2 and values.shape[-1] == 3 and _is_colour(item)
    return list(values[None] if values.ndim == (3 if colour else 2) else values)


def eight_bit_frames(path: Path, item: Dataset) -> list[UInt8Array]:
    """Return the frames of an object, each (H, W, 1) or (H, W, 3).

    Unsigned grey of 8 bits is kept; what is deeper or signed is rescaled and stretched to 0..255 frame by frame, as
    images for training are. MONOCHROME1 is inverted, palettes and YBR become RGB.

    Raises:
        DataError: as for :func:`stored_frames`.
    """
    frames = stored_frames(path, item)
    return [_eight_bits(frame, item) if frame.ndim == 3 else _grey(frame, item)[:, :, None] for frame in frames]


def sixteen_bit_frames(path: Path, item: Dataset) -> list[npt.NDArray[np.uint16] | UInt8Array]:
    """Return the frames of an object with every grey level: (H, W) uint16 from 0 up, or (H, W, 3) uint8.

    Only values that do not fit into 16 bits are scaled. MONOCHROME1 is inverted, palettes and YBR become RGB.

    Raises:
        DataError: as for :func:`stored_frames`.
    """
    frames = stored_frames(path, item)
    return [_eight_bits(frame, item) if frame.ndim == 3 else _sixteen_bits(frame, item) for frame in frames]


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


def _coloured(values: npt.NDArray[Any], item: Dataset) -> npt.NDArray[Any]:
    """Return RGB for a palette; pydicom has made YBR RGB already."""
    if item.get("PhotometricInterpretation") != "PALETTE COLOR":
        return values
    from pydicom.pixels.processing import apply_color_lut

    coloured = apply_color_lut(values, item)
    return (coloured >> 8).astype(np.uint8) if coloured.dtype == np.uint16 else coloured


def _eight_bits(frame: npt.NDArray[Any], item: Dataset) -> UInt8Array:
    """Return (H, W, 3) of 8 bits."""
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    return (frame.astype(np.int64) >> max(int(item.BitsStored) - 8, 0)).clip(0, 255).astype(np.uint8)


def _bright(frame: npt.NDArray[Any], item: Dataset) -> npt.NDArray[Any]:
    """Return grey values (H, W) in which bright is high, as uint8 where 8 unsigned bits say it all, else float64.

    Both stretching and shifting to 0 undo a rising slope and an intercept, but neither a falling slope nor a table.
    """
    from pydicom.pixels.processing import apply_modality_lut

    inverted = item.get("PhotometricInterpretation") == "MONOCHROME1"
    rescaled = "ModalityLUTSequence" in item or float(item.get("RescaleSlope") or 1) < 0
    if frame.dtype == np.uint8 and not rescaled:
        return np.uint8(2 ** int(item.BitsStored) - 1) - frame if inverted else frame
    values = (apply_modality_lut(frame, item) if rescaled else frame).astype(np.float64)
    return -values if inverted else values


def _grey(frame: npt.NDArray[Any], item: Dataset) -> UInt8Array:
    values = _bright(frame, item)
    return np.ascontiguousarray(values) if values.dtype == np.uint8 else stretch(values)


def _sixteen_bits(frame: npt.NDArray[Any], item: Dataset) -> npt.NDArray[np.uint16]:
    values = _bright(frame, item).astype(np.float64)
    values -= values.min()
    fits = values.max() <= _UINT16 and np.array_equal(values, np.rint(values))
    return np.rint(values if fits else values * (_UINT16 / max(float(values.max()), 1e-300))).astype(np.uint16)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
