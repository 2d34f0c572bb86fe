import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeseg.gaze.scanpath import end_ms, scanpath_figures, start_ms, until
from gazeseg.types import Fixations

SIZE = (40, 60)


def reading(x, y, onset, duration, size=SIZE) -> Fixations:
    return Fixations(x, y, onset, duration, size, "a")


def test_figures_of_a_hand_computed_reading():
    mask = np.zeros(SIZE, bool)
    mask[10:20, 10:20] = True
    fix = reading([10, 13, 13, 70], [10, 14, 26, 26], [100, 500, 1000, 1300], [300, 400, 200, 100])
    found = scanpath_figures(fix, mask)
    assert (found.fixations, found.off_image) == (4, 1)
    assert found.length_px == pytest.approx(5 + 12 + 57)
    assert found.dwell_ms == 1000
    assert found.span_ms == 1300  # 100 to 1400
    assert found.mean_ms == 250
    assert found.inside == pytest.approx(0.5)
    assert found.inside_time == pytest.approx(0.7)


def test_no_fixation_and_no_mask():
    found = scanpath_figures(reading([], [], [], []))
    assert (found.fixations, found.dwell_ms, found.span_ms, found.length_px) == (0, 0, 0, 0)
    assert math.isnan(found.mean_ms)
    assert found.inside is None


def test_a_long_fixation_can_end_after_the_last_one():
    fix = reading([1, 2], [1, 2], [0, 100], [900, 50])
    assert (start_ms(fix), end_ms(fix)) == (0, 900)


@given(st.lists(st.tuples(st.floats(1, 500), st.floats(0, 200)), min_size=1, max_size=12), st.floats(0, 1))
def test_what_had_happened_is_the_time_spent_fixating_until_then(pairs, share):
    """Against a clock that ticks: the sum of the cut durations is the measure of fixating time before the moment."""
    duration, gap = np.array(pairs).T
    onset = np.concatenate([[0], np.cumsum(duration + gap)[:-1]])
    fix = reading(np.zeros(len(pairs)), np.zeros(len(pairs)), onset, duration)
    moment = share * end_ms(fix)
    expected = sum(min(moment, a + d) - a for a, d in zip(onset, duration, strict=True) if a < moment)
    seen = until(fix, moment)
    assert seen.duration_ms.sum() == pytest.approx(expected)
    assert (seen.onset_ms < moment).all()


def test_at_the_end_everything_had_happened():
    fix = reading([1, 2, 3], [1, 2, 3], [5, 400, 900], [300, 300, 50])
    seen = until(fix, end_ms(fix))
    for name in ("x_px", "y_px", "onset_ms", "duration_ms"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(fix, name))
