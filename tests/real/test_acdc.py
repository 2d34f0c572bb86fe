"""ACDC as published: the protocol's resize loses nothing, so its metrics have no ceiling."""

import numpy as np
import pytest

from gazeseg.data.cache import resize_labels

pytestmark = pytest.mark.real


def test_the_round_trip_to_256_px_is_lossless_on_every_test_volume(real_data):
    names = (real_data / "acdc" / "test.list").read_text().split()
    assert len(names) == 40
    for name in names:
        with np.load(real_data / "acdc" / "volumes" / f"{name}.npz") as stored:
            labels = stored["label"]
        back = resize_labels(resize_labels(labels, (256, 256)), labels.shape[1:])
        for index in (1, 2, 3):
            ours, theirs = back == index, labels == index
            assert 2 * (ours & theirs).sum() == ours.sum() + theirs.sum(), name
