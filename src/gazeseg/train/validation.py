"""The one number a run may be selected by: hard Dice on the validation cases, at network size."""

from __future__ import annotations

import torch

from gazeseg.config import RunConfig
from gazeseg.data.cache import Store
from gazeseg.data.loader import batches
from gazeseg.losses.overlap import hard_overlap
from gazeseg.methods.base import Method
from gazeseg.types import IGNORE


def mean_dice(method: Method, store: Store, config: RunConfig, device: torch.device) -> float:
    """Return the Dice of ``method``, averaged over cases and foreground classes.

    The most probable class of each pixel is compared with the truth at ``data.size``; pixels labelled 255 are left
    out; a class that is neither predicted nor true counts ``evaluate.both_empty``.

    Args:
        method: In evaluation mode, on ``device``.
        store: Validation cases, opened with masks.
        config: The run: normalisation and batch size.
        device: Where to compute.
    """
    scores = []
    for batch in batches(store, config.train.batch_size, device, kind=config.data.normalise):
        assert batch.mask is not None  # noqa: S101 -- for the type checker: the store was opened with masks
        seen = batch.mask != IGNORE
        predicted = method.predict(batch.image).argmax(dim=1)
        for index in range(1, store.num_classes):
            dice, _ = hard_overlap(
                (predicted == index) & seen, (batch.mask == index) & seen, both_empty=config.evaluate.both_empty
            )
            scores.append(dice)
    return float(torch.cat(scores).mean())
