"""A user's own images, with whatever else there is: masks, a fixation table, patient ids, split lists."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.images import is_grey, read_image_size
from gazeseg.data.importers._common import check_mask_sizes, images_by_id, masks_by_id, read_gaze, with_splits
from gazeseg.errors import DataError, near_miss, suggest

NAME: Final = "folder"
SUMMARY: Final = "your own images, with what else you have"

HELD_OUT: Final = 0.2  # without lists: enough test cases for a confidence interval in small sets


def run(
    out: Path,
    *,
    images: Path,
    masks: Path | None = None,
    gaze: Path | None = None,
    splits: Path | None = None,
    patients: Path | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    copy: bool = False,
) -> Dataset:
    """Make a dataset folder of a folder of images; sub-folders are searched through.

    A case id is the image's name without its ending, or its path below ``images`` where names repeat.

    Args:
        out: The folder to make.
        images: Folder of PNG, JPEG, TIFF or BMP images.
        masks: Folder of masks with the images' names; images without one are kept.
        gaze: A fixation table, ours or GazeMedSeg's; images without gaze are kept.
        splits: Folder with ``train.txt``, ``val.txt``, ``test.txt``, one id a line; ``None`` draws an own split.
        patients: CSV with the columns ``case_id`` and ``patient_id``; without it each image is its own patient.
        classes: Class names, background first.
        name: Name of the data set; the images' folder by default.
        copy: Copy images and masks instead of pointing at them.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
    """
    found = images_by_id(images, recursive=True, without=masks)
    truth = masks_by_id(masks, found, recursive=True)
    patient = _read_patients(patients, found) if patients is not None else {}
    cases = []
    for case_id, path in found.items():
        height, width = read_image_size(path, case_id=case_id)
        cases.append(Case(case_id, patient.get(case_id, case_id), "none", path, truth.get(case_id), height, width))
    check_mask_sizes(cases)
    assigned, note = with_splits(cases, splits, held_out=HELD_OUT)
    fixations = read_gaze(gaze, {case.case_id: case.size for case in cases})
    channels: Literal[1, 3] = 1 if all(is_grey(path) for path in found.values()) else 3
    info = DatasetInfo(
        name=name or images.resolve().name,
        classes=_class_names(classes),
        channels=channels,
        roots=Roots(images=images, masks=masks),
        gaze=GazeInfo(kind="recorded", source=gaze.name) if gaze else GazeInfo(),
        split_note=note,
    )
    return write_dataset(out, info, assigned, fixations.values(), copy=copy)


def _class_names(classes: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(classes or ("background", "foreground"))
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"classes {', '.join(names)}: name background and at least one class, each once")
    return names


def _read_patients(file: Path, known: Iterable[str]) -> dict[str, str]:
    known = set(known)
    found: dict[str, str] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            for column in ("case_id", "patient_id"):
                if column not in (reader.fieldnames or ()):
                    raise DataError(f"{file}: column '{column}' is missing{suggest(column, reader.fieldnames or ())}")
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                case_id = unicodedata.normalize("NFC", (row["case_id"] or "").strip())
                patient_id = (row["patient_id"] or "").strip()
                if case_id not in known:
                    raise DataError(f"{where}: no image '{case_id}'{near_miss(case_id, known)}")
                if not patient_id:
                    raise DataError(f"{where}: patient_id of '{case_id}' is empty; give one or remove the line")
                if found.setdefault(case_id, patient_id) != patient_id:
                    raise DataError(f"{where}: '{case_id}' is of '{found[case_id]}' already; keep one line a case")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; give a table with case_id and patient_id") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a CSV table ({error})") from None
    if len(found) < len(known):
        missing = sorted(known - set(found))
        raise DataError(f"{file}: {len(missing)} images have no patient, e.g. '{missing[0]}'; add a line for each")
    return found
