"""NIfTI planes and volumes: slices along the last stored axis, turned as radiologists look at them.

A network has learnt images as people see them, while a NIfTI file may store its axes in any direction. So each slice is
turned by the file's affine: the patient's left, or back in a sagittal slice, is on the right; the back, or feet, is at
the bottom. Masks are turned back and stored on the voxels of the file, with its affine and header.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from gazeseg.data.images import stretch
from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.predict.sources.base import Frames, Grid, Kind, Source, stem_of
from gazeseg.types import UInt8Array

SUFFIXES: Final = (".nii", ".nii.gz")
_VERTICAL: Final = (2, 2, 1)  # axis through the slices (right, front, head) -> axis that a slice shows upright


@dataclass(frozen=True, slots=True)
class NiftiSource(Source):
    """One ``.nii`` or ``.nii.gz`` file."""

    kind: ClassVar[Kind] = "nifti"

    @classmethod
    def at(cls, path: Path, base: Path) -> NiftiSource:
        """Name the source after its place below ``base``."""
        relative = path.relative_to(base)
        return cls(path, stem_of(relative, suffix_of(path)), stem_of(relative, ""))

    def read(self) -> Frames:
        """Decode every slice. 8-bit values stay, others are stretched to 0..255 slice by slice, as in training."""
        header, affine, values = _load(self.path)
        values, notes = _finite(self.path, values)
        shape = values.shape[:-1] if values.ndim == 4 else values.shape  # colour lies behind the axes of space
        grid = _grid(header, affine, _stored_shape(header))
        if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
            notes += ("says nothing of its orientation; its rows are taken as they are stored",)
        colour = values.ndim == 4
        channels = [values[..., c] for c in range(3)] if colour else [values]
        stacks = [grid.frames(channel) for channel in channels]
        images = tuple(_to_uint8([stack[k] for stack in stacks]) for k in range(shape[2]))
        return Frames(images, tuple(f"{k + 1:04d}" for k in range(shape[2])), grid, notes=notes)


def suffix_of(path: Path) -> str:
    """Return ``.nii`` or ``.nii.gz`` as the file spells it, empty for any other file."""
    name = path.name.lower()
    return next((path.name[-len(suffix) :] for suffix in SUFFIXES if name.endswith(suffix)), "")


def _load(path: Path) -> tuple[Any, npt.NDArray[np.float64], npt.NDArray[Any]]:
    """Return header, affine and values (X, Y, Z) or (X, Y, Z, 3)."""
    try:
        import nibabel
    except ImportError:
        raise MissingDependencyError("nibabel", "medical") from None
    try:
        image: Any = nibabel.load(path)  # its static type is the base class, without voxels
        values = np.asarray(image.dataobj)
    except (nibabel.filebasedimages.ImageFileError, OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken NIfTI file ({' '.join(str(error).split())}); replace it") from None
    shape = values.shape
    space = shape + (1,) * (3 - len(shape))
    if len(space) < 3 or len(shape) < 2 or any(n != 1 for n in space[3:]) or 0 in shape:
        raise DataError(f"{path}: holds {shape}, expected a plane (X, Y) or a volume (X, Y, Z); split other axes off")
    values = values.reshape(space[:3])
    if values.dtype.names is not None:
        values = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1)
    if np.iscomplexobj(values):
        raise DataError(f"{path}: holds complex numbers; export their magnitude")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(f"{path}: its affine is singular or not finite; repair the header")
    return image.header, affine, values


def _stored_shape(header: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in header.get_data_shape())


def _finite(path: Path, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Say how many voxels are no number; :func:`gazeseg.data.images.stretch` gives them the lowest value."""
    if values.dtype.kind != "f":
        return values, ()
    bad = int(values.size - np.isfinite(values).sum())
    if bad == values.size:
        raise DataError(f"{path}: every voxel is NaN or infinite; export it again")
    return values, (f"{bad} of {values.size} voxels are NaN or infinite and count as the darkest",) if bad else ()


def _grid(header: Any, affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Grid:
    """Turn slices of the last axis to where a radiologist expects them."""
    import nibabel

    orientations: Any = nibabel.orientations  # has no types
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return Grid(affine, shape=shape, header=header)
    # per stored axis: the nearest of right, front, head, and 1 or -1 along it; shown are left, back and feet, all -1
    oriented = orientations.io_orientation(affine)
    axes = oriented[:, 0].astype(int)
    swapped = bool(axes[0] == _VERTICAL[axes[2]])
    h, v = (1, 0) if swapped else (0, 1)
    return Grid(
        affine,
        swapped=swapped,
        flip_h=bool(oriented[h, 1] > 0),
        flip_v=bool(oriented[v, 1] > 0),
        shape=shape,
        header=header,
    )


def _to_uint8(channels: list[npt.NDArray[Any]]) -> UInt8Array:
    """Return (H, W, C)."""
    if len(channels) == 1 and channels[0].dtype != np.uint8:
        return stretch(channels[0].astype(np.float64))[:, :, None]
    return np.ascontiguousarray(np.stack(channels, axis=-1).astype(np.uint8))
