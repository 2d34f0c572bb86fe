"""DICOM: series of single images sorted by position, multi-frame objects, and frames without a place in space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from gazeseg.data.dicom import PIXELS, SUFFIXES, eight_bit_frames, read_object, require_pydicom
from gazeseg.errors import DataError
from gazeseg.predict.sources.base import DicomOrigin, Frames, Grid, Kind, Source, stem_of
from gazeseg.types import FloatArray

if TYPE_CHECKING:  # an extra
    from pydicom import Dataset

_NO_IMAGES: Final = ("SEG", "RTSTRUCT", "SR", "KO", "PR", "REG", "RTDOSE", "RTPLAN", "DOC")  # modalities
_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts to the left and back, NIfTI to the right and front
_SAME_MM: Final = 1e-3  # two slices nearer than this are at one place
_REGULAR: Final = 0.05  # gaps may differ by this share of their median; headers round positions to some digits


@dataclass(frozen=True, slots=True)
class DicomSource(Source):
    """One series, or one object of its own."""

    kind: ClassVar[Kind] = "dicom"

    files: tuple[Path, ...]

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files that it is made of."""
        return self.files

    def read(self) -> Frames:
        """Decode every frame, sorted by position along the normal where there are positions."""
        objects = [read_object(path) for path in self.files]
        places = [place for item in objects for place in _places(item)]
        frames, names = [], []
        for path, item in zip(self.files, objects, strict=True):
            decoded = eight_bit_frames(path, item)
            frames += decoded
            names += [path.stem] if len(decoded) == 1 else [f"{k + 1:04d}" for k in range(len(decoded))]
            for name in PIXELS:  # what refers to the object needs its header alone
                if name in item:
                    delattr(item, name)
        if len(set(names)) < len(names):
            names = [f"{k + 1:04d}" for k in range(len(names))]
        if any(place is None for place in places) or len(places) != len(frames):
            origin = DicomOrigin(tuple(objects), tuple(range(len(frames))), None)
            return Frames(tuple(frames), tuple(names), dicom=origin, no_grid="has no position in space")
        where = _sort(self.path, [place for place in places if place is not None], self._labels(len(frames)))
        order = where.order
        headers = tuple(objects) if len(objects) < len(frames) else tuple(objects[k] for k in order)
        return Frames(
            tuple(frames[k] for k in order),
            tuple(names[k] for k in order),
            grid=where.grid,
            dicom=DicomOrigin(headers, order if len(objects) < len(frames) else tuple(range(len(frames))), where.steps),
            notes=(where.gap,) if where.gap else (),
            no_grid=where.gap,
        )

    def _labels(self, count: int) -> list[str]:
        if len(self.files) == count:
            return [path.name for path in self.files]
        return [f"frame {k + 1}" for k in range(count)]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one frame lies, in DICOM's patient frame, mm."""

    origin: FloatArray  # (3,)
    axes: FloatArray  # (2, 3) along a row, down a column
    spacing: tuple[float, float]  # y, x
    size: tuple[int, int]
    thickness: float


@dataclass(frozen=True, slots=True)
class _Sorted:
    order: tuple[int, ...]
    grid: Grid | None
    steps: tuple[float, float, float]
    gap: str  # what is irregular, empty for a regular stack


def find_dicom(files: Iterable[Path], base: Path) -> tuple[list[DicomSource], dict[Path, str], list[Path]]:
    """Group DICOM files into sources.

    Returns:
        The sources; files that cannot be read, with the reason; DICOM files that hold no image.

    Raises:
        MissingDependencyError: without pydicom.
    """
    require_pydicom()
    series: dict[str, list[Path]] = defaultdict(list)
    sources, failures, others = [], {}, []
    tags = ["SeriesInstanceUID", "NumberOfFrames", "ImagePositionPatient", "Rows", "Modality", "SOPInstanceUID"]
    for path in files:
        try:
            header = read_object(path, stop_before_pixels=True, specific_tags=tags)
        except DataError as error:
            failures[path] = str(error).removeprefix(f"{path}: ")
            continue
        if header.get("Rows") is None and not header.get("SOPInstanceUID"):
            failures[path] = "broken DICOM file (its header ends early); replace it"
        elif header.get("Rows") is None or header.get("Modality") in _NO_IMAGES:
            others.append(path)
        elif header.get("ImagePositionPatient") is not None and int(header.get("NumberOfFrames") or 1) == 1:
            series[str(header.get("SeriesInstanceUID", ""))].append(path)
        else:
            relative = path.relative_to(base)
            suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
            sources.append(DicomSource(path, stem_of(relative, suffix), stem_of(relative, ""), (path,)))
    return sources + list(_name_series(series, base)), failures, others


def is_dicom(path: Path) -> bool:
    """True for a DICOM file by its ending or, without one, by its preamble."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _name_series(series: dict[str, list[Path]], base: Path) -> Iterable[DicomSource]:
    """Name a series after its folder, or after its UID where a folder holds several."""
    folders = {uid: _common_folder(files) for uid, files in series.items()}
    shared = [folder for folder in folders.values() if list(folders.values()).count(folder) > 1]
    for uid, files in series.items():
        folder = folders[uid]
        relative = PurePosixPath(folder.relative_to(base).as_posix())
        if len(files) == 1:  # a slice alone is better known by its file
            own = files[0].relative_to(base)
            suffix = own.suffix if own.suffix.lower() in SUFFIXES else ""
            yield DicomSource(files[0], stem_of(own, suffix), stem_of(own, ""), tuple(files))
            continue
        whole = relative if relative.name else PurePosixPath(base.resolve().name or "series")
        name = relative / uid if folder in shared else whole
        yield DicomSource(folder, name, whole / uid, tuple(sorted(files)))


def _common_folder(files: list[Path]) -> Path:
    folder = files[0].parent
    while not all(path.is_relative_to(folder) for path in files):
        folder = folder.parent
    return folder


def _places(item: Dataset) -> list[_Place | None]:
    """Return the place of each frame of an object, None where its header tells none."""
    count = int(item.get("NumberOfFrames") or 1)
    size = (int(item.Rows), int(item.Columns))
    if "PerFrameFunctionalGroupsSequence" not in item:
        return [_place(item, item, item, size)] if count == 1 else [None] * count
    shared = item.SharedFunctionalGroupsSequence[0] if item.get("SharedFunctionalGroupsSequence") else None
    found: list[_Place | None] = []
    for frame in item.PerFrameFunctionalGroupsSequence:
        position, orientation, measures = (
            _group(frame, shared, name)
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        whole = position is not None and orientation is not None and measures is not None
        found.append(_place(position, orientation, measures, size) if whole else None)
    return found


def _group(frame: Dataset, shared: Dataset | None, name: str) -> Any:
    for holder in (frame, shared):
        if holder is not None and holder.get(name):
            return holder[name][0]
    return None


def _place(position: Any, orientation: Any, measures: Any, size: tuple[int, int]) -> _Place | None:
    try:
        origin = np.array(position.ImagePositionPatient, dtype=np.float64)
        axes = np.array(orientation.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        spacing_y, spacing_x = (float(value) for value in measures.PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        return None
    thickness = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0)
    whole = np.isfinite(origin).all() and np.isfinite(axes).all() and origin.shape == (3,)
    return _Place(origin, axes, (spacing_y, spacing_x), size, abs(thickness)) if whole else None


def _sort(path: Path, places: list[_Place], labels: list[str]) -> _Sorted:
    """Order slices along the normal of their common orientation.

    Raises:
        DataError: for several orientations, sizes or spacings in one series, or two slices at one place.
    """
    first = places[0]
    turned = [label for p, label in zip(places, labels, strict=True) if not np.allclose(p.axes, first.axes, atol=1e-3)]
    if turned:
        raise DataError(
            f"{path}: {len(turned)} of {len(places)} slices have another orientation than '{labels[0]}', e.g. "
            f"'{turned[0]}'; keep each orientation in a series of its own"
        )
    unlike = [
        label
        for p, label in zip(places, labels, strict=True)
        if p.size != first.size or not np.allclose(p.spacing, first.spacing, rtol=1e-3)
    ]
    if unlike:
        raise DataError(
            f"{path}: '{unlike[0]}' has another size or pixel spacing than '{labels[0]}'; remove one of them"
        )
    row, column = first.axes
    normal = np.cross(row, column)
    depth = np.array([place.origin @ normal for place in places])
    order = tuple(int(k) for k in np.argsort(depth, kind="stable"))
    for before, after in pairwise(order):
        if depth[after] - depth[before] < _SAME_MM:
            raise DataError(
                f"{path}: '{labels[after]}' is at the same place as '{labels[before]}'; keep one of the two"
            )
    gaps = np.diff(depth[list(order)])
    step = float(np.median(gaps)) if len(gaps) else first.thickness
    steps = (step, *first.spacing)
    wide = np.flatnonzero(np.abs(gaps - step) > _REGULAR * step)
    if len(wide):
        k = int(wide[np.argmax(np.abs(gaps[wide] - step))])
        gap = f"{gaps[k]:.2f} mm between '{labels[order[k]]}' and '{labels[order[k + 1]]}', elsewhere {step:.2f} mm"
        what = "a slice is missing" if gaps[k] > 1.5 * step else "unequal gaps"
        return _Sorted(order, None, steps, f"{what}: {gap}")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    # the line through the slices, which a sheared series does not draw along the normal
    ends = places[order[-1]].origin - places[order[0]].origin
    affine[:3, 2] = ends / (len(order) - 1) if len(order) > 1 else normal * step
    affine[:3, 3] = places[order[0]].origin
    return _Sorted(order, Grid(_RAS @ affine), steps, "")
