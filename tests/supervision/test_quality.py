import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import dice as dice_dissimilarity

from gazeseg.errors import DataError
from gazeseg.supervision.quality import mask_quality


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_dice_equals_scipy_and_is_the_harmonic_mean(seed, share):
    pseudo, truth = np.random.default_rng(seed).random((2, 9, 7)) < share
    if not (pseudo & truth).any():
        return
    quality = mask_quality(pseudo, truth)
    assert quality["dice"] == pytest.approx(1 - dice_dissimilarity(pseudo.ravel(), truth.ravel()))
    assert 2 / quality["dice"] == pytest.approx(1 / quality["precision"] + 1 / quality["recall"])
    swapped = mask_quality(truth, pseudo)
    assert swapped["precision"] == quality["recall"]


def test_precision_and_recall_by_hand():
    pseudo = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    truth = np.array([[0, 0, 0, 1], [1, 0, 0, 0]], bool)
    assert mask_quality(pseudo, truth) == {"dice": 2 / 6, "precision": 0.25, "recall": 0.5}


def test_empty_masks():
    none, some = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert mask_quality(none, none) == {"dice": 1, "precision": 1, "recall": 1}
    for pseudo, truth in ((none, some), (some, none)):
        assert mask_quality(pseudo, truth) == {"dice": 0, "precision": 0, "recall": 0}


def test_sizes_must_agree():
    with pytest.raises(DataError, match=r"\(3, 4\).*\(4, 3\)"):
        mask_quality(np.zeros((3, 4), bool), np.zeros((4, 3), bool))
