"""ACDC, cardiac cine MR: the challenge's NIfTI folders, SSL4MIS's h5 files, or npz volumes; SSL4MIS's split.

Data: Bernard et al., "Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation and Diagnosis",
IEEE TMI 2018. Split and labelled subsets: Luo et al., SSL4MIS. A case is a slice ``<volume>_slice_<k>``, k from 0,
of an end-diastolic or end-systolic volume ``<patient>_frame<NN>``. The lists are not part of this package: they come
from the user's folder and are recognised by their checksums. They call the two frames of a patient frame01 and frame02,
where most files carry the true number; so frames are matched in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from gazeseg.console import track, warn
from gazeseg.data.dataset import Dataset, DatasetInfo, Roots
from gazeseg.data.importers._arrays import read_h5, read_nifti, read_npz
from gazeseg.data.importers._slices import Volume, import_volumes
from gazeseg.data.split import LISTS, read_split_list, split_checksum
from gazeseg.errors import DataError
from gazeseg.types import Split

NAME: Final = "acdc"
SUMMARY: Final = "ACDC cardiac MR (NIfTI, h5 or npz) with the split and labelled subsets of SSL4MIS"

CLASSES: Final = ("background", "right ventricle", "myocardium", "left ventricle")
PATIENTS: Final = {"train": "63681acce2dd5ee4", "val": "83f863c8212703ac", "test": "d4a7c2de1c294da1"}
LAYOUTS: Final = (
    "npz: <root>/**/patient001_frame01.npz with image and label; "
    "h5: <root>/**/patient001_frame01.h5 or patient001_frame01_slice_1.h5 with image and label; "
    "nifti: <root>/**/patient001/Info.cfg, patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz"
)
SUPERVISION: Final = {  # of simulated gaze: maps as our HG-DTGL-style reconstruction draws them, and no CRF on slices
    "maps": {"canvas": "native", "sigma": 1 / 16, "sigma_unit": "side", "outlier": True},
    "crf": {"mode": "off"},
    "pseudo": {"thresholds": [0.5, 0.3, 0.2], "source": "heatmap"},
}
_VOLUME: Final = re.compile(r"(patient\d+)_frame(\d+)")
_SLICE: Final = re.compile(r"(?P<volume>patient\d+_frame\d+)_slice_(?P<index>\d+)")

Layout = Literal["npz", "h5", "nifti"]
_LAYOUTS: Final[Mapping[str, Layout]] = {"npz": "npz", "h5": "h5", "nii": "nifti", "nii.gz": "nifti"}
Files = dict[str, list[Path]]  # volume -> its file, or the files of its slices in order


def run(out: Path, *, root: Path, splits: Path | None = None, simulate_gaze: bool = False, seed: int = 0) -> Dataset:
    """Make a dataset folder of ACDC; slices are written into it as PNG.

    Which layout it is follows from the files. npz and h5 files have no pixel spacing, so distances are in pixels there.

    Args:
        out: The folder to make.
        root: Folder of the data, searched through.
        splits: Folder with ``train.list``, ``val.list``, ``test.list`` and, for the order in which patients become
            labelled, ``train_slices.list``; ``None``: ``root``. The NIfTI layout does without: its ``testing`` folder
            is for test then, everything else for training.
        simulate_gaze: Draw the gaze of the training cases from their masks.
        seed: Decides the simulated gaze.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
        MissingDependencyError: for h5 without h5py, for NIfTI without nibabel.
    """
    layout, files = _find(root)
    lists = splits or root
    named = _read_lists(lists, layout)
    if named:
        split_of, order, depths = _by_lists(lists, named, files)
        note = _name(split_of)
    else:
        split_of, order, depths = {name: _folder_split(paths[0]) for name, paths in files.items()}, (), {}
        note = "the challenge's folders: testing for test, the rest for training; give --splits for SSL4MIS's lists"
    info = DatasetInfo(
        name="ACDC",
        classes=CLASSES,
        modality="cine MR",
        roots=Roots(),
        split_note=note,
        labelled_order=order,
        supervision=SUPERVISION,
        citation="Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation and "
        "Diagnosis: Is the Problem Solved?, IEEE TMI 37(11), 2018",
    )
    volumes = _read(layout, files, split_of, depths)
    return import_volumes(out, info, volumes, simulate_seed=seed if simulate_gaze else None)


def _find(root: Path) -> tuple[Layout, Files]:
    """Return the layout of a folder and its volumes, sorted."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that holds ACDC")
    found: dict[Layout, Files] = {"npz": {}, "h5": {}, "nifti": {}}
    slices: dict[str, dict[int, Path]] = {}
    for path in sorted(root.rglob("patient*")):
        stem, _, ending = path.name.partition(".")
        match = _SLICE.fullmatch(stem)
        if match and ending == "h5":
            slices.setdefault(match["volume"], {})[int(match["index"])] = path
        elif _VOLUME.fullmatch(stem) and path.is_file():
            layout = _LAYOUTS.get(ending)
            if layout is not None:
                found[layout][stem] = [path]
    for volume, members in slices.items():
        found["h5"].setdefault(volume, [members[index] for index in sorted(members)])
    present = [layout for layout, files in found.items() if files]
    if not present:
        raise DataError(f"{root}: no ACDC volume below it; expected one of {LAYOUTS}")
    if len(present) > 1:
        raise DataError(f"{root}: holds ACDC as {' and as '.join(present)}; give the folder of one of them")
    layout = present[0]
    if layout == "nifti":
        _check_info(found["nifti"])
    return layout, dict(sorted(found[layout].items()))


def _check_info(files: Files) -> None:
    """Hold the frames of each patient against its Info.cfg."""
    folders = sorted({paths[0].parent for paths in files.values()})
    for folder in folders:
        config = folder / "Info.cfg"
        if not config.is_file():
            raise DataError(f"{config}: is missing, but NIfTI files lie beside it; expected {LAYOUTS}")
        values = dict(re.findall(r"^\s*(\w+)\s*:\s*(\S+)", config.read_text(encoding="utf-8", errors="replace"), re.M))
        for phase in ("ED", "ES"):
            if not values.get(phase, "").isdigit():
                raise DataError(f"{config}: has no line '{phase}: <frame>'; restore the file")
            name = f"{folder.name}_frame{int(values[phase]):02d}"
            if name not in files:
                raise DataError(f"{folder / name}.nii.gz: is missing, Info.cfg names it as {phase}; download it again")


def _read_lists(folder: Path, layout: Layout) -> dict[Split, list[str]]:
    """Return the volumes of each list, as they are spelt there."""
    present = {name: folder / f"{name}.list" for name in LISTS if (folder / f"{name}.list").is_file()}
    if "train" not in present:
        if layout == "nifti" and not present:
            return {}
        raise DataError(f"{folder}: no train.list; expected train.list, val.list and test.list of SSL4MIS (--splits)")
    return {name: [Path(line).name.split(".")[0] for line in read_split_list(file)] for name, file in present.items()}


def _by_lists(
    folder: Path, named: Mapping[Split, list[str]], files: Files
) -> tuple[dict[str, Split], tuple[str, ...], dict[str, int]]:
    """Return the split of each file, the patients in labelled order, and the listed number of slices of each file."""
    where = _match_frames(folder, [name for names in named.values() for name in names], files)
    split_of: dict[str, Split] = {}
    for split, names in named.items():
        for name in names:
            if split_of.setdefault(where[name], split) != split:
                raise DataError(f"{folder / split}.list: '{name}' is in {split_of[where[name]]} too; remove one")
    strangers = sorted(set(files) - set(split_of))
    if strangers:
        warn(f"{folder}: {len(strangers)} volumes are in no list and get no split, e.g. '{strangers[0]}'")
        split_of |= dict.fromkeys(strangers, "none")
    listed, depths = folder / "train_slices.list", dict[str, int]()
    lines = [f"{name}_slice_0" for name in named["train"]]
    if listed.is_file():
        lines = [Path(line).name.split(".")[0] for line in read_split_list(listed)]
        for line in lines:
            match = _SLICE.fullmatch(line)
            if match is None or split_of.get(where.get(match["volume"], "")) != "train":
                raise DataError(f"{listed}: '{line}' is no slice of a volume of train.list; use lists of one source")
            depths[where[match["volume"]]] = depths.get(where[match["volume"]], 0) + 1
    order = [patient for patient, _ in groupby(line.partition("_")[0] for line in lines)]
    if len(set(order)) < len(order):
        torn = next(patient for patient in order if order.count(patient) > 1)
        raise DataError(f"{listed}: '{torn}' stands in two places; a labelled subset must end between two patients")
    return split_of, tuple(order), depths


def _match_frames(folder: Path, names: list[str], files: Files) -> dict[str, str]:
    """Return the file of each listed volume: by name, else the frames of a patient in order."""
    listed, present = _by_patient(folder, names), _by_patient(folder, list(files))
    where: dict[str, str] = {}
    for patient, frames in listed.items():
        there = present.get(patient, [])
        if set(frames) <= set(there):
            where |= {name: name for name in frames}
        elif len(frames) == len(there):
            where |= dict(zip(frames, there, strict=True))
        else:
            lost = next(name for name in frames if name not in there)
            raise DataError(
                f"{folder}: the lists name '{lost}', but there is no file of it ({len(there)} of {len(frames)} volumes "
                f"of '{patient}'); expected one of {LAYOUTS}"
            )
    return where


def _by_patient(folder: Path, names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        match = _VOLUME.fullmatch(name)
        if match is None:
            raise DataError(f"{folder}: '{name}' is no volume of ACDC; expected lines as patient001_frame01")
        found.setdefault(match[1], []).append(name)
    return found


def _name(split_of: Mapping[str, Split]) -> str:
    patients = {split: sorted({n.partition("_")[0] for n, s in split_of.items() if s == split}) for split in LISTS}
    counts = " / ".join(str(len(members)) for members in patients.values())
    if all(split_checksum(patients[split]) == PATIENTS[split] for split in LISTS):
        return f"SSL4MIS's {counts} patients (checksums match); the 50 official test patients are not in it"
    return f"own lists, {counts} patients for train / val / test; not the published split of SSL4MIS"


def _folder_split(path: Path) -> Split:
    return "test" if "testing" in (part.lower() for part in path.parts[-3:-1]) else "train"


def _read(layout: Layout, files: Files, split_of: Mapping[str, Split], depths: Mapping[str, int]) -> Iterator[Volume]:
    for name, paths in track(files.items(), "reading volumes", len(files)):
        spacing = None
        labels: npt.NDArray[Any] | None
        if layout == "nifti":
            grid = read_nifti(paths[0])
            image, spacing, labels = grid.values, grid.spacing_mm, _truth(paths[0], name, split_of[name])
        elif layout == "npz":
            image, labels = read_npz(paths[0], ("image", "label"))
        else:
            image, labels = _stack(paths, name)
        if name in depths and depths[name] != len(image):
            raise DataError(
                f"{paths[0]}: {len(image)} slices, but train_slices.list names {depths[name]} of '{name}'; "
                "download it again"
            )
        yield Volume(name, name.partition("_")[0], split_of[name], image, labels, paths[0], spacing)


def _truth(image: Path, name: str, split: Split) -> npt.NDArray[Any] | None:
    """Read the labels beside a NIfTI image; those of the official test patients came later, so they may be missing."""
    ending = image.name.removeprefix(name)
    file = image.with_name(f"{name}_gt{ending}")
    if not file.is_file():
        if split == "test":
            return None
        raise DataError(f"{file}: the labels of '{name}' are missing; expected {LAYOUTS}")
    return read_nifti(file).values


def _stack(paths: list[Path], name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read a volume, or its slices one by one."""
    arrays = [read_h5(path, ("image", "label")) for path in paths]
    if arrays[0][0].ndim == 3:
        return arrays[0][0], arrays[0][1]
    numbers = [int(match["index"]) for path in paths if (match := _SLICE.fullmatch(path.stem))]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise DataError(f"{paths[0].parent}: slices {numbers} of '{name}' have gaps; download the missing ones")
    sizes = {image.shape for image, _ in arrays} | {label.shape for _, label in arrays}
    if len(sizes) > 1:
        different = " and ".join(" x ".join(map(str, size)) for size in sorted(sizes))
        raise DataError(
            f"{paths[0].parent}: the slices of '{name}' differ in size ({different}); use files of one source"
        )
    return np.stack([image for image, _ in arrays]), np.stack([label for _, label in arrays])
