"""SSL4MIS's augmentation: its rates, and that it moves image and labels together without new values."""

import numpy as np
import pytest
import torch

from gazeseg.config import AugmentConfig, build
from gazeseg.data.transforms import move_pixels, sample_transforms
from gazeseg.data.turns import turn_pixels
from gazeseg.errors import ConfigError

CONFIG = AugmentConfig(rates=(0.5, 0.25, 0.25))


def test_the_rates_over_many_draws():
    params = sample_transforms(CONFIG, 40_000, np.random.default_rng(0))
    angle = np.rint(np.rad2deg(params.angle_rad)).astype(int)
    flipped = params.flip_x | params.flip_y
    assert flipped.mean() == pytest.approx(0.5, abs=0.01)  # the first branch always flips one axis
    assert not (params.flip_x & params.flip_y).any()
    assert params.flip_x[flipped].mean() == pytest.approx(0.5, abs=0.02)
    quarters = angle[flipped]
    assert sorted(set(quarters)) == [0, 90, 180, 270]
    assert all((quarters == turn).mean() == pytest.approx(0.25, abs=0.02) for turn in (0, 90, 180, 270))
    tilted = angle[~flipped & (angle != 0)]
    assert (tilted.min(), tilted.max()) == (-20, 19)
    assert len(tilted) / len(angle) == pytest.approx(0.25 * 39 / 40, abs=0.01)
    assert not params.recolours
    assert (params.zoom == 1).all()


def test_labels_move_with_the_image_and_get_no_new_value():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (64, 1, 24, 24)).astype(np.uint8))
    params = sample_transforms(CONFIG, 64, np.random.default_rng(1))
    warped = move_pixels(labels.float(), None, labels, params)
    assert set(warped.labels.unique().tolist()) <= {0, 1, 2, 3, 255}
    straight = np.flatnonzero(params.flip_x | params.flip_y)
    for row in straight[:8]:  # quarter turns and flips move whole pixels
        turns = int(np.rint(np.rad2deg(params.angle_rad[row]) / 90))
        expected = labels[row, 0].flip(1 if params.flip_x[row] else 0)
        expected = torch.rot90(expected, -turns)  # positive turns x towards y
        assert torch.equal(warped.labels[row, 0], expected)
        torch.testing.assert_close(warped.image[row, 0], expected.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(24, 24), (20, 26)])
def test_the_quick_way_on_a_cpu_is_the_sampling_grid(size):
    rng = np.random.default_rng(2)
    labels = torch.from_numpy(rng.integers(0, 4, (48, 2, *size)).astype(np.uint8))
    image = torch.from_numpy(rng.normal(size=(48, 1, *size)).astype(np.float32))
    params = sample_transforms(CONFIG, 48, np.random.default_rng(5))
    slow = move_pixels(image, None, labels, params)
    fast_image, fast_labels = turn_pixels(image.numpy(), params, 0), turn_pixels(labels.numpy(), params, 255)
    same = (fast_labels == slow.labels).float().mean()
    assert same > 0.999  # a source half way between two pixels may fall to either
    assert torch.isclose(fast_image, slow.image).float().mean() > 0.999
    inside = turn_pixels(np.ones((48, 1, *size), np.uint8), params, 0).bool()
    assert (inside == slow.inside).float().mean() > 0.999


def test_cases_are_picked_looked_up_and_left_blank_on_the_way():
    rng = np.random.default_rng(4)
    stored = rng.integers(0, 256, (9, 1, 24, 24), dtype=np.uint8)
    params = sample_transforms(CONFIG, 6, rng)
    rows, blank = np.array([8, 3, 3, 0, 5, 1]), np.array([False, True, False, False, True, False])
    table = rng.normal(size=256).astype(np.float32)
    found = turn_pixels(stored, params, -9, rows=rows, table=table, blank=blank)
    expected = turn_pixels(table[stored[rows]], params, -9)
    expected[torch.from_numpy(blank)] = -9
    assert torch.equal(found, expected)


def test_other_settings_draw_the_same_numbers_as_ever_and_bad_rates_are_refused():
    one = sample_transforms(AugmentConfig(rotate_deg=30), 5, np.random.default_rng(3))
    other = sample_transforms(AugmentConfig(rotate_deg=30, rates=None), 5, np.random.default_rng(3))
    assert np.array_equal(one.angle_rad, other.angle_rad)
    with pytest.raises(ConfigError, match=r"three shares that sum up to 1"):
        build(AugmentConfig, {"rates": [0.5, 0.5, 0.5]}, "augment")
