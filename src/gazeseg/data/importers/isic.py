"""ISIC skin lesions (challenges of 2016, 2017 and 2018, lesion segmentation), with simulated gaze where wanted.

The archives as they unpack, side by side in one folder or one level deeper; images are ``ISIC_<7 digits>.jpg``::

    2016  ISBI2016_ISIC_Part1_{Training,Test}_Data     ISBI2016_ISIC_Part1_{Training,Test}_GroundTruth
          masks <id>_Segmentation.png                  900 training, 379 test
    2017  ISIC-2017_{Training,Validation,Test_v2}_Data ISIC-2017_{Training,Validation,Test_v2}_Part1_GroundTruth
          masks <id>_segmentation.png; <id>_superpixels.png lies beside each image   2,000 / 150 / 600
    2018  ISIC2018_Task1-2_{Training,Validation,Test}_Input   ISIC2018_Task1_{Training,Validation,Test}_GroundTruth
          masks <id>_segmentation.png                  2,594 / 100 / 1,000
    prepared  images/, masks/ with the images' names, and train.txt, val.txt, test.txt (those that there are)

2016: Gutman et al., "Skin Lesion Analysis toward Melanoma Detection", arXiv 1605.01397. 2017: Codella et al., arXiv
1710.05006. 2018: Codella et al., arXiv 1902.03368, images of Tschandl et al., "The HAM10000 dataset", 2018.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gazeseg.console import warn
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.images import read_image_size
from gazeseg.data.importers._common import check_mask_sizes, images_by_id, masks_by_id, read_gaze, with_splits
from gazeseg.data.simulated import simulate_gaze as simulate
from gazeseg.data.split import shared_images
from gazeseg.errors import ConfigError, DataError
from gazeseg.types import Fixations, Split

NAME: Final = "isic"
SUMMARY: Final = "ISIC skin lesions of 2016, 2017 or 2018, with simulated gaze"

Layout = Literal["2016", "2017", "2018", "prepared"]

MASK_ENDING: Final = "_segmentation"
BESIDE_IMAGES: Final = "_superpixels"
HELD_OUT: Final = 0.2  # where only a training part is there: as in the 800/200 that the gaze papers report
NO_PATIENTS: Final = "no patient ids are published: images of one patient may stand in two splits"


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a challenge: the folders of its archives, and how many images were published."""

    split: Split
    images: str
    masks: str
    count: int


PARTS: Final[Mapping[str, tuple[Part, ...]]] = {
    "2016": (
        Part("train", "ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth", 900),
        Part("test", "ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth", 379),
    ),
    "2017": (
        Part("train", "ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth", 2000),
        Part("val", "ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth", 150),
        Part("test", "ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth", 600),
    ),
    "2018": (
        Part("train", "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth", 2594),
        Part("val", "ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth", 100),
        Part("test", "ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth", 1000),
    ),
}
CITATIONS: Final[Mapping[str, str]] = {
    "2016": "Gutman et al., Skin Lesion Analysis toward Melanoma Detection (ISBI 2016), arXiv:1605.01397",
    "2017": "Codella et al., Skin Lesion Analysis Toward Melanoma Detection (ISBI 2017), arXiv:1710.05006",
    "2018": "Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv:1902.03368; Tschandl et al., "
    "The HAM10000 dataset, Scientific Data 2018",
    "prepared": "Codella et al., Skin Lesion Analysis Toward Melanoma Detection, arXiv:1710.05006",
}


def run(
    out: Path,
    *,
    root: Path,
    layout: Layout | None = None,
    gaze: Path | None = None,
    simulate_gaze: bool = False,
    seed: int = 0,
    keep_twins: bool = False,
    copy: bool = False,
) -> Dataset:
    """Make a dataset folder of one ISIC challenge.

    The challenge's training, validation and test parts become the splits; of a training part alone, a seeded share is
    held out. An image that stands in two splits is taken out of the one that is trained on, and told.

    Args:
        out: The folder to make.
        root: The folder that holds the unpacked archives, or ``images/`` and ``masks/``.
        layout: Which of the layouts to read; ``None`` looks which one is there.
        gaze: A fixation table of your own; ``None`` for none.
        simulate_gaze: Draw the gaze of the training cases from their masks; it is marked as simulated everywhere.
        seed: Decides the simulated gaze.
        keep_twins: Leave images in two splits where the published lists have them.
        copy: Copy images and masks instead of pointing at them.

    Raises:
        ConfigError: if gaze is both given and to be simulated.
        DataError: if the folders of no layout are there, or something is broken; nothing is written then.
    """
    if gaze is not None and simulate_gaze:
        raise ConfigError("give either --gaze CSV or --simulate-gaze: recorded and simulated gaze are never mixed")
    layout = layout or _recognise(root)
    if layout == "prepared":
        cases, note = _prepared(root)
    else:
        cases, note = _challenge(root, layout)
    check_mask_sizes(cases)
    if not keep_twins:
        cases, dropped = _without_twins(cases)
        note += dropped
    fixations: Mapping[str, Fixations]
    if simulate_gaze:
        made = simulate(cases, seed=seed, encoding="binary")
        fixations, gaze_info = made.fixations, made.info
    else:
        fixations = read_gaze(gaze, {case.case_id: case.size for case in cases})
        gaze_info = GazeInfo(kind="recorded", source=gaze.name) if gaze else GazeInfo()
    info = DatasetInfo(
        name="ISIC" if layout == "prepared" else f"ISIC {layout}",
        classes=("background", "lesion"),
        channels=3,
        modality="dermoscopy",
        mask_encoding="binary",
        roots=Roots(images=root, masks=root if any(case.mask for case in cases) else None),
        gaze=gaze_info,
        split_note=f"{note}; {NO_PATIENTS}",
        supervision={"maps": {"canvas": "square768", "sigma": 70}, "pseudo": {"thresholds": [0.5, 0.3]}},
        citation=CITATIONS[layout],
    )
    return write_dataset(out, info, cases, fixations.values(), copy=copy)


def _recognise(root: Path) -> Layout:
    """Return the one layout whose training images are there."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that holds the unpacked ISIC archives")
    found: list[Layout] = [year for year in ("2016", "2017", "2018") if _find(root, PARTS[year][0].images)]
    if len(found) > 1:
        raise DataError(f"{root}: holds ISIC {' and '.join(found)}; say which one with --layout {found[-1]}")
    if found:
        return found[0]
    if (root / "images").is_dir():
        return "prepared"
    stray = next((part for parts in PARTS.values() for part in parts if _find(root, part.images, part.masks)), None)
    if stray is not None:
        training = next(parts[0] for parts in PARTS.values() if stray in parts)
        raise DataError(
            f"{root}: {stray.images if _find(root, stray.images) else stray.masks} is there but the training images "
            f"are not; unpack {training.images} (and {training.masks}) beside it"
        )
    wanted = "; ".join(f"ISIC {year}: {parts[0].images} and {parts[0].masks}" for year, parts in PARTS.items())
    raise DataError(
        f"{root}: no ISIC layout; expected folders are {wanted}; or images, masks and train.txt of a prepared set"
    )


def _find(root: Path, *names: str) -> Path | None:
    """Return the folder of one of these names in ``root`` or one level deeper; unpacking may have doubled the name."""
    for name in names:
        for folder in (root / name, *sorted(root.glob(f"*/{name}"))):
            if folder.is_dir():
                return folder / name if (folder / name).is_dir() else folder
    return None


def _challenge(root: Path, year: str) -> tuple[tuple[Case, ...], str]:
    """Return the cases of a challenge in its own splits, and what to say of these."""
    parts = [(part, folder) for part in PARTS[year] if (folder := _find(root, part.images)) is not None]
    if not parts or parts[0][0].split != "train":
        first = PARTS[year][0]
        raise DataError(f"{root}: no training images of ISIC {year}; unpack {first.images} and {first.masks} there")
    cases: list[Case] = []
    for part, folder in parts:
        masks = _find(root, part.masks)
        if masks is None:
            warn(f"{root}: {part.masks} is not there, so the {part.split} cases have no mask")
        cases += _cases(folder, masks, part.split)
    counts = ", ".join(f"{sum(c.split == p.split for c in cases):,} {p.split}" for p, _ in parts)
    short = [p for p, _ in parts if sum(c.split == p.split for c in cases) != p.count]
    if short:
        published = ", ".join(f"{part.count:,} {part.split}" for part in short)
        warn(f"{root}: ISIC {year} has {published} images; found {counts}")
        counts += f"; published are {published}"
    if len(parts) == 1:
        assigned, note = with_splits(cases, None, held_out=HELD_OUT)
        return assigned, f"{note}; the training part of ISIC {year} ({counts})"
    return tuple(cases), f"the splits of ISIC {year} ({counts})"


def _prepared(root: Path) -> tuple[tuple[Case, ...], str]:
    masks = root / "masks"
    cases = list(_cases(root / "images", masks if masks.is_dir() else None, "none"))
    listed = any((root / f"{name}.txt").is_file() for name in ("train", "val", "test"))
    return with_splits(cases, root if listed else None, held_out=HELD_OUT)


def _cases(images: Path, masks: Path | None, split: Split) -> Iterator[Case]:
    found = {name: path for name, path in images_by_id(images).items() if not name.endswith(BESIDE_IMAGES)}
    if not found:
        raise DataError(f"{images}: no ISIC_<number>.jpg there; unpack the archive again")
    truth = masks_by_id(masks, found, ending=MASK_ENDING)
    for case_id, path in found.items():
        height, width = read_image_size(path, case_id=case_id)
        # each image counts as a patient, for want of anything better
        yield Case(case_id, case_id, split, path, truth.get(case_id), height, width)


def _without_twins(cases: Sequence[Case]) -> tuple[tuple[Case, ...], str]:
    """Take images that stand in two splits out of all but the most held-out one."""
    rank = {"train": 0, "val": 1, "test": 2}
    dropped: dict[str, str] = {}
    for twins in shared_images(cases):
        kept = max(twins, key=lambda case: rank[case.split])
        for case in twins:
            if case.split != kept.split:
                dropped[case.case_id] = f"{case.case_id} out of {case.split}, the same image as {kept.case_id}"
                dropped[case.case_id] += f" in {kept.split}"
    if not dropped:
        return tuple(cases), ""
    told = "; ".join(dropped.values())
    warn(f"one image in two splits: taken {told} (--keep-twins leaves it)")
    left = tuple(dataclasses.replace(case, split="none") if case.case_id in dropped else case for case in cases)
    return left, f"; taken {told}"
