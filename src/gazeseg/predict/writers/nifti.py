"""Masks and maps as NIfTI, on the voxels of their source."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazeseg.data.images import write_bytes
from gazeseg.errors import MissingDependencyError
from gazeseg.predict.sources.base import Frames, UnfitError
from gazeseg.types import Float32Array, UInt8Array


def write_masks(stem: Path, labels: UInt8Array, frames: Frames) -> list[Path]:
    """Write class indices (N, H, W) as uint8 ``.nii.gz``; return the file.

    Raises:
        UnfitError: if the source has no regular grid.
        DataError: if the file cannot be written.
    """
    return _write(stem, labels, frames)


def write_maps(stem: Path, values: Float32Array, frames: Frames) -> list[Path]:
    """Write maps (N, H, W) as float32 ``.nii.gz``; return the file.

    Raises:
        UnfitError: as for masks.
    """
    return _write(stem, values.astype(np.float32), frames)


def _write(stem: Path, values: npt.NDArray[Any], frames: Frames) -> list[Path]:
    try:
        import nibabel
    except ImportError:
        raise MissingDependencyError("nibabel", "medical") from None
    nifti: Any = nibabel  # most of it has no types
    if frames.grid is None:
        raise UnfitError(f"{frames.no_grid}, so that no NIfTI file can state its geometry")
    volume = np.ascontiguousarray(frames.grid.volume(values))
    if frames.grid.header is None:
        image = nifti.Nifti1Image(volume, frames.grid.affine)
        image.set_qform(frames.grid.affine, code=1)
        image.set_sform(frames.grid.affine, code=1)
        image.header.set_xyzt_units("mm")
    else:
        # the header keeps q-form, s-form and their codes, units and pixdim of the source bit by bit
        header = frames.grid.header.copy()
        header.set_data_dtype(volume.dtype)
        header.set_slope_inter(1, 0)
        header["cal_max"] = header["cal_min"] = 0
        kind = nifti.Nifti2Image if isinstance(header, nifti.Nifti2Header) else nifti.Nifti1Image
        image = kind(volume, None, header)
    target = stem.with_name(f"{stem.name}.nii.gz")
    # masks are nearly empty: level 1 is small enough
    write_bytes(target, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
    return [target]
