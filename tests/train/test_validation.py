"""The number a run is selected by, against a count by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from gazeseg.config import RunConfig
from gazeseg.data.cache import Store
from gazeseg.data.dataset import Case
from gazeseg.data.schema import no_fixations
from gazeseg.train.validation import mean_dice

SIZE = (16, 16)


class Threshold(nn.Module):
    """Predicts class 1 where the image is bright, class 2 where it is brightest."""

    def predict(self, images):
        level = (images[:, 0] > -0.5).long() + (images[:, 0] > 0.8).long()
        return nn.functional.one_hot(level, 3).permute(0, 3, 1, 2).float()


def make_store() -> Store:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, *SIZE, 1), dtype=np.uint8)
    mask = rng.integers(0, 3, (6, *SIZE), dtype=np.uint8)
    mask[0], mask[3, :4] = 0, 255
    cases = tuple(
        Case(f"c{k}", "p", "val", None, None, *SIZE, volume_id=f"v{k // 3}", slice_index=k % 3) for k in range(6)
    )
    nobody = tuple(no_fixations(case.case_id, SIZE) for case in cases)
    return Store(cases, SIZE, 3, image, mask, None, None, None, nobody)


@pytest.mark.parametrize(("by", "groups"), [("case", [[k] for k in range(6)]), ("volume", [[0, 1, 2], [3, 4, 5]])])
def test_slices_of_a_volume_are_counted_together(by, groups):
    store = make_store()
    config = RunConfig.model_validate({"method": {"name": "full"}, "evaluate": {"by": by}, "train": {"batch_size": 4}})
    pixels = store.image[..., 0].astype(float)
    z = (pixels - pixels.mean((1, 2), keepdims=True)) / pixels.std((1, 2), keepdims=True)
    predicted = (z > -0.5).astype(int) + (z > 0.8)
    scores = []
    for rows in groups:
        for k in (1, 2):
            ours, theirs = (predicted[rows] == k) & (store.mask[rows] != 255), store.mask[rows] == k
            total = ours.sum() + theirs.sum()
            scores.append(2 * (ours & theirs).sum() / total if total else 1.0)
    found = mean_dice(Threshold(), store, config, torch.device("cpu"))
    assert found == pytest.approx(np.mean(scores), abs=1e-6)
