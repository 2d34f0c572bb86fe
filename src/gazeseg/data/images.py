"""Image files in and out: pixels as a person would see them, masks as class indices, soft maps without loss.

Every reader applies the EXIF orientation, so that arrays, sizes and gaze share one frame. Every writer writes to a
temporary name and renames, so that a killed or full-disk run leaves no half a file under a final name.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from gazeseg.errors import DataError
from gazeseg.types import IGNORE, Float32Array, UInt8Array

MaskEncoding = Literal["auto", "binary", "index"]

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
"""File name endings that count as an image when a folder is searched; lower case."""

_LONGEST_NAME: Final = 200  # file systems stop at 255 bytes; the rest is for suffixes and temporary names
_DECODE_ERRORS: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what brings the stored raster upright


def read_image(path: Path, channels: Literal[1, 3] | None = None, *, case_id: str = "") -> UInt8Array:
    """Read an image as uint8 (H, W, C), upright.

    8-bit grey and RGB come through untouched. Grey deeper than 8 bits (and float) is min-max scaled to 0..255. Palette
    and CMYK become RGB. A transparent image is laid on black, since transparency marks "nothing here" in medical
    exports.

    Args:
        path: A PNG, JPEG, TIFF, BMP or any other file Pillow reads; one page.
        channels: 1 turns colour into luma, 3 copies grey three times, ``None`` keeps what the file has.
        case_id: Named in errors.

    Raises:
        DataError: if the file is missing, truncated, has several pages or is no image.
    """
    pixels = _to_uint8(_decode(path, case_id))
    grey = pixels.ndim == 2
    if channels == 1 and not grey:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    if channels == 3 and grey:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))


def read_stored(path: Path, *, case_id: str = "") -> npt.NDArray[Any]:
    """Read the values of an image as its file stores them, upright: (H, W) or (H, W, C) of any depth.

    Raises:
        DataError: as :func:`read_image`.
    """
    return np.asarray(_decode(path, case_id))


def read_image_size(path: Path, *, case_id: str = "") -> tuple[int, int]:
    """Return (H, W) of the upright image from the file's header, without decoding pixels.

    Raises:
        DataError: if the file is missing or its header is no image's.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            swapped = _orientation(image) >= 5
    except _DECODE_ERRORS as error:
        raise _unreadable(path, case_id, error) from None
    return (width, height) if swapped else (height, width)


def stretch(values: npt.NDArray[np.float64]) -> UInt8Array:
    """Scale (H, W) from its own minimum and maximum to 0..255; NaN and infinities become 0."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = values[finite].min(), values[finite].max()
    scaled: npt.NDArray[np.float64] = (np.where(finite, values, low) - low) * (255.0 / max(high - low, 1e-300))
    return np.rint(scaled).astype(np.uint8)


def is_grey(path: Path, *, case_id: str = "") -> bool:
    """Tell from the file's header whether it stores one channel; a palette counts as colour.

    Raises:
        DataError: if the file is missing or its header is no image's.
    """
    try:
        with Image.open(path) as image:
            return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
    except _DECODE_ERRORS as error:
        raise _unreadable(path, case_id, error) from None


def read_mask(
    path: Path, size: tuple[int, int], num_classes: int, case_id: str = "", encoding: MaskEncoding = "auto"
) -> UInt8Array:
    """Read a mask as class indices, uint8 (H, W); 255 is ignore.

    ``binary`` takes 0/1 as it stands and cuts everything else in the middle of its range (> 127 of 255), which also
    takes the soft edges of a JPEG. ``index`` takes the stored values as class indices, palette indices included.
    ``auto`` is ``binary`` for two classes and ``index`` otherwise, with two safeguards for two classes: 0/1/255 is
    read as indices with ignore, and a mask that holds neither 1 nor anything bright is refused.

    Args:
        path: The mask file.
        size: (H, W) of the image that the mask belongs to.
        num_classes: Classes, background included.
        case_id: Named in errors.
        encoding: How values mean classes.

    Raises:
        DataError: if the file cannot be read, has another size, or holds values outside the declared classes.
    """
    image = _decode(path, case_id)
    values = _label_values(image, indexed=encoding == "index" or (encoding == "auto" and num_classes > 2))
    where = _where(path, case_id)
    if values is None:
        raise DataError(f"{where}: a colour mask; store class indices 0..{num_classes - 1} in one grey channel")
    if values.shape != tuple(size):
        got, want = (f"{height} x {width}" for height, width in (values.shape, size))
        raise DataError(f"{where}: the mask is {got} (H x W) but its image is {want}; give a mask of the image's size")
    present = _present(values)
    if encoding == "index" or (encoding == "auto" and (num_classes > 2 or _is_ignoring(present))):
        foreign = [int(v) for v in present if v >= num_classes and v != IGNORE]
        if foreign:
            raise DataError(f"{where}: values {_listed(foreign)} are outside the declared classes 0..{num_classes - 1}")
        return values.astype(np.uint8)
    top = int(present[-1])
    if top <= 1:
        return values.astype(np.uint8)
    middle = 127 if top <= 255 else 32767
    if encoding == "auto" and top <= middle:
        raise DataError(
            f"{where}: values {_listed([int(v) for v in present])} are neither 0/1 nor 0/255; store 0/1, or set "
            f"mask_encoding: binary in dataset.yaml to cut at {middle}"
        )
    return (values > middle).astype(np.uint8)


def read_map(path: Path) -> Float32Array:
    """Read what :func:`write_map` wrote: float32 (H, W) in [0, 1].

    Raises:
        DataError: if the file cannot be read or is no 16-bit grey PNG.
    """
    image = _decode(path, "")
    if not image.mode.startswith("I"):
        raise DataError(f"{path}: not a 16-bit soft map; make the pseudo-mask folder again")
    values: Float32Array = np.asarray(image).astype(np.float32)
    return values / np.float32(65535)


def write_map(path: Path, values: npt.NDArray[np.floating]) -> None:
    """Write a map (H, W) in [0, 1] as a 16-bit grey PNG: lossless PNG of ``round(65535 * value)``, atomic.

    Raises:
        DataError: if a value is NaN or outside [0, 1], or the file cannot be written.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise DataError(f"{path}: a soft map needs values in [0, 1], got {low:g}..{high:g}")
    _save_png(path, Image.fromarray(np.rint(values * 65535.0).astype(np.uint16)))


def write_image(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write (H, W), (H, W, 1) or (H, W, 3) as a PNG, atomic; uint8, or uint16 for grey. Also for class indices.

    Raises:
        DataError: if the file cannot be written.
    """
    _save_png(path, Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels))


def read_indexed(path: Path) -> UInt8Array:
    """Read what :func:`write_indexed` wrote: the stored values, uint8 (H, W).

    Raises:
        DataError: if the file cannot be read or has several channels.
    """
    image = _decode(path, "")
    if image.mode not in ("P", "L"):
        raise DataError(f"{path}: not an indexed image; make the folder that it lies in again")
    return np.asarray(image)


def write_indexed(path: Path, values: UInt8Array, palette: Mapping[int, tuple[int, int, int]]) -> None:
    """Write labels (H, W) as an indexed PNG: stored values are the labels, viewers show the colours. Atomic.

    Args:
        path: Where to.
        values: uint8 labels.
        palette: RGB, 0..255, of some labels; the others are shown as their own grey.

    Raises:
        DataError: if the file cannot be written.
    """
    image = Image.fromarray(values)
    image.putpalette([channel for label in range(256) for channel in palette.get(label, (label,) * 3)])
    _save_png(path, image)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary name beside ``path`` and rename; makes the folder.

    Raises:
        DataError: if the disk is full, read-only or not ours to write.
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")  # short: the final name may be as long as allowed
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where the folder itself is a file, there is nothing to remove either
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from None


def safe_name(case_id: str) -> str:
    """Return a file name stem for any case id: ASCII letters, digits and ``_.-~`` stay, the rest is %-escaped.

    Injective: two ids never share a name (for ids beyond 200 escaped characters, up to a SHA-256 collision).

    Examples:
        >>> safe_name("ward 3/scan é")
        'ward%203%2Fscan%20%C3%A9'
    """
    name = quote(case_id, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]  # hidden files, and the folder names . and ..
    if len(name) > _LONGEST_NAME:
        # "%-" never comes out of an escape, so a shortened name cannot meet an escaped one
        return f"{name[:120]}%-{hashlib.sha256(case_id.encode()).hexdigest()}"
    return name or "%"


def find_images(folder: Path, *, recursive: bool = False) -> dict[str, Path]:
    """Return the images of a folder by stem (by relative path without suffix if ``recursive``), sorted.

    Hidden files are left out.

    Raises:
        DataError: if the folder is missing, holds no image, or two images share a stem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the images")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        relative = path.relative_to(folder)
        if path.suffix.lower() not in IMAGE_SUFFIXES or any(part.startswith(".") for part in relative.parts):
            continue
        key = relative.with_suffix("").as_posix()
        if key in found:
            raise DataError(f"{path}: '{found[key].name}' has the same name but for its ending; rename one of the two")
        found[key] = path
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise DataError(f"{folder}: no image in it ({kinds}); give the folder that holds the images")
    return found


def _decode(path: Path, case_id: str) -> Image.Image:
    """Return the one page of a file, decoded and upright, in the mode it is stored in."""
    try:
        with Image.open(path) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1 and image.format != "MPO":  # MPO: a camera's JPEG with a preview behind it
                raise DataError(f"{_where(path, case_id)}: holds {pages} pages; export one image a file")
            turn = _UPRIGHT.get(_orientation(image))
            image.load()
            return image.transpose(turn) if turn is not None else image.copy()
    except _DECODE_ERRORS as error:
        raise _unreadable(path, case_id, error) from None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation that still has to be applied, 1..8."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFFs itself, and already reports the turned size
    # the base class on purpose: PngImageFile.getexif decodes the pixels to look behind them
    value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _to_uint8(image: Image.Image) -> UInt8Array:
    """Return uint8 (H, W) or (H, W, 3)."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return stretch(np.asarray(image, dtype=np.float64))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    pixels = np.asarray(image.convert("RGB"))
    return pixels[..., 0] if _is_grey(pixels) else pixels


def _is_grey(pixels: UInt8Array) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _label_values(image: Image.Image, *, indexed: bool) -> npt.NDArray[np.int64] | None:
    """Return stored values (H, W) of a mask, or None for a colour image where class indices are wanted."""
    if image.mode == "P":
        indices, luma = np.asarray(image), np.asarray(image.convert("L"))
        # a black and white palette may start with white, a coloured one numbers the classes
        keep = indexed or (np.isin(indices, (0, 1, IGNORE)).all() and not np.isin(luma, (0, 255)).all())
        return (indices if keep else luma).astype(np.int64)
    if image.mode == "F" or image.mode == "1" or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int64)
    pixels = _to_uint8(image)
    if pixels.ndim == 3 and not _is_grey(pixels):
        return None if indexed else np.asarray(image.convert("RGB").convert("L")).astype(np.int64)
    return (pixels if pixels.ndim == 2 else pixels[..., 0]).astype(np.int64)


def _present(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the distinct values, sorted."""
    if values.min() < 0 or values.max() > 65535:
        return np.unique(values)
    return np.flatnonzero(np.bincount(values.ravel()))  # no sorting: ten times faster on a mask


def _is_ignoring(present: npt.NDArray[np.int64]) -> bool:
    """True for class indices 0/1 with 255 = ignore."""
    return {1, IGNORE} <= set(present.tolist()) <= {0, 1, IGNORE}


def _save_png(path: Path, image: Image.Image) -> None:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)  # 1: three times faster, 3 % larger
    write_bytes(path, buffer.getvalue())


def _listed(values: list[int]) -> str:
    shown = ", ".join(str(v) for v in values[:8])
    return shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")


def _where(path: Path, case_id: str) -> str:
    return f"{path} (case '{case_id}')" if case_id else str(path)


def _unreadable(path: Path, case_id: str, error: BaseException) -> DataError:
    where = _where(path, case_id)
    if isinstance(error, FileNotFoundError):
        return DataError(f"{where}: no such file; restore it or remove the case")
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError | IsADirectoryError):
        return DataError(f"{where}: cannot be opened ({error.strerror}); check its permissions")
    if "cannot identify" in reason:
        reason = "not an image, or cut off in its header"
    return DataError(f"{where}: broken image ({reason}); replace the file or remove the case")
