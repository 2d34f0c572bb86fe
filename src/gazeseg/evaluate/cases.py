"""Which cases of a data set a run is scored or calibrated on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.split import split_checksum
from gazeseg.errors import ConfigError, DataError
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.validation import held_out_split


def scored_cases(folder: RunFolder, dataset: Dataset, split: str) -> tuple[Case, ...]:
    """Return the cases of a split, all of which have a mask.

    ``val`` of a data set without such a split is the part of ``train`` that the run held out, and no other.

    Raises:
        ConfigError: for ``val``, if there is no such split and the run held nothing out.
        DataError: if there is no case, one has no mask, or the data set has other cases than the run held out.
    """
    if split != "val" or dataset.split("val"):
        return require_cases(dataset, split)
    cases = held_out_split(dataset, folder.config().train)[1]
    if not cases:
        raise ConfigError(
            f"{dataset.root}: has no split 'val', and {folder.path} was trained on all of 'train'; use another split, "
            "or train with --train.hold_out_seed 0"
        )
    kept = folder.environment().get("validation") or {}
    if kept.get("checksum") != split_checksum(case.case_id for case in cases):
        raise DataError(
            f"{dataset.root}: has other training cases than when {folder.path} held some of them out; restore them"
        )
    return _require_masks(dataset, cases, split)


def load_dataset(folder: RunFolder, path: Path | None) -> Dataset:
    """Load the data set of a run, with an error that says what to correct where it is gone."""
    if path is None or not Path(path).is_dir():
        raise DataError(
            f"{folder.config_file}: the data set folder '{path}' is not there; set data.path in it to where it is now"
        )
    return Dataset.load(Path(path))


def require_cases(dataset: Dataset, split: str) -> tuple[Case, ...]:
    """Return the cases of a split, all of which have a mask."""
    cases = dataset.split(split)
    if not cases:
        counts = Counter(case.split for case in dataset.cases)
        there = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "no case at all"
        raise DataError(f"{dataset.root}: no case in split '{split}'; there are: {there}")
    return _require_masks(dataset, cases, split)


def _require_masks(dataset: Dataset, cases: tuple[Case, ...], split: str) -> tuple[Case, ...]:
    bare = [case.case_id for case in cases if case.mask is None]
    if bare:
        raise DataError(
            f"{dataset.root}: {len(bare)} of {len(cases)} cases in split '{split}' have no mask, e.g. '{bare[0]}'; "
            "import again with --masks, or use 'gazeseg predict'"
        )
    return cases
