"""CAMUS, echocardiography: 2- and 4-chamber views at end-diastole and end-systole, as NIfTI or MetaImage.

Data: Leclerc et al., "Deep Learning for Segmentation Using an Open Large-Scale Dataset in 2D Echocardiography", IEEE
TMI 2019. A case is one image, ``patient0001_2CH_ED``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gazeseg.console import track, warn
from gazeseg.data.dataset import Dataset, DatasetInfo, Roots
from gazeseg.data.importers._arrays import Grid, read_metaimage, read_nifti
from gazeseg.data.importers._slices import Volume, import_volumes, split_in_order
from gazeseg.data.split import read_split_list
from gazeseg.errors import DataError
from gazeseg.types import Split

NAME: Final = "camus"
SUMMARY: Final = "CAMUS echocardiography (NIfTI or mhd), 2CH and 4CH at ED and ES"

CLASSES: Final = ("background", "left ventricle", "myocardium", "left atrium")
LAYOUT: Final = (
    "<root>/**/patient0001/patient0001_2CH_ED.nii.gz and patient0001_2CH_ED_gt.nii.gz, or the same as .mhd with .raw; "
    "lists: subgroup_training.txt, subgroup_validation.txt, subgroup_testing.txt"
)
LISTS: Final[Mapping[Split, str]] = {
    "train": "subgroup_training.txt",
    "val": "subgroup_validation.txt",
    "test": "subgroup_testing.txt",
}
COUNTS: Final = (400, 50, 50)  # patients, where there are no lists
_IMAGE: Final = re.compile(r"(patient\d+)_[24]CH_E[DS]")
_ENDINGS: Final = ("nii.gz", "nii", "mhd")


def run(out: Path, *, root: Path, splits: Path | None = None, simulate_gaze: bool = False, seed: int = 0) -> Dataset:
    """Make a dataset folder of CAMUS; images are written into it as PNG.

    Args:
        out: The folder to make.
        root: Folder of the data, searched through.
        splits: Folder with the subgroup lists; ``None``: they are looked for below ``root``. Without any, patients in
            a folder ``testing`` are for test; without that either, sorted patients are shared out 400 / 50 / 50.
        simulate_gaze: Draw the gaze of the training cases from their masks.
        seed: Decides the simulated gaze.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
        MissingDependencyError: for NIfTI without nibabel.
    """
    files = _find(root)
    split_of, note = _splits(root, splits, files)
    info = DatasetInfo(
        name="CAMUS",
        classes=CLASSES,
        modality="ultrasound",
        roots=Roots(),
        split_note=note,
        labelled_order=tuple(sorted(patient for patient, split in split_of.items() if split == "train")),
        citation="Leclerc et al., Deep Learning for Segmentation Using an Open Large-Scale Dataset in 2D "
        "Echocardiography, IEEE TMI 38(9), 2019",
    )
    return import_volumes(out, info, _read(files, split_of), single=True, simulate_seed=seed if simulate_gaze else None)


def _find(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that holds CAMUS")
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("patient*")):
        stem, _, ending = path.name.partition(".")
        if ending in _ENDINGS and _IMAGE.fullmatch(stem):
            if stem in found:
                raise DataError(f"{path}: '{stem}' is there already as {found[stem]}; give the folder of one release")
            found[stem] = path
    if not found:
        raise DataError(f"{root}: no image of CAMUS below it; expected {LAYOUT}")
    return found


def _splits(root: Path, folder: Path | None, files: Mapping[str, Path]) -> tuple[dict[str, Split], str]:
    """Return the split of each patient, and what it is."""
    patients = {name: name.partition("_")[0] for name in files}
    where = folder
    if where is None:
        where = next((path.parent for path in sorted(root.rglob(LISTS["train"]))), None)
    if where is not None:
        lists = {split: where / name for split, name in LISTS.items() if (where / name).is_file()}
        if "train" not in lists:
            raise DataError(f"{where}: no {LISTS['train']}; expected {LAYOUT}")
        found: dict[str, Split] = {}
        for split, file in lists.items():
            for patient in read_split_list(file):
                if found.setdefault(patient, split) != split:
                    raise DataError(f"{file}: '{patient}' is in {found[patient]} too; a patient may be in one split")
        absent = sorted(set(found) - set(patients.values()))
        if absent:
            warn(f"{where}: {len(absent)} listed patients have no image, e.g. '{absent[0]}'")
        given: dict[str, Split] = {patient: found.get(patient, "none") for patient in patients.values()}
        return given, "the release's subgroup lists" + (f", {len(absent)} patients absent" if absent else "")
    tested = {patients[name] for name, path in files.items() if "testing" in path.relative_to(root).parts}
    if tested and tested != set(patients.values()):
        return {
            patient: "test" if patient in tested else "train" for patient in patients.values()
        }, "the release's folders: testing for test, the rest for training"
    return (
        split_in_order(patients.values(), COUNTS),
        "own split by sorted patients in the proportion 400 / 50 / 50; not a published split",
    )


def _read(files: Mapping[str, Path], split_of: Mapping[str, Split]) -> Iterator[Volume]:
    for name, path in track(files.items(), "reading images", len(files)):
        patient = name.partition("_")[0]
        grid = _grid(path)
        if len(grid.values) != 1:
            raise DataError(f"{path}: {len(grid.values)} frames, expected one; expected {LAYOUT}")
        truth = path.with_name(path.name.replace(name, f"{name}_gt"))
        labels = None
        if truth.is_file():
            labels = _grid(truth).values
        elif split_of[patient] != "test":
            raise DataError(f"{truth}: the labels of '{name}' are missing; expected {LAYOUT}")
        yield Volume(name, patient, split_of[patient], grid.values, labels, path, grid.spacing_mm)


def _grid(path: Path) -> Grid:
    return read_metaimage(path) if path.suffix == ".mhd" else read_nifti(path)
