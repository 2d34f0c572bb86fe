"""Regions of heatmaps: components by heat, boxes inside the image and within their sides, outliers by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeseg.config import MapsConfig
from gazeseg.supervision.heatmap import heatmap
from gazeseg.supervision.regions import BoxRule, gaze_box, main_region, random_box, without_outliers
from gazeseg.types import Fixations

RULE = BoxRule(tau=0.2, mass=0.9, margin=16, smallest=64, largest=192, jitter=8)


def spot(size, y, x, sigma=6.0, height=1.0):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))).astype(np.float32)


def test_the_main_region_takes_components_by_heat_until_they_hold_enough():
    heat = np.zeros((5, 20), np.float32)
    heat[1:4, 1:5], heat[1:4, 8:10], heat[2, 15] = 1.0, 0.9, 0.5  # 12, 5.4 and .5
    assert main_region(heat, 0.2, 0.6).sum() == 12
    assert main_region(heat, 0.2, 0.9).sum() == 18
    assert main_region(heat, 0.2, 1.0).sum() == 19
    assert main_region(heat, 0.6, 1.0).sum() == 18
    assert not main_region(np.zeros((4, 4), np.float32), 0.2, 0.9).any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 199), st.floats(0, 255)), min_size=1, max_size=2),
    st.integers(0, 2**32 - 1),
)
def test_a_box_lies_in_the_image_and_its_sides_in_their_range(points, seed):
    maps = [spot((200, 256), *point) for point in points]
    top, left, bottom, right = gaze_box(maps, RULE, np.random.default_rng(seed))
    assert top >= 0 and bottom <= 200 and left >= 0 and right <= 256  # noqa: PT018 -- one statement
    assert 64 <= bottom - top <= 192
    assert 64 <= right - left <= 192


def test_the_box_covers_both_regions_where_they_fit():
    rule = dataclasses.replace(RULE, jitter=0)
    maps = [spot((256, 256), 100, 90), spot((256, 256), 140, 150)]
    top, left, bottom, right = gaze_box(maps, rule, np.random.default_rng(0))
    for heat in maps:
        rows, columns = np.nonzero(main_region(heat, 0.2, 0.9))
        assert top <= rows.min() - 15 and bottom >= rows.max() + 15  # noqa: PT018 -- the two sides of one axis
        assert left <= columns.min() - 15 and right >= columns.max() + 15  # noqa: PT018 -- likewise


def test_a_map_without_gaze_has_no_say_and_without_any_the_box_is_random():
    blank, rule = np.zeros((256, 256), np.float32), dataclasses.replace(RULE, jitter=0)
    seen = spot((256, 256), 100, 90)
    alone = gaze_box([seen], rule, np.random.default_rng(0))
    assert gaze_box([blank, seen], rule, np.random.default_rng(0)) == alone
    top, left, bottom, right = gaze_box([blank, blank], rule, np.random.default_rng(3))
    assert (bottom - top, right - left) == (170, 170)
    assert (top, left, bottom, right) == random_box((256, 256), np.random.default_rng(3))


def test_fixations_apart_from_the_heat_are_dropped_and_one_alone_is_none():
    x = np.array([60.0, 62, 64, 61, 200.0])
    y = np.array([50.0, 52, 51, 49, 180.0])
    durations = np.array([300.0, 300, 300, 300, 60.0])
    fix = Fixations(x, y, np.arange(5) * 400.0, durations, (200, 240), "a")
    config = MapsConfig(canvas="native", sigma=10.0)
    kept = without_outliers(fix, heatmap(fix, config).values, tau=0.2, mass=0.9, sigma_px=(10.0, 10.0))
    assert kept.x_px.tolist() == [60.0, 62, 64, 61]
    far = Fixations(x[[0, 4]], y[[0, 4]], np.array([0.0, 500]), np.array([900.0, 60]), (200, 240), "a")
    left = without_outliers(far, heatmap(far, config).values, tau=0.2, mass=0.9, sigma_px=(10.0, 10.0))
    assert len(left) == 0


def test_the_distance_to_the_region_is_in_sigmas_of_each_axis():
    heat = np.zeros((60, 60), np.float32)
    heat[10, 10] = 1
    fix = Fixations([10.0, 30, 10, 10], [10.0, 10, 30, 10], np.arange(4.0), np.ones(4), (60, 60), "a")
    kept = without_outliers(fix, heat, tau=0.2, mass=0.9, sigma_px=(5.0, 10.0))
    assert list(zip(kept.x_px, kept.y_px, strict=True)) == [(10, 10), (30, 10), (10, 10)]


@pytest.mark.parametrize("size", [(30, 40), (256, 256)])
def test_the_random_box_is_two_thirds_of_each_side(size):
    top, left, bottom, right = random_box(size, np.random.default_rng(1))
    assert (bottom - top, right - left) == (size[0] * 2 // 3, size[1] * 2 // 3)
