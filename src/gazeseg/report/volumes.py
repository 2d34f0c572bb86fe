"""Which slice of a volume to show: the one that fails most."""

from __future__ import annotations

import numpy as np

from gazeseg.data.dataset import Dataset
from gazeseg.data.images import read_mask, safe_name
from gazeseg.errors import DataError
from gazeseg.report.runs import Run
from gazeseg.types import IGNORE


def worst_slice(run: Run, dataset: Dataset, volume_id: str) -> tuple[str, float]:
    """Return the case id and the Dice of the slice of a volume that overlaps least with its truth.

    The Dice is the mean over the classes that truth or prediction holds; slices without any are passed over. In a
    volume of nothing but such slices it is the first, with Dice 1.

    Raises:
        DataError: if the volume is gone from the data set, or a mask cannot be read.
    """
    slices = sorted((case for case in dataset.cases if case.volume_id == volume_id), key=lambda case: case.slice_index)
    if not slices:
        raise DataError(f"{dataset.root}: no volume '{volume_id}'; evaluate again")
    folder = run.folder.evaluation(run.split) / "predictions"
    found = (slices[0].case_id, 1.0)
    for case in slices:
        file = folder / f"{safe_name(case.case_id)}.png"
        predicted = read_mask(file, case.size, dataset.num_classes, case.case_id, encoding="index")
        truth = dataset.mask(case)
        seen = truth != IGNORE
        scores = []
        for index in range(1, dataset.num_classes):
            ours, theirs = (predicted == index) & seen, truth == index
            total = int(ours.sum()) + int(theirs.sum())
            if total:
                scores.append(2 * int((ours & theirs).sum()) / total)
        if scores and (dice := float(np.mean(scores))) < found[1]:
            found = (case.case_id, dice)
    return found
