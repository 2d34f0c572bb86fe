"""Prompts from gaze, on maps whose answer can be drawn by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeseg.config import PromptConfig
from gazeseg.errors import DataError
from gazeseg.supervision.prompts import (
    BACKGROUND,
    FOREGROUND,
    NOTHING,
    SPACING,
    Prompts,
    dwell_points,
    gaze_prompts,
    grown,
    left_points,
    mask_prompts,
    object_boxes,
    shifted,
)
from gazeseg.types import Fixations

SIZE = (40, 60)


def _fixations(places, durations, size=SIZE):
    x, y = np.array(places, dtype=float).reshape(-1, 2).T
    return Fixations(x, y, np.arange(len(x)) * 1000.0, np.array(durations, dtype=float), size, "case")


def _blob(*blocks):
    heat = np.zeros(SIZE, np.float32)
    for rows, columns, value in blocks:
        heat[rows, columns] = value
    return heat


TWO = _blob((slice(5, 15), slice(10, 30), 1.0), (slice(25, 35), slice(40, 50), 0.7), (slice(0, 2), slice(0, 2), 0.3))


def test_a_box_is_the_outermost_pixels_of_a_region_strongest_first():
    assert object_boxes(TWO, 0.2, mode_share=0.5).tolist() == [[10, 5, 29, 14], [40, 25, 49, 34]]
    assert object_boxes(TWO, 0.2, mode_share=1.0).tolist() == [[10, 5, 29, 14]]
    assert len(object_boxes(TWO, 0.2, mode_share=0.1)) == 3


def test_a_higher_level_gives_a_box_inside():
    rows, columns = np.indices(SIZE)
    heat = np.exp(-((rows - 20) ** 2 + (columns - 30) ** 2) / 100).astype(np.float32)
    loose, tight = object_boxes(heat, 0.2, 0.5)[0], object_boxes(heat, 0.6, 0.5)[0]
    assert (loose[:2] < tight[:2]).all()
    assert (loose[2:] > tight[2:]).all()
    assert loose.tolist() == [30 - 12, 20 - 12, 30 + 12, 20 + 12]  # sqrt(-100 ln .2) = 12.7


@pytest.mark.parametrize("heat", [np.zeros(SIZE, np.float32), np.full(SIZE, 0.4, np.float32)])
def test_a_map_without_a_mode_gives_no_prompt(heat):
    fix = _fixations([(5, 5)], [300])
    assert len(object_boxes(heat, 0.3, 0.5)) == 0
    assert len(gaze_prompts(fix, heat, PromptConfig(points=2, negatives=2))) == 0


def test_every_level_and_margin_is_a_member_and_objects_share_it():
    config = PromptConfig(levels=(0.2, 0.8), margins=(0.0, 0.1), jitter=1)
    prompts = gaze_prompts(_fixations([(20, 10)], [300]), TWO, config)
    assert prompts.members.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]  # two objects at .2, one at .8
    assert prompts.boxes[0].tolist() == [10, 5, 29, 14]
    assert prompts.boxes[4].tolist() == [8, 4, 31, 15]  # a tenth of 20 x 10 on each side


def test_shifts_depend_on_seed_and_case_alone():
    config = PromptConfig(jitter=3)
    fix = _fixations([(20, 10)], [300])
    first, again = gaze_prompts(fix, TWO, config), gaze_prompts(fix, TWO, config)
    other = gaze_prompts(fix, TWO, config.model_copy(update={"seed": 1}))
    assert (first.boxes == again.boxes).all()
    assert (first.boxes != other.boxes).any()


@given(
    st.lists(st.tuples(*[st.floats(0, 59), st.floats(0, 39)] * 2), min_size=1, max_size=5),
    st.floats(-0.6, 3),
    st.integers(0, 9),
)
def test_no_box_leaves_the_image_or_turns_inside_out(corners, margin, seed):
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners])
    for moved in (grown(boxes, margin, SIZE), shifted(boxes, 0.5, np.random.default_rng(seed), SIZE)):
        assert (moved[:, :2] <= moved[:, 2:]).all()
        assert moved.min() >= 0
        assert (moved[:, 2] <= SIZE[1] - 1).all()
        assert (moved[:, 3] <= SIZE[0] - 1).all()


def test_a_box_outside_the_image_is_refused_by_name():
    boxes = np.array([[0.0, 0.0, 60.0, 10.0]])
    with pytest.raises(DataError, match="leaves the image of 40 x 60; clip it"):
        Prompts(boxes, np.zeros((1, 0, 2)), np.zeros((1, 0), np.int64), np.zeros(1, np.int64), SIZE)


def test_the_longest_dwell_comes_first_and_its_neighbours_are_suppressed():
    near = SPACING * max(SIZE)
    fix = _fixations([(10, 10), (10 + near / 2, 10), (50, 30), (30, 20), (90, 10)], [200, 300, 400, 100, 9000])
    points = dwell_points(fix, 3)
    assert points.tolist() == [[10, 10], [50, 30], [30, 20]]  # 200 + 300, 400, 100; (90, 10) is off the image
    assert len(dwell_points(fix, 1)) == 1


def test_a_brief_look_comes_before_what_was_never_looked_at():
    heat = _blob((slice(5, 15), slice(10, 30), 1.0))
    fix = _fixations([(20, 10), (55, 35)], [2000, 80])
    points = left_points(fix, heat, 3)
    assert points[0].tolist() == [55, 35]
    assert (heat[points[:, 1].astype(int), points[:, 0].astype(int)] == 0).all()
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)[~np.eye(3, dtype=bool)]
    assert apart.min() > SPACING * max(SIZE)


def test_a_box_gets_the_points_that_suit_it():
    config = PromptConfig(levels=(0.2,), margins=(0.0,), points=2, negatives=1)
    fix = _fixations([(20, 10), (45, 30), (5, 38)], [900, 800, 60])
    prompts = gaze_prompts(fix, TWO, config)
    assert prompts.points[0].tolist() == [[20, 10], [45, 30], [5, 38]]
    assert prompts.labels.tolist() == [[FOREGROUND, NOTHING, BACKGROUND], [NOTHING, FOREGROUND, BACKGROUND]]


def test_a_mask_is_asked_about_again_object_by_object_without_its_splinters():
    probability = np.zeros((20, 30), np.float32)  # half the size of the image
    probability[2:8, 4:14] = 0.9
    probability[12:16, 20:25] = 0.6
    probability[19, 29] = 1.0  # one pixel
    config = PromptConfig(round_margins=(0.0, 0.1))
    prompts = mask_prompts(probability, SIZE, config)
    assert prompts.members.tolist() == [0, 0, 1, 1]
    # pixel centres: column 4 of 30 lies at (4 + .5) * 2 - .5 = 8.5 of 60
    assert prompts.boxes[:2].tolist() == [[8.5, 4.5, 26.5, 14.5], [40.5, 24.5, 48.5, 30.5]]
    assert prompts.boxes[2, 0] == pytest.approx(8.5 - 0.1 * 19)
    assert len(mask_prompts(np.zeros((20, 30), np.float32), SIZE, config)) == 0
