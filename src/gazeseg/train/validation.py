"""The cases that a run holds out, and the one number it may be selected by: their hard Dice, at network size."""

from __future__ import annotations

import torch

from gazeseg.config import RunConfig, TrainConfig
from gazeseg.data.cache import Store
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.loader import batches
from gazeseg.data.split import group_split
from gazeseg.methods.base import Method
from gazeseg.types import IGNORE


def held_out_split(dataset: Dataset, config: TrainConfig) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Return the training cases to learn from, and the cases held out: none unless the run selects or is told to.

    They are the split ``val`` of the data set; where it has none, a part of ``train``, whole patients, that
    ``hold_out_seed`` (else ``seed``) draws.
    """
    cases, validation = dataset.split("train"), dataset.split("val")
    if config.select == "last" and config.hold_out_seed is None:
        return cases, ()
    if validation:
        return cases, validation
    seed = config.seed if config.hold_out_seed is None else config.hold_out_seed
    return group_split(cases, config.validation_fraction, seed)


def mean_dice(method: Method, store: Store, config: RunConfig, device: torch.device) -> float:
    """Return the Dice of ``method``, averaged over cases and foreground classes.

    The most probable class of each pixel is compared with the truth at ``data.size``; pixels labelled 255 are left
    out; a class that is neither predicted nor true counts ``evaluate.both_empty``. With ``evaluate.by: volume`` the
    slices of a volume are one case.

    Args:
        method: In evaluation mode, on ``device``.
        store: Validation cases, opened with masks.
        config: The run: normalisation and batch size.
        device: Where to compute.
    """
    by_volume = config.evaluate.by == "volume"
    names = {case.case_id: case.volume_id if by_volume and case.volume_id else case.case_id for case in store.cases}
    place = {name: row for row, name in enumerate(dict.fromkeys(names.values()))}
    both = torch.zeros(len(place), store.num_classes - 1, device=device)
    total = torch.zeros_like(both)
    for batch in batches(store, config.train.batch_size, device, kind=config.data.normalise):
        assert batch.mask is not None  # noqa: S101 -- for the type checker: the store was opened with masks
        seen = batch.mask != IGNORE
        predicted = method.predict(batch.image).argmax(dim=1)
        rows = torch.tensor([place[names[case_id]] for case_id in batch.ids], device=device)
        for index in range(1, store.num_classes):
            ours, theirs = (predicted == index) & seen, (batch.mask == index) & seen
            both[:, index - 1].index_add_(0, rows, (ours & theirs).sum(dim=(1, 2)).float())
            total[:, index - 1].index_add_(0, rows, (ours.sum(dim=(1, 2)) + theirs.sum(dim=(1, 2))).float())
    empty = torch.tensor(config.evaluate.both_empty, device=device)
    return float(torch.where(total > 0, 2 * both / total.clamp(min=1), empty).mean())
