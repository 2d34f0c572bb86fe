"""The one number a run may be selected by: hard Dice on the validation cases, at network size."""

from __future__ import annotations

import torch

from gazeseg.config import RunConfig
from gazeseg.data.cache import Store
from gazeseg.data.loader import batches
from gazeseg.methods.base import Method
from gazeseg.types import IGNORE


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
