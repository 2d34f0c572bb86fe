"""Array files as published volumes use them: npz, h5, NIfTI, MetaImage. Every array comes as (D, H, W) or (H, W)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError, MissingDependencyError, suggest

Spacing = tuple[float, float, float]
_MET: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxels with their place in the world as far as the file tells it."""

    values: npt.NDArray[Any]  # (D, H, W), slowest axis first
    spacing_mm: Spacing | None  # (z, y, x); None where the file gives none


def read_npz(path: Path, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Read arrays of an npz file.

    Raises:
        DataError: if the file is broken or lacks a key.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            _require_keys(path, archive.files, keys)
            return [archive[key] for key in keys]
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: broken npz file ({' '.join(str(error).split())}); download it again") from None


def read_h5(path: Path, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Read arrays of an HDF5 file.

    Raises:
        DataError: if the file is broken or lacks a key.
        MissingDependencyError: without h5py.
    """
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError("h5py", "medical") from None
    try:
        with h5py.File(path, "r") as file:
            _require_keys(path, list(file), keys)
            return [np.asarray(file[key]) for key in keys]
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: broken HDF5 file ({' '.join(str(error).split())}); download it again") from None


def read_nifti(path: Path) -> Grid:
    """Read a NIfTI file of two or three axes; stored (X, Y, Z), returned (Z, Y, X).

    Raises:
        DataError: if the file is broken or has other axes.
        MissingDependencyError: without nibabel.
    """
    try:
        import nibabel
    except ImportError:
        raise MissingDependencyError("nibabel", "medical") from None
    try:
        image: Any = nibabel.load(path)  # its static type is the base class, without voxels
        values = np.asarray(image.dataobj)
        zooms = [float(step) for step in image.header.get_zooms()[:3]]
    except (nibabel.filebasedimages.ImageFileError, OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken NIfTI file ({' '.join(str(error).split())}); download it again") from None
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 2:
        values, zooms = values[:, :, None], [*zooms[:2], 1.0]
    if values.ndim != 3:
        raise DataError(f"{path}: {values.shape}, expected one volume of two or three axes")
    return Grid(values.transpose(2, 1, 0), _spacing(zooms[::-1]))


def read_metaimage(path: Path) -> Grid:
    """Read a MetaImage: an ``.mhd`` header with its raw file, compressed or not.

    Raises:
        DataError: if the header or the raw file is missing, broken or of a kind that is not read.
    """
    header = _meta_header(path)
    try:
        size = [int(part) for part in header["DimSize"].split()]
        dtype = np.dtype(_MET[header["ElementType"]])
        zooms = [float(part) for part in header.get("ElementSpacing", header.get("ElementSize", "")).split()]
        data = path.parent / header["ElementDataFile"]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: broken MetaImage header ({error}); download it again") from None
    if header.get("ElementByteOrderMSB", header.get("BinaryDataByteOrderMSB", "False")).lower() == "true":
        dtype = dtype.newbyteorder(">")
    try:
        content = data.read_bytes()
        if header.get("CompressedData", "False").lower() == "true":
            content = zlib.decompress(content)
        values = np.frombuffer(content, dtype).reshape(size[::-1])
    except FileNotFoundError:
        raise DataError(f"{data}: no such file, but {path.name} names it; restore it") from None
    except (OSError, ValueError, zlib.error) as error:
        raise DataError(f"{data}: does not fit its header {path.name} ({error}); download both again") from None
    if values.ndim == 2:
        values, zooms = values[None], [*zooms[:2], 1.0]
    if values.ndim != 3:
        raise DataError(f"{path}: {size}, expected two or three axes")
    return Grid(values.astype(dtype.newbyteorder("=")), _spacing(zooms[::-1]))


def _meta_header(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from None
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _spacing(steps: Sequence[float]) -> Spacing | None:
    """Return (z, y, x), or None where a step is missing, zero or no number."""
    if len(steps) != 3 or not all(0 < step < np.inf for step in steps):
        return None
    return steps[0], steps[1], steps[2]


def _require_keys(path: Path, present: Sequence[str], keys: Sequence[str]) -> None:
    for key in keys:
        if key not in present:
            raise DataError(f"{path}: has no array '{key}'{suggest(key, present)}")
