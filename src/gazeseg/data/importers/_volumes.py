"""DICOM series and NRRD label volumes, brought onto one raster by position in space.

File names and their order carry no meaning here: a slice's place is its ImagePositionPatient along the normal of the
series, and a label slice belongs to the image slice at the same place. Where a label file has no usable position of its
own, its slices are laid on the sorted series in the direction in which the instance numbers run, which is the order
readers and label tools show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.console import warn
from gazeseg.data.dicom import read_object, stored_frames
from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.types import FloatArray, UInt8Array

if TYPE_CHECKING:  # both are extras
    from pydicom import Dataset as DicomObject

_SIGN: Final = {"l": 1.0, "r": -1.0, "p": 1.0, "a": -1.0, "s": 1.0, "i": -1.0}  # NRRD direction -> DICOM's axis


@dataclass(frozen=True, slots=True)
class Series:
    """The slices of one DICOM series, sorted by position along the normal."""

    patient_id: str
    uid: str
    files: tuple[Path, ...]
    origin_mm: FloatArray  # (N, 3) centre of each slice's first pixel, patient coordinates
    axes: FloatArray  # (3, 3) unit vectors: along a row (x), down a column (y), normal
    spacing_mm: tuple[float, float]  # (y, x)
    size: tuple[int, int]  # (H, W)
    instance: npt.NDArray[np.int64]  # (N,) InstanceNumber

    @property
    def depth_mm(self) -> FloatArray:
        """(N,) position along the normal, rising."""
        depth: FloatArray = self.origin_mm @ self.axes[2]
        return depth

    @property
    def reading_order(self) -> npt.NDArray[np.int64]:
        """(N,) indices of the sorted slices in the direction in which the instance numbers run."""
        order = np.arange(len(self.files))
        trend = (order - order.mean()) @ (self.instance - self.instance.mean())
        return order[::-1] if trend < 0 else order

    def pixels(self, index: int) -> npt.NDArray[np.uint16]:
        """Read one slice, (H, W): the stored values, shifted to start at 0 where they are signed.

        Raises:
            DataError: if the pixels cannot be read.
        """
        path = self.files[index]
        header = read_object(path)
        frames = stored_frames(path, header)
        if len(frames) != 1 or frames[0].ndim != 2:
            raise DataError(
                f"{path}: holds {len(frames)} frames of {frames[0].shape}, expected one grey slice; export one slice a "
                "file"
            )
        values = frames[0].astype(np.int64)
        if header.get("PhotometricInterpretation") == "MONOCHROME1":
            values = values.max() - values  # there, bright means low
        if header.PixelRepresentation == 1:
            values += 2 ** (header.BitsStored - 1)  # a constant shift keeps the slices of a volume comparable
        return np.clip(values, 0, 65535).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Labels:
    """An NRRD label volume as stored: values (X, Y, Z), and its place in space where the header tells one."""

    path: Path
    values: npt.NDArray[np.integer]
    origin_mm: FloatArray | None  # (3,) centre of the first voxel, DICOM patient coordinates
    steps_mm: FloatArray | None  # (3, 3) step along each stored axis

    def __len__(self) -> int:
        return int(self.values.shape[2])


def read_series(folder: Path) -> dict[str, list[Series]]:
    """Find the DICOM series below a folder, by patient.

    Raises:
        DataError: if there is none, or a slice lacks its position, or two slices lie at one place.
        MissingDependencyError: without pydicom.
    """
    groups: dict[tuple[str, str], list[tuple[Path, DicomObject]]] = {}
    for path in dicom_files(folder):
        header = read_object(path, stop_before_pixels=True)
        patient = str(header.get("PatientID") or path.parent.name)
        groups.setdefault((patient, str(header.get("SeriesInstanceUID", ""))), []).append((path, header))
    if not groups:
        raise DataError(f"{folder}: no DICOM file (*.dcm) below it; give the folder of the series")
    found: dict[str, list[Series]] = {}
    for (patient, uid), slices in groups.items():
        found.setdefault(patient, []).append(_sorted_series(patient, uid, slices))
    return found


def dicom_files(folder: Path) -> list[Path]:
    """Return the ``*.dcm`` files below a folder, in no meaningful order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".dcm" and path.is_file())


def read_labels(path: Path) -> Labels:
    """Read an NRRD label volume.

    Raises:
        DataError: if it is broken or has not three axes.
        MissingDependencyError: without pynrrd.
    """
    try:
        import nrrd
    except ImportError:
        raise MissingDependencyError("pynrrd", "medical") from None
    try:
        values, header = nrrd.read(str(path))
    except (nrrd.NRRDError, OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: broken NRRD file ({' '.join(str(error).split())}); replace it") from None
    if values.ndim != 3 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{path}: {values.dtype} of shape {values.shape}, expected an integer volume of three axes")
    origin, steps = _placement(header)
    return Labels(path, values, origin, steps)


def pair(candidates: Sequence[Series], labels: Labels) -> tuple[Series, tuple[int, ...], UInt8Array] | None:
    """Lay a label volume on the series that it was drawn on.

    Returns:
        The series; for each label slice, in the order of the label file, the index of its image slice; and the labels
        (Z, H, W) on the raster of the images. ``None`` if no series fits.

    Raises:
        DataError: if more than one series fits.
    """
    fitting = [(series, placed) for series in candidates if (placed := _by_position(series, labels)) is not None]
    if not fitting:
        for series in candidates:
            if len(series.files) == len(labels) and series.size == labels.values.shape[1::-1]:
                order = tuple(int(index) for index in series.reading_order)
                fitting.append((series, (order, labels.values.transpose(2, 1, 0))))
        if fitting and labels.steps_mm is not None:
            warn(f"{labels.path}: its position does not fit the DICOM series; paired by slice order instead")
    if not fitting:
        return None
    if len(fitting) > 1:
        raise DataError(
            f"{labels.path}: fits {len(fitting)} DICOM series of '{candidates[0].patient_id}'; "
            "keep the T2 series that it was drawn on"
        )
    series, (indices, values) = fitting[0]
    return series, indices, np.ascontiguousarray(values).astype(np.uint8)


def _sorted_series(patient: str, uid: str, slices: Sequence[tuple[Path, DicomObject]]) -> Series:
    grids: set[tuple[tuple[int, int], tuple[float, float]]] = set()
    orientations, origins = np.empty((len(slices), 2, 3)), np.empty((len(slices), 3))
    for index, (path, header) in enumerate(slices):
        try:
            orientations[index] = np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
            origins[index] = np.array(header.ImagePositionPatient, dtype=np.float64)
            spacing_y, spacing_x = (float(value) for value in header.PixelSpacing)
            grids.add(((int(header.Rows), int(header.Columns)), (spacing_y, spacing_x)))
        except (AttributeError, TypeError, ValueError):
            raise DataError(
                f"{path}: has no position, orientation, spacing or size; slices cannot be paired without"
            ) from None
        if len(grids) > 1 or not np.allclose(orientations[index], orientations[0], atol=1e-3):
            raise DataError(f"{path}: another size, spacing or orientation than the rest of its series; remove it")
    row, column = orientations[0]
    axes = np.stack([row, column, np.cross(row, column)])
    depth = origins @ axes[2]
    order = np.argsort(depth, kind="stable")
    for before, after in pairwise(order):
        if depth[after] - depth[before] < 1e-3:
            raise DataError(f"{slices[after][0]}: at the same place as {slices[before][0].name}; keep one of the two")
    size, spacing = grids.pop()
    return Series(
        patient_id=patient,
        uid=uid,
        files=tuple(slices[index][0] for index in order),
        origin_mm=origins[order],
        axes=axes,
        spacing_mm=spacing,
        size=size,
        instance=np.array([int(slices[index][1].get("InstanceNumber") or 0) for index in order]),
    )


def _placement(header: Mapping[str, Any]) -> tuple[FloatArray | None, FloatArray | None]:
    """Origin and steps of an NRRD header in DICOM's frame, which counts to the left, back and head of the patient."""
    name = str(header.get("space", "")).lower()
    words = name.split("-") if "-" in name else list(name)
    signs = [_SIGN.get(word[:1], 0) for word in words[:3]]
    if len(signs) != 3 or 0 in signs or any(header.get(key) is None for key in ("space origin", "space directions")):
        return None, None
    origin = np.asarray(header["space origin"], dtype=np.float64)
    steps = np.asarray(header["space directions"], dtype=np.float64)
    if origin.shape != (3,) or steps.shape != (3, 3) or not (np.isfinite(steps).all() and np.isfinite(origin).all()):
        return None, None
    return origin * signs, steps * signs


def _by_position(series: Series, labels: Labels) -> tuple[tuple[int, ...], npt.NDArray[np.integer]] | None:
    """Match slices by their place in space; None where the label volume is not on this series' raster."""
    if labels.origin_mm is None or labels.steps_mm is None:
        return None
    values, origin, steps = labels.values, labels.origin_mm.copy(), labels.steps_mm.copy()
    spacing_y, spacing_x = series.spacing_mm
    wanted = series.axes[:2] * np.array([[spacing_x], [spacing_y]])
    for axis in (0, 1):  # a label file may store its rows or columns backwards
        if steps[axis] @ wanted[axis] < 0:
            origin += steps[axis] * (values.shape[axis] - 1)
            steps[axis] = -steps[axis]
            values = np.flip(values, axis)
    if series.size != values.shape[1::-1] or not np.allclose(steps[:2], wanted, atol=0.02 * min(spacing_y, spacing_x)):
        return None
    places = origin + np.arange(len(labels))[:, None] * steps[2]  # (Z, 3)
    distance = np.linalg.norm(places[:, None] - series.origin_mm[None], axis=2)  # (Z, N) mm
    nearest = distance.argmin(axis=1)
    gaps = np.diff(series.depth_mm)
    tolerance = 0.5 * min(spacing_y, spacing_x, float(gaps.min()) if len(gaps) else np.inf)
    if distance.min(axis=1).max() > tolerance or len(set(nearest.tolist())) < len(nearest):
        return None
    return tuple(int(index) for index in nearest), values.transpose(2, 1, 0)
