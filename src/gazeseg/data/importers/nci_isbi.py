"""NCI-ISBI 2013, prostate T2 MR: raw DICOM series with NRRD labels, or prepared slices; GazeMedSeg's fixations.

Images and labels: Bloch et al., The Cancer Imaging Archive, 2015, doi 10.7937/K9/TCIA.2015.zF0vlOPv. Gaze: Zhong et
al., MICCAI 2024. A case is a slice ``<patient>_<n>``, n from 1 in the order of the label volume; the zones are merged;
slices whose truth shows no prostate are left out, as in the published lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from gazeseg.console import track, warn
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.images import IMAGE_SUFFIXES, read_image_size, safe_name, write_image
from gazeseg.data.importers._common import (
    PublishedSplit,
    check_mask_sizes,
    images_by_id,
    masks_by_id,
    read_gaze,
    with_splits,
)
from gazeseg.data.layout import staging, write_tables
from gazeseg.errors import DataError

if TYPE_CHECKING:
    from gazeseg.data.importers._volumes import Series

NAME: Final = "nci-isbi"
SUMMARY: Final = "NCI-ISBI 2013 prostate MR (DICOM + NRRD, or prepared slices) with the GazeMedSeg fixations"

GAZEMEDSEG: Final = PublishedSplit(
    name="GazeMedSeg's 789/117 slices",
    checksums={"train": "5b8b090114c35af8", "test": "1f565f21ba4995d2"},
    files={"train": "train.txt", "test": "test.txt"},
)
HELD_OUT: Final = 0.13  # without lists: as large as the published test split
_SLICE: Final = re.compile(r"(?P<patient>.+)_(?P<number>\d+)")


def run(
    out: Path,
    *,
    images: Path | None = None,
    masks: Path | None = None,
    gaze: Path | None = None,
    splits: Path | None = None,
    copy: bool = False,
) -> Dataset:
    """Make a dataset folder of NCI-ISBI.

    Which layout it is follows from the files: DICOM or NRRD files mean the raw one.

    Args:
        out: The folder to make.
        images: Folder of DICOM series, or of prepared slices ``<patient>_<n>.png``. Without it (prepared layout only),
            gaze and masks can be measured, but nothing trained.
        masks: Folder of NRRD label volumes named after the patients, or of prepared slices.
        gaze: ``nci-isbi_fixation.csv`` of GazeMedSeg.
        splits: Folder with ``train.txt`` and ``test.txt``; ``None`` draws an own split by patient.
        copy: Copy prepared slices into the folder; slices made from DICOM always lie in it.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
        MissingDependencyError: for the raw layout without pydicom and pynrrd.
    """
    if images is None and masks is None:
        raise DataError("nci-isbi: neither images nor masks; give --images, --masks or both")
    for folder in (images, masks):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: no such folder; give the one that holds the data")
    if _has(images, ".dcm") or _has(masks, ".nrrd"):
        if images is None:
            raise DataError(f"{masks}: label volumes need their DICOM series; give --images")
        return _raw(out, images, masks, gaze, splits)
    return _prepared(out, images, masks, gaze, splits, copy=copy)


def _has(folder: Path | None, suffix: str) -> bool:
    return folder is not None and any(path.suffix.lower() == suffix for path in folder.rglob("*"))


def _prepared(
    out: Path, images: Path | None, masks: Path | None, gaze: Path | None, splits: Path | None, *, copy: bool
) -> Dataset:
    found = images_by_id(images) if images is not None else {}
    truth = masks_by_id(masks, found) if images is not None else images_by_id(masks or Path())
    cases = []
    for case_id in found or truth:
        path = found.get(case_id)
        height, width = read_image_size(path or truth[case_id], case_id=case_id)
        patient, number = _patient(case_id)
        cases.append(Case(case_id, patient, "none", path, truth.get(case_id), height, width, None, patient, number - 1))
    check_mask_sizes(cases)
    if images is None:
        warn(f"{masks}: masks without images; gaze and masks can be measured, but nothing trained")
    assigned, note = with_splits(cases, splits, published=(GAZEMEDSEG,), held_out=HELD_OUT, strict=False)
    fixations = read_gaze(gaze, {case.case_id: case.size for case in cases})
    info = _describe(Roots(images=images, masks=masks), gaze, note)
    return write_dataset(out, info, assigned, fixations.values(), copy=copy)


def _raw(out: Path, images: Path, masks: Path | None, gaze: Path | None, splits: Path | None) -> Dataset:
    from gazeseg.data.importers._volumes import read_series

    series = read_series(images)
    labels = _label_files(masks, series)
    with staging(out) as folder:
        cases: list[Case] = []
        for patient in track(sorted(series), "reading volumes", len(series)):
            cases += _write_slices(folder, patient, series[patient], labels.get(patient))
        if not cases:
            raise DataError(f"{masks}: no label volume fits its DICOM series; give the series that they were drawn on")
        assigned, note = with_splits(cases, splits, published=(GAZEMEDSEG,), held_out=HELD_OUT, strict=False)
        fixations = read_gaze(gaze, {case.case_id: case.size for case in cases})
        roots = Roots(images=folder / "images", masks=folder / "masks" if masks is not None else None)
        write_tables(folder, _describe(roots, gaze, note), assigned, fixations.values(), final=out)
    return Dataset.load(out)


def _label_files(masks: Path | None, series: Mapping[str, object]) -> dict[str, Path]:
    """Return the label volume of each patient: its name is the patient's, or starts with it (``..._truth.nrrd``)."""
    found: dict[str, Path] = {}
    if masks is None:
        return found
    for path in sorted(path for path in masks.rglob("*") if path.suffix.lower() == ".nrrd"):
        patient = next((p for p in series if re.fullmatch(re.escape(p) + r"([_.\- ].*)?", path.stem)), None)
        if patient is None:
            warn(f"{path}: no DICOM series of this patient; left out")
        elif patient in found:
            raise DataError(f"{path}: '{patient}' has a label volume already ({found[patient].name}); keep one")
        else:
            found[patient] = path
    if not found:
        raise DataError(f"{masks}: no NRRD volume bears the name of a patient, e.g. '{min(series)}.nrrd'; rename them")
    return found


def _write_slices(folder: Path, patient: str, candidates: list[Series], label_file: Path | None) -> Iterator[Case]:
    from gazeseg.data.importers._volumes import pair, read_labels

    if label_file is None:
        if len(candidates) > 1:
            raise DataError(
                f"patient '{patient}': {len(candidates)} DICOM series and no labels; keep the T2 series only"
            )
        series = candidates[0]
        indices, labels = tuple(int(index) for index in series.reading_order), None
    else:
        volume = read_labels(label_file)
        fitting = pair(candidates, volume)
        if fitting is None:
            have = ", ".join(f"{len(c.files)} x {c.size[0]} x {c.size[1]}" for c in candidates)
            got = " x ".join(str(n) for n in volume.values.shape[::-1])
            warn(f"{label_file}: {got} (slices x H x W) fits no DICOM series of '{patient}' ({have}); left out")
            return
        series, indices, labels = fitting
    for number, index in enumerate(indices, 1):
        if labels is not None and not labels[number - 1].any():
            continue
        case_id = f"{patient}_{number}"
        image = folder / "images" / f"{safe_name(case_id)}.png"
        write_image(image, series.pixels(index))
        mask = None
        if labels is not None:
            mask = folder / "masks" / image.name
            write_image(mask, (labels[number - 1] > 0).astype(np.uint8))
        yield Case(case_id, patient, "none", image, mask, *series.size, series.spacing_mm, patient, number - 1)


def _patient(case_id: str) -> tuple[str, int]:
    match = _SLICE.fullmatch(case_id)
    if match is None:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"'{case_id}': expected <patient>_<slice number>; rename the slice ({kinds})")
    return match["patient"], int(match["number"])


def _describe(roots: Roots, gaze: Path | None, note: str) -> DatasetInfo:
    return DatasetInfo(
        name="NCI-ISBI",
        classes=("background", "prostate"),
        channels=1,
        modality="T2 MR",
        mask_encoding="binary",
        roots=roots,
        gaze=GazeInfo(kind="recorded", source="GazeMedSeg, EyeLink 1000") if gaze else GazeInfo(),
        split_note=f"{note}; only slices whose truth shows the prostate" if roots.masks is not None else note,
        supervision={"maps": {"canvas": "square768", "sigma": 50}, "pseudo": {"thresholds": [0.2, 0.4]}},
        citation="Bloch et al., NCI-ISBI 2013 Challenge, The Cancer Imaging Archive, 2015, "
        "doi 10.7937/K9/TCIA.2015.zF0vlOPv"
        + (
            "; Zhong et al., Weakly-supervised Medical Image Segmentation with Gaze Annotations, MICCAI 2024"
            * bool(gaze)
        ),
    )
