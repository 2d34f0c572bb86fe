"""Synapse multi-organ CT as TransUNet prepared it: training slices as npz, test volumes as h5; 8 organs.

Data: Landman et al., "MICCAI Multi-Atlas Labeling Beyond the Cranial Vault", 2015. Layout: Chen et al., "TransUNet",
arXiv 2102.04306. Grey values are clipped to -125 .. 275 HU and scaled to 0 .. 1 in these files, which carry no spacing.
The order of the organs is the one commonly printed with this layout; no file states it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.console import track
from gazeseg.data.dataset import Dataset, DatasetInfo, Roots
from gazeseg.data.importers._arrays import read_h5, read_npz
from gazeseg.data.importers._slices import Volume, import_volumes
from gazeseg.errors import DataError

NAME: Final = "synapse"
SUMMARY: Final = "Synapse abdominal CT as TransUNet prepared it: npz slices for training, h5 volumes for test"

CLASSES: Final = (
    "background", "aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach",
)  # fmt: skip
LAYOUT: Final = "train_npz/case0005_slice000.npz and test_vol_h5/case0001.npy.h5, each with image and label"
_SLICE: Final = re.compile(r"(?P<case>case\d+)_slice(?P<index>\d+)")


def run(out: Path, *, root: Path, simulate_gaze: bool = False, seed: int = 0) -> Dataset:
    """Make a dataset folder of Synapse; slices are written into it as PNG. A case is ``<case>_slice_<k>``, k from 0.

    The labelled subsets take the training cases by rising number: 10 % of 18 are the first one, ``2 patients`` the
    first two.

    Args:
        out: The folder to make.
        root: Folder of the data, searched through.
        simulate_gaze: Draw the gaze of the training cases from their masks.
        seed: Decides the simulated gaze.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
        MissingDependencyError: without h5py.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that holds {LAYOUT}")
    train = _slices(root)
    test = {path.name.split(".")[0]: path for path in sorted(root.rglob("case*.h5"))}
    for name, found in (("train_npz", train), ("test_vol_h5", test)):
        if not found:
            raise DataError(f"{root}: no file of {name} below it; expected {LAYOUT}")
    both = sorted(train.keys() & test.keys())
    if both:
        raise DataError(f"{root}: '{both[0]}' is there for training and for test; remove one")
    info = DatasetInfo(
        name="Synapse",
        classes=CLASSES,
        modality="CT",
        roots=Roots(),
        split_note=f"TransUNet's folders: {len(train)} cases for training, {len(test)} for test, none for validation",
        labelled_order=tuple(sorted(train)),
        citation="Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault, 2015; prepared as in Chen et "
        "al., TransUNet, arXiv 2102.04306",
    )
    return import_volumes(out, info, _read(train, test), simulate_seed=seed if simulate_gaze else None)


def _slices(root: Path) -> dict[str, list[Path]]:
    """Return the slices of each training case in order."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(root.rglob("case*.npz")):
        match = _SLICE.fullmatch(path.stem)
        if match is None:
            raise DataError(f"{path}: no slice of Synapse; expected {LAYOUT}")
        found.setdefault(match["case"], {})[int(match["index"])] = path
    for case, members in found.items():
        if sorted(members) != list(range(len(members))):
            lost = next(index for index in range(len(members)) if index not in members)
            raise DataError(f"{root}: slice {lost:03d} of '{case}' is missing; download it again")
    return {case: [members[index] for index in sorted(members)] for case, members in found.items()}


def _read(train: dict[str, list[Path]], test: dict[str, Path]) -> Iterator[Volume]:
    for case, paths in track(train.items(), "reading training slices", len(train)):
        arrays = [read_npz(path, ("image", "label")) for path in paths]
        sizes = sorted({array.shape for pair in arrays for array in pair})
        if len(sizes) > 1:
            raise DataError(
                f"{paths[0].parent}: the slices of '{case}' differ in size {sizes}; use files of one source"
            )
        image, label = (np.stack(part) for part in zip(*arrays, strict=True))
        yield Volume(case, case, "train", image, label, paths[0])
    for case, path in track(test.items(), "reading test volumes", len(test)):
        image, label = read_h5(path, ("image", "label"))
        yield Volume(case, case, "test", image, label, path)
