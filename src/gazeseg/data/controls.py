"""The gaze that a run learns from: that of the data set, or a control of it (see :mod:`gazeseg.gaze.control`).

A control spoils the gaze of the training split alone, and ``shuffled_cases`` trades within it: gaze of a test or a
validation case never reaches training. The pool is the whole split, also where a run holds a part of it out, so that
every run, seed and fold gets the same.
"""

from __future__ import annotations

import dataclasses

from gazeseg.config import GazeConfig
from gazeseg.data.dataset import Dataset
from gazeseg.data.schema import no_fixations
from gazeseg.errors import DataError
from gazeseg.gaze.control import apply_control, changes_maps


def controlled(dataset: Dataset, gaze: GazeConfig) -> Dataset:
    """Return the data set with the gaze of its training cases under the control, whatever its scope.

    All other cases lose their gaze: nothing that is controlled may look at it. Without a control, ``dataset`` itself.

    Raises:
        DataError: if no case is in the split train, or too few have gaze to trade.
    """
    if gaze.control == "none":
        return dataset
    pool = dataset.split("train")
    if not pool:
        raise DataError(
            f"{dataset.root}: gaze.control {gaze.control} is for the split 'train' and no case is in it; correct the "
            "column split of cases.csv"
        )
    true = {case.case_id: dataset.fixations[case.case_id] for case in pool}
    spoilt = apply_control(true, gaze.control, seed=gaze.seed)
    nothing = {case.case_id: no_fixations(case.case_id, case.size) for case in dataset.cases}
    return dataclasses.replace(dataset, controlled_gaze={**nothing, **spoilt})


def behind_maps(dataset: Dataset, gaze: GazeConfig) -> Dataset:
    """Return the data set with the gaze that heatmaps and pseudo-masks are made from."""
    return controlled(dataset, gaze) if changes_maps(gaze) else dataset
