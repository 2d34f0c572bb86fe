import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gazeseg.errors import ConfigError, DataError
from gazeseg.supervision.levels import nested_levels, ternary

SOFT = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(0, 1, width=32))
THRESHOLDS = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5)


@given(SOFT, THRESHOLDS)
def test_levels_are_nested_in_the_threshold(values, thresholds):
    masks = nested_levels(values, thresholds, "a")
    assert masks.labels.shape == (len(thresholds), *values.shape)
    assert masks.labels.dtype == np.uint8
    assert masks.thresholds == tuple(thresholds)
    order = np.argsort(thresholds)
    assert (np.diff(masks.labels[order].astype(int), axis=0) <= 0).all()


def test_a_level_includes_its_threshold_and_keeps_the_given_order():
    masks = nested_levels(np.array([[0.25, 0.5, 0.75, 0.0]]), (0.5, 0.25, 0.75), "a")
    assert masks.labels[:, 0].tolist() == [[0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0]]
    assert masks.image_id == "a"


@given(SOFT, st.floats(0, 0.49), st.floats(0.5, 1))
def test_ternary_agrees_with_its_definition(values, tau_b, tau_f):
    target = ternary(values, tau_f, tau_b)
    assert target.dtype == np.uint8
    for value, label in zip(values.ravel(), target.ravel(), strict=True):
        # A float32 map is compared with the float32 threshold, as NumPy does.
        if value >= np.float32(tau_f):
            assert label == 1
        elif value <= np.float32(tau_b):
            assert label == 0
        else:
            assert label == 255


def test_a_blank_map_is_background():
    blank = np.zeros((3, 4), np.float32)
    assert not nested_levels(blank, (0.3,)).labels.any()
    assert not ternary(blank, 0.6, 0.3).any()


@pytest.mark.parametrize("thresholds", [(), (0.0,), (0.5, 1.0), (-0.1,), (float("nan"),)])
def test_levels_refuse_other_thresholds(thresholds):
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        nested_levels(np.zeros((2, 2)), thresholds)


@pytest.mark.parametrize(("tau_f", "tau_b"), [(0.3, 0.6), (0.5, 0.5), (1.2, 0.3), (0.6, -0.1)])
def test_ternary_refuses_an_empty_band(tau_f, tau_b):
    with pytest.raises(ConfigError, match="tau_b"):
        ternary(np.zeros((2, 2)), tau_f, tau_b)


@pytest.mark.parametrize(
    "values",
    [np.array([[0.2, np.nan]]), np.array([[0.0, 255.0]]), np.array([[-0.1, 0.5]]), np.zeros(4), np.zeros((0, 3))],
)
def test_maps_that_are_none_are_refused(values):
    with pytest.raises(DataError, match="soft map of 'b'"):
        nested_levels(values, (0.5,), "b")
    with pytest.raises(DataError, match="soft map"):
        ternary(values, 0.6, 0.3)
