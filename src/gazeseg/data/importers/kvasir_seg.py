"""Kvasir-SEG, 1,000 polyp images, with the fixations of GazeMedSeg.

Images and masks: Jha et al., "Kvasir-SEG: A Segmented Polyp Dataset", MMM 2020. Gaze: Zhong et al., "Weakly-supervised
Medical Image Segmentation with Gaze Annotations", MICCAI 2024. The split lists are not part of this package: they come
from the user's folder and are recognised by their checksums.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.images import read_image_size
from gazeseg.data.importers._common import (
    PublishedSplit,
    check_mask_sizes,
    images_by_id,
    masks_by_id,
    read_gaze,
    with_splits,
)

NAME: Final = "kvasir-seg"
SUMMARY: Final = "Kvasir-SEG polyp images with the GazeMedSeg fixations"

GAZEMEDSEG: Final = PublishedSplit(
    name="GazeMedSeg's 900/100",
    checksums={"train": "8f6bd134617d78ef", "test": "462faf32e5fc7a7b"},
    files={"train": "train.txt", "test": "test.txt"},
)
OFFICIAL: Final = PublishedSplit(
    name="the data set's own 880/120",
    checksums={"train": "2f5bfffaca619958", "val": "996dbc9819bd897d"},
    files={"train": "official_train.txt", "val": "official_val.txt"},
)
HELD_OUT: Final = 0.1  # without lists: as large as the published test split


def run(
    out: Path,
    *,
    images: Path,
    masks: Path | None = None,
    gaze: Path | None = None,
    splits: Path | None = None,
    copy: bool = False,
) -> Dataset:
    """Make a dataset folder of Kvasir-SEG.

    Args:
        out: The folder to make.
        images: Folder of the images, ``<id>.jpg``.
        masks: Folder of the masks, named as the images; ``None`` for none.
        gaze: ``kvasir_fixation.csv`` of GazeMedSeg; ``None`` for no gaze.
        splits: Folder with ``train.txt`` and ``test.txt`` (or, in their absence, ``official_train.txt`` and
            ``official_val.txt``); ``None`` draws an own split.
        copy: Copy images and masks instead of pointing at them.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
    """
    found = images_by_id(images)
    truth = masks_by_id(masks, found)
    cases = []
    for case_id, path in found.items():
        height, width = read_image_size(path, case_id=case_id)
        # the data set names no patients; each image counts as one
        cases.append(Case(case_id, case_id, "none", path, truth.get(case_id), height, width))
    check_mask_sizes(cases)
    assigned, note = with_splits(cases, splits, published=(GAZEMEDSEG, OFFICIAL), held_out=HELD_OUT)
    fixations = read_gaze(gaze, {case.case_id: case.size for case in cases})
    info = DatasetInfo(
        name="Kvasir-SEG",
        classes=("background", "polyp"),
        channels=3,
        modality="colonoscopy",
        mask_encoding="binary",  # RGB JPEG with soft edges
        roots=Roots(images=images, masks=masks),
        gaze=GazeInfo(kind="recorded", source="GazeMedSeg, EyeLink 1000") if gaze else GazeInfo(),
        split_note=note,
        supervision={"maps": {"canvas": "square768", "sigma": 70}, "pseudo": {"thresholds": [0.5, 0.3]}},
        citation="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020"
        + (
            "; Zhong et al., Weakly-supervised Medical Image Segmentation with Gaze Annotations, MICCAI 2024"
            * bool(gaze)
        ),
    )
    return write_dataset(out, info, assigned, fixations.values(), copy=copy)
