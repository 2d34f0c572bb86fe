"""A data set in nnU-Net's raw format: gaze supervises nnU-Net unchanged, what it leaves open is the ignore label.

::

    OUT/DatasetXXX_Name/dataset.json          channel_names, labels, numTraining, file_ending
                        imagesTr/<case>_0000.png   grey or RGB, lossless
                        labelsTr/<case>.png        0..K-1, and K for ignore
                        imagesTs/, labelsTs/       the test split; true masks where there are some
                        splits_final.json          for nnUNet_preprocessed/DatasetXXX_Name: five folds by patient

Format: nnU-Net v2, documentation/dataset_format.md and ignore_label.md (Isensee et al., Nature Methods 2021).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gazeseg import __version__
from gazeseg.console import track
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import safe_name, write_image
from gazeseg.data.layout import staging
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.data.schema import SIMULATED
from gazeseg.errors import ConfigError, DataError
from gazeseg.types import IGNORE, UInt8Array

FOLDS: Final = 5  # nnU-Net's own number


def export_nnunet(
    dataset: Dataset,
    out: Path,
    *,
    number: int = 501,
    pseudo: Path | None = None,
) -> Path:
    """Write the train, val and test cases of a data set as ``DatasetXXX_Name`` below ``out``.

    Labels of the training cases are true masks, or with ``pseudo`` what gaze says: a class where all nested levels
    agree, ignore between them. Test labels are true masks always: nnU-Net does not train on them.

    Args:
        dataset: The data set; cases without a label for training are left out and counted in ``dataset.json``.
        out: The folder that nnU-Net knows as ``nnUNet_raw``; made if missing.
        number: The XXX, 1..999.
        pseudo: A folder of pseudo-masks instead of true masks.

    Returns:
        The folder of the data set.

    Raises:
        ConfigError: for another number.
        DataError: if no training case has a label, an image is broken, or the folder is there already.
    """
    if not 1 <= number <= 999:
        raise ConfigError(f"nnU-Net numbers data sets from 1 to 999, got {number}; choose --id in that range")
    name = re.sub(r"[^A-Za-z0-9]+", "", dataset.info.name) or "Gaze"
    target = out / f"Dataset{number:03d}_{name}{'Gaze' if pseudo is not None else ''}"
    teachers = PseudoFolder.load(pseudo) if pseudo is not None else None
    training = [case for split in ("train", "val") for case in dataset.split(split)]
    taught = [case for case in training if _has_label(dataset, case, teachers)]
    if not taught:
        what = "no training case has a pseudo-mask" if teachers is not None else "no training case has a mask"
        raise DataError(f"{dataset.root}: {what}; {'run gazeseg masks' if teachers else 'use --pseudo-labels'}")
    ignore = dataset.num_classes
    ignored = 0
    with staging(target) as folder:
        for case in track(taught, "export", len(taught)):
            labels = _label(dataset, case, teachers)
            ignored += int(np.count_nonzero(labels == IGNORE))
            _write(folder, "Tr", dataset, case, labels, ignore)
        test = dataset.split("test")
        for case in track(test, "export test", len(test)):
            _write(folder, "Ts", dataset, case, dataset.mask(case) if case.mask is not None else None, ignore)
        document = _describe(dataset, teachers, len(taught), left_out=len(training) - len(taught), ignored=ignored)
        (folder / "dataset.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        folds = json.dumps(_folds(taught), indent=2)
        (folder / "splits_final.json").write_text(folds + "\n", encoding="utf-8")
    return target


def agreed(levels: UInt8Array) -> UInt8Array:
    """Return (H, W) from nested levels (L, H, W): the class where all agree, 255 elsewhere.

    Examples:
        >>> agreed(np.array([[[0, 0, 1]], [[0, 1, 1]]], np.uint8)).tolist()
        [[0, 255, 1]]
    """
    return np.where((levels == levels[0]).all(axis=0), levels[0], np.uint8(IGNORE)).astype(np.uint8)


def _has_label(dataset: Dataset, case: Case, teachers: PseudoFolder | None) -> bool:
    if case.image is None:
        return False
    if teachers is None:
        return case.mask is not None
    return len(dataset.fixations[case.case_id]) > 0 and teachers.file("levels", case.case_id).is_file()


def _label(dataset: Dataset, case: Case, teachers: PseudoFolder | None) -> UInt8Array:
    if teachers is None:
        return dataset.mask(case)
    labels = agreed(teachers.levels(case.case_id))
    if labels.shape != case.size:
        raise DataError(
            f"{teachers.file('levels', case.case_id)}: is {labels.shape}, the image {case.size}; make it again"
        )
    return labels


def _write(folder: Path, part: str, dataset: Dataset, case: Case, labels: UInt8Array | None, ignore: int) -> None:
    name = safe_name(case.case_id)
    pixels = dataset.image(case)
    write_image(folder / f"images{part}" / f"{name}_0000.png", pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if labels is not None:
        stored = np.where(labels == IGNORE, np.uint8(ignore), labels).astype(np.uint8)
        write_image(folder / f"labels{part}" / f"{name}.png", stored)


def _describe(
    dataset: Dataset, teachers: PseudoFolder | None, count: int, *, left_out: int, ignored: int
) -> dict[str, Any]:
    info = dataset.info
    labels: dict[str, int] = {name: index for index, name in enumerate(info.classes)}
    labels = {"background": 0, **{name: index for name, index in labels.items() if index}}  # nnU-Net wants this name
    if ignored:
        labels["ignore"] = dataset.num_classes  # the highest, as nnU-Net wants it
    channels = {"0": "R", "1": "G", "2": "B"} if info.channels == 3 else {"0": info.modality or "grey"}
    gaze = info.gaze.kind if teachers is not None else "none"
    return {
        "channel_names": channels,
        "labels": labels,
        "numTraining": count,
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "name": info.name,
        "reference": info.citation,
        "description": (
            f"exported by gazeseg {__version__}; training labels: "
            + ("true masks" if teachers is None else _gaze_words(teachers, gaze))
            + (f"; {left_out} training cases without a label left out" if left_out else "")
        ),
    }


def _gaze_words(teachers: PseudoFolder, gaze: str) -> str:
    levels = ", ".join(f"{t:g}" for t in teachers.thresholds)
    kind = SIMULATED if gaze == "simulated" else f"{gaze} gaze"
    return f"pseudo-masks of {kind} at the levels {levels}, ignore where they differ; test labels are true masks"


def _folds(cases: Sequence[Case]) -> list[Mapping[str, list[str]]]:
    """Return nnU-Net's folds: the val split where there is one, else five, each patient in one of them alone."""
    if any(case.split == "val" for case in cases):
        groups = [{case.patient_id for case in cases if case.split == "val"}]
    else:
        patients = np.random.default_rng(0).permutation(sorted({case.patient_id for case in cases}))
        groups = [set(part.tolist()) for part in np.array_split(patients, min(FOLDS, len(patients)))]
    return [
        {
            side: [safe_name(case.case_id) for case in cases if (case.patient_id in held_out) == (side == "val")]
            for side in ("train", "val")
        }
        for held_out in groups
    ]
