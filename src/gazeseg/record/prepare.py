"""From a folder of images to a data set that can be recorded on; DICOM loses its names on the way."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.console import say, warn
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots
from gazeseg.data.images import write_image
from gazeseg.data.importers import folder
from gazeseg.data.layout import staging, write_tables
from gazeseg.errors import DataError, MissingDependencyError

if TYPE_CHECKING:  # an extra
    from pydicom import Dataset as DicomObject

DICOM_SUFFIXES: Final = (".dcm", ".dicom", ".ima")
KEY_FILE: Final = "dicom_files.csv"
_WINDOWS: Final = 65535


@dataclass(frozen=True, slots=True)
class _Slice:
    pixels: npt.NDArray[Any]  # (H, W) uint16 or (H, W, 3) uint8
    patient: str
    spacing_mm: tuple[float, float] | None


def open_source(source: Path, out: Path | None) -> Dataset:
    """Open a data set folder, or make one of a folder of images.

    Args:
        source: Either; of a folder of images, ``out`` may be there from an earlier start.
        out: The data set to make.

    Raises:
        DataError: if there is nothing to show, or ``out`` is missing.
    """
    if (source / "dataset.yaml").is_file():
        if out is not None:
            raise DataError(f"{source}: is a data set already; leave --out away")
        return Dataset.load(source)
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; give a data set folder, or a folder of images")
    if out is None:
        raise DataError(f"{source}: a folder of images; name the data set folder to make of it with --out DS")
    if (out / "dataset.yaml").is_file():
        return Dataset.load(out)
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in DICOM_SUFFIXES)
    dataset = import_dicom(files, out, out.name) if files else folder.run(out, images=source)
    say(f"data set {out}: {len(dataset.cases)} images")
    return dataset


def import_dicom(files: list[Path], out: Path, name: str) -> Dataset:
    """Make a data set of DICOM files: 16-bit PNGs under running numbers, patients under numbers of their own.

    Nothing of the headers but pixels, spacing and which slices share a patient comes along. Which file became which
    case stands in ``dicom_files.csv``, which no page ever reads.

    Raises:
        DataError: if a file cannot be decoded.
        MissingDependencyError: without pydicom.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingDependencyError("pydicom", "medical") from None
    cases: list[Case] = []
    keys: list[tuple[str, str]] = []
    patients: dict[str, int] = {}
    colour = False
    with staging(out) as temporary:
        for path in files:
            for item in _slices(path, pydicom.dcmread):
                case_id = f"image-{len(cases) + 1:05d}"
                patient = patients.setdefault(item.patient or case_id, len(patients) + 1)
                target = temporary / "images" / f"{case_id}.png"
                write_image(target, item.pixels)
                colour |= item.pixels.ndim == 3
                height, width = item.pixels.shape[:2]
                cases.append(
                    Case(case_id, f"patient-{patient:05d}", "train", target, None, height, width, item.spacing_mm)
                )
                keys.append((case_id, str(path)))
        info = DatasetInfo(
            name=name,
            channels=3 if colour else 1,
            roots=Roots(images=temporary / "images"),
            split_note="all for training; not a published split",
        )
        write_tables(temporary, info, cases, [], final=out)
        with (temporary / KEY_FILE).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("case_id", "file"), *keys])
    return Dataset.load(out)


def _slices(path: Path, read: Any) -> Iterator[_Slice]:
    from pydicom.errors import InvalidDicomError

    try:
        item = read(path)
        frames = _frames(item)
    # pydicom raises any of these for files that are no DICOM, damaged, or compressed in a way nothing here decodes
    except (
        InvalidDicomError,
        OSError,
        ValueError,
        AttributeError,
        KeyError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be decoded as DICOM ({reason}); convert, replace or remove the file") from None
    if str(item.get("BurnedInAnnotation", "NO")).upper() == "YES":
        warn(f"{path}: says that its pixels carry annotations; a name may be readable on the image")
    spacing = item.get("PixelSpacing")
    sizes = (float(spacing[0]), float(spacing[1])) if spacing else None
    for frame in frames:
        yield _Slice(frame, str(item.get("PatientID", "")), sizes)


def _frames(item: DicomObject) -> list[npt.NDArray[Any]]:
    """The frames of an object: colours as uint8, grey as uint16, bright is high."""
    from pydicom.pixels.processing import apply_modality_lut

    values = item.pixel_array
    if int(item.get("SamplesPerPixel", 1)) == 3:
        stack = values if values.ndim == 4 else values[None]
        return [np.ascontiguousarray(frame.astype(np.uint8)) for frame in stack]
    stack = values if values.ndim == 3 else values[None]
    found = []
    for frame in stack:
        grey = np.asarray(apply_modality_lut(frame, item), np.float64)
        if item.get("PhotometricInterpretation") == "MONOCHROME1":
            grey = grey.max() - grey
        grey = grey - grey.min()
        fits = grey.max() <= _WINDOWS and np.array_equal(grey, np.rint(grey))
        grey = grey if fits else grey * (_WINDOWS / max(float(grey.max()), 1e-300))
        found.append(np.rint(grey).astype(np.uint16))
    return found
