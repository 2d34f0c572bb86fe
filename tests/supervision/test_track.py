"""Track maps against a plain stack, against the published heatmap, and by the properties that they promise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeseg.gaze.io.gazemedseg_csv import COLUMNS, read_gazemedseg_csv
from gazeseg.supervision.heatmap import square768
from gazeseg.supervision.track import (
    Ladder,
    density_map,
    distance_map,
    kept,
    preset,
    track_map,
    track_maps,
    truncate,
    unit_track,
)
from gazeseg.types import Fixations

SIGMA = 70 / 768


def ladder(name="R1", levels=4, **changes) -> Ladder:
    keep, rhos = preset(name, levels)
    return Ladder(**{"keep": keep, "rhos": rhos, "n_min": 3, "mode": "dist", "sigma": SIGMA, "gamma": 0.5, **changes})


def random_track(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.random((count, 2)), rng.uniform(0.06, 0.9, count)])


def stack(track, size):
    """The plain way: (N, H, W) Gaussians at the pixel centres."""
    y, x = ((np.arange(side) + 0.5) / side for side in size)
    squared = (x[None, None, :] - track[:, 0, None, None]) ** 2 + (y[None, :, None] - track[:, 1, None, None]) ** 2
    return np.exp(-squared / (2 * SIGMA**2))


tracks = st.builds(random_track, st.integers(1, 25), st.integers(0, 2**16))


@pytest.mark.parametrize(
    ("name", "keep", "rhos"),
    [
        ("R1", "last", (1, 0.75, 0.5, 0.25)),
        ("R2", "last", (0.25, 0.5, 0.75, 1)),
        ("R3", "first", (0.25, 0.5, 0.75, 1)),
        ("mild_R1", "last", (1, 0.9, 0.8, 0.7)),
    ],
)
def test_presets_are_those_of_the_specification(name, keep, rhos):
    assert preset(name, 4) == (keep, rhos)
    assert preset(name, 1) == (keep, (1.0,))
    assert 1.0 in preset(name, 3)[1]


@pytest.mark.parametrize(("rho", "count"), [(1, 10), (0.75, 8), (0.5, 5), (0.25, 3), (0.05, 3)])
def test_a_cut_keeps_the_end_that_was_asked_for(rho, count):
    track = random_track(10)
    np.testing.assert_array_equal(truncate(track, rho, keep="last", n_min=3), track[10 - count :])
    np.testing.assert_array_equal(truncate(track, rho, keep="first", n_min=3), track[:count])


def test_a_short_track_stays_whole():
    assert [kept(n, 0.25, 3) for n in range(5)] == [0, 1, 2, 3, 3]
    assert [kept(n, 0.25, 1) for n in (4, 5, 8, 9)] == [1, 2, 2, 3]


@given(tracks)
def test_the_whole_track_is_the_same_from_both_ends(track):
    first, last = (ladder(keep=keep, rhos=(1.0,)) for keep in ("first", "last"))
    np.testing.assert_array_equal(track_maps(track, (9, 11), first), track_maps(track, (9, 11), last))


@pytest.mark.parametrize("size", [(24, 24), (20, 33)])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_maps_equal_the_plain_stack(size, count):
    track = random_track(count, seed=count)
    bells, durations = stack(track, size), track[:, 2]
    strongest = ((durations / durations.max()) ** 0.5)[:, None, None] * bells
    strongest = strongest.max(axis=0)
    np.testing.assert_allclose(
        distance_map(track, size, sigma=SIGMA, gamma=0.5), strongest / strongest.max(), rtol=1e-10, atol=1e-14
    )
    density = np.tensordot(durations / durations.sum(), bells, axes=1)
    density = (density - density.min()) / (density.max() - density.min() + 1e-8)
    np.testing.assert_allclose(density_map(track, size, sigma=SIGMA), density, rtol=1e-9, atol=1e-12)


def test_the_density_of_the_whole_track_is_the_published_heatmap():
    rng = np.random.default_rng(3)
    count, size = 25, (530, 621)
    x, y = rng.uniform(0.35, 0.65, (2, count))  # the published filter reflects at the border, ours has none
    durations = rng.uniform(60, 900, count)
    fixations = Fixations(x * size[1] - 0.5, y * size[0] - 0.5, np.arange(count) * 1e3, durations, size, "case")
    published = square768(fixations, 70.0).values
    ours = track_maps(np.column_stack([x, y, durations]), size, ladder(rhos=(1.0,), mode="kde"))[0]
    # the canvas rounds a position by up to one pixel of 768, at most .0087 of a Gaussian of 70, and ends it at 4 sigma
    assert np.abs(ours - published).max() < 0.01
    assert np.abs(ours - published).mean() < 0.003


def test_pixel_coordinates_become_shares_of_the_side():
    track = unit_track(np.array([[-0.5, -0.5, 0, 0.2], [79.5, 59.5, 1, 0.3], [39.5, 14.5, 2, 0.1]]), (60, 80))
    np.testing.assert_allclose(track, [[0, 0, 0.2], [1, 1, 0.3], [0.5, 0.25, 0.1]])


@pytest.mark.parametrize("mode", ["dist", "kde"])
@pytest.mark.parametrize(("x", "y", "corner"), [(0, 0, (0, 0)), (1, 1, (-1, -1)), (1, 0, (0, -1)), (0, 1, (-1, 0))])
def test_the_borders_are_legal_and_do_not_wrap(mode, x, y, corner):
    values = track_map(np.array([[x, y, 0.3]]), (40, 40), ladder(mode=mode))
    assert np.unravel_index(values.argmax(), values.shape) == tuple(c % 40 for c in corner)
    assert values[corner] == pytest.approx(1)
    assert values[corner[0], -1 - corner[1]] < 1e-3  # nothing at the far edges
    assert values[-1 - corner[0], corner[1]] < 1e-3


@given(tracks)
def test_the_maximum_is_one_and_lies_at_the_longest_look(track):
    values = distance_map(track, (48, 48), sigma=SIGMA, gamma=1.0)
    assert values.max() == 1
    assert values.min() >= 0
    longest = track[track[:, 2].argmax()]
    row, column = (min(47, int(share * 48)) for share in (longest[1], longest[0]))
    assert values[row, column] > 0.98  # the centre of its pixel lies at most half a diagonal away


@settings(max_examples=30)
@given(tracks, st.floats(1e-3, 1e3))
def test_a_common_factor_on_the_durations_changes_nothing(track, factor):
    scaled = track * [1, 1, factor]
    for mode in ("dist", "kde"):
        shape = ladder(mode=mode)
        np.testing.assert_allclose(track_maps(scaled, (16, 16), shape), track_maps(track, (16, 16), shape), atol=1e-6)


@given(tracks)
def test_gamma_zero_is_equal_durations(track):
    equal = track.copy()
    equal[:, 2] = 0.3
    np.testing.assert_array_equal(
        track_maps(track, (16, 16), ladder(gamma=0.0)), track_maps(equal, (16, 16), ladder(gamma=0.5))
    )


@given(tracks)
def test_a_flipped_track_draws_flipped_maps(track):
    flipped = track * [-1, 1, 1] + [1, 0, 0]
    for mode in ("dist", "kde"):
        shape = ladder(mode=mode)
        np.testing.assert_allclose(
            track_maps(flipped, (12, 18), shape), track_maps(track, (12, 18), shape)[..., ::-1], atol=1e-6
        )


@pytest.mark.parametrize("mode", ["dist", "kde"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_maps_are_finite_for_any_number_of_fixations(mode, count):
    maps = track_maps(random_track(20)[:count], (15, 21), ladder(mode=mode))
    assert maps.shape == (4, 15, 21)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.max() == pytest.approx(float(count > 0))


def test_order_comes_from_the_index_of_the_table_not_from_its_lines(tmp_path: Path):
    rng = np.random.default_rng(1)
    lines = [
        {"IMAGE": "a.jpg", "CURRENT_FIX_INDEX": i + 1, "CURRENT_FIX_X": rng.random(), "CURRENT_FIX_Y": rng.random(),
         "CURRENT_FIX_DURATION": rng.integers(60, 900), "CURRENT_FIX_START": 1000 * i}
        for i in range(12)
    ]  # fmt: skip
    maps = []
    for name, order in (("sorted", range(12)), ("shuffled", rng.permutation(12))):
        rows = [",".join(str(lines[i][column]) for column in COLUMNS) for i in order]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
        fix = read_gazemedseg_csv(path, {"a": (60, 80)})["a"]
        track = unit_track(np.column_stack([fix.x_px, fix.y_px, fix.onset_ms, fix.duration_ms]), (60, 80))
        maps.append(track_maps(track, (20, 20), ladder()))
    np.testing.assert_array_equal(*maps)
    assert not np.array_equal(maps[0][0], maps[0][3])
