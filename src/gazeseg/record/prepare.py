"""From a folder of images to a data set that can be recorded on; DICOM loses its names on the way."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from gazeseg.console import say, warn
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots
from gazeseg.data.dicom import SUFFIXES, read_object, require_pydicom, sixteen_bit_frames
from gazeseg.data.images import write_image
from gazeseg.data.importers import folder
from gazeseg.data.layout import staging, write_tables
from gazeseg.errors import DataError

KEY_FILE: Final = "dicom_files.csv"


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
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
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
    require_pydicom()
    cases: list[Case] = []
    keys: list[tuple[str, str]] = []
    patients: dict[str, int] = {}
    colour = False
    with staging(out) as temporary:
        for path in files:
            for item in _slices(path):
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


def _slices(path: Path) -> Iterator[_Slice]:
    item = read_object(path)
    if str(item.get("BurnedInAnnotation", "NO")).upper() == "YES":
        warn(f"{path}: says that its pixels carry annotations; a name may be readable on the image")
    spacing = item.get("PixelSpacing")
    sizes = (float(spacing[0]), float(spacing[1])) if spacing else None
    for frame in sixteen_bit_frames(path, item):
        yield _Slice(frame, str(item.get("PatientID", "")), sizes)
