import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from gazeseg.config import MapsConfig
from gazeseg.errors import ConfigError
from gazeseg.supervision.heatmap import CANVAS, heatmap, native, square768
from gazeseg.types import Fixations


def fixations(x, y, duration=None, *, size=(60, 80)):
    """Fixations at normalised positions."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    duration = np.full(len(x), 300.0) if duration is None else np.asarray(duration, float)
    return Fixations(x * size[1] - 0.5, y * size[0] - 0.5, np.arange(len(x)) * 400.0, duration, size, "case")


def random_fixations(seed, *, count=25, size=(60, 80)):
    rng = np.random.default_rng(seed)
    return fixations(rng.random(count), rng.random(count), rng.uniform(60, 900, count), size=size)


def published(x, y, duration, sigma, size):
    """The dense way on the square canvas, with PyTorch's bicubic resize as the oracle of ours."""
    canvas = np.zeros((CANVAS, CANVAS))
    for column, row, d in zip(x, y, duration, strict=True):
        i, j = (int(np.clip(np.round(v * CANVAS) - 1, 0, CANVAS - 1)) for v in (column, row))
        canvas[j, i] += d
    canvas = gaussian_filter(canvas, sigma)
    canvas = (canvas - canvas.min()) / (canvas.max() - canvas.min())
    resized = torch.nn.functional.interpolate(torch.from_numpy(canvas)[None, None], size, mode="bicubic")
    return resized.clamp(0, 1).numpy()[0, 0]


@pytest.mark.real
def test_square_map_equals_the_released_one(golden: Path):
    with np.load(golden / "maps_released.npz") as values:
        cases = sorted(int(name.rsplit("_", 1)[1]) for name in values.files if name.startswith("heatmap_"))
        assert cases
        for case in cases:
            x, y, duration = values[f"fixations_{case}"].T
            size = tuple(int(v) for v in values[f"size_hw_{case}"])
            ours = square768(fixations(x, y, duration, size=size), float(values[f"sigma_px_{case}"])).values
            wanted = values[f"heatmap_{case}"].astype(np.float32).clip(0, 1)
            assert np.abs(ours - wanted).max() <= 1e-3  # half precision holds 5e-4


@pytest.mark.parametrize(("size", "sigma"), [((530, 621), 70.0), ((96, 200), 50.0), ((900, 40), 20.0)])
def test_square_map_equals_the_dense_way(size, sigma):
    rng = np.random.default_rng(7)
    x, y, duration = rng.random(30), rng.random(30), rng.uniform(60, 900, 30)
    ours = heatmap(fixations(x, y, duration, size=size), MapsConfig(sigma=sigma)).values
    assert ours.dtype == np.float32
    assert np.abs(ours - published(x, y, duration, sigma, size)).max() <= 1e-6


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    count=st.integers(1, 40),
    sigma=st.floats(0.3, 60),
    seed=st.integers(0, 10_000),
)
def test_native_map_equals_the_dense_filter(size, count, sigma, seed):
    fix = random_fixations(seed, count=count, size=size)
    dense = np.zeros(size)
    np.add.at(dense, (np.floor(fix.y_px + 0.5).astype(int), np.floor(fix.x_px + 0.5).astype(int)), fix.duration_ms)
    dense = gaussian_filter(dense, sigma, truncate=4.0, mode="reflect")
    span = dense.max() - dense.min()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = native(fix, sigma).values
    if span <= 2e-6 * dense.max():  # flat: zeros by decision
        return
    assert np.abs(ours - (dense - dense.min()) / span).max() <= 1e-6


def test_one_fixation_on_a_wide_image_draws_the_predicted_ellipse():
    sigma, size = 60.0, (200, 400)
    values = square768(fixations([0.5], [0.5], size=size), sigma).values
    rows, columns = np.indices(size)
    weight = values / values.sum()
    for axis, extent in ((rows, size[0]), (columns, size[1])):
        centre = (weight * axis).sum()
        assert centre == pytest.approx(extent / 2 - 0.5, abs=extent / CANVAS)  # the published index lies one px low
        spread = np.sqrt((weight * (axis - centre) ** 2).sum())
        assert spread == pytest.approx(sigma / CANVAS * extent, rel=0.01)
    round_one = native(fixations([0.5], [0.5], size=size), 20.0).values
    assert round_one[100, 220] == pytest.approx(round_one[120, 200], abs=1e-6)


@pytest.mark.parametrize("canvas", ["square768", "native"])
@pytest.mark.parametrize("edge", [0.0, np.nextafter(1.0, 0)])
def test_a_fixation_on_the_border_stays_on_its_side(canvas, edge):
    config = MapsConfig(canvas=canvas, sigma=40 if canvas == "square768" else 5)
    values = heatmap(fixations([edge], [0.5], size=(64, 100)), config).values
    far = values[:, 50:] if edge < 0.5 else values[:, :50]
    assert values.max() == pytest.approx(1, abs=0.05)  # the resize samples beside the peak
    assert far.max() < 1e-6


@pytest.mark.parametrize("canvas", ["square768", "native"])
@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e6])
def test_a_common_factor_on_durations_changes_nothing(canvas, factor):
    fix = random_fixations(3)
    longer = Fixations(fix.x_px, fix.y_px, fix.onset_ms, fix.duration_ms * factor, fix.image_size, "case")
    config = MapsConfig(canvas=canvas, sigma=30)
    np.testing.assert_allclose(heatmap(longer, config).values, heatmap(fix, config).values, atol=1e-6)


@pytest.mark.parametrize("canvas", ["square768", "native"])
def test_mirrored_fixations_draw_a_mirrored_map(canvas):
    # The published canvas index is not symmetric (it lies one px low), hence the wide tolerance there.
    fix = random_fixations(5, size=(50, 90))
    mirrored = Fixations(89 - fix.x_px, fix.y_px, fix.onset_ms, fix.duration_ms, fix.image_size, "case")
    config = MapsConfig(canvas=canvas, sigma=40 if canvas == "square768" else 5)
    difference = heatmap(mirrored, config).values - heatmap(fix, config).values[:, ::-1]
    assert np.abs(difference).max() <= (0.05 if canvas == "square768" else 2e-2)


@pytest.mark.parametrize("canvas", ["square768", "native"])
def test_nothing_on_the_image_is_zero_and_silent(canvas):
    config = MapsConfig(canvas=canvas, sigma=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fix in (fixations([], []), fixations([-0.2, 1.5], [0.5, 0.5])):
            values = heatmap(fix, config).values
            assert values.shape == (60, 80)
            assert not values.any()


@pytest.mark.parametrize("canvas", ["square768", "native"])
def test_fixations_off_the_image_contribute_nothing(canvas):
    config = MapsConfig(canvas=canvas, sigma=30)
    alone = heatmap(fixations([0.3], [0.6]), config).values
    among = heatmap(fixations([-0.1, 0.3, 1.4], [0.5, 0.6, 0.1], [900, 300, 900]), config).values
    np.testing.assert_array_equal(alone, among)


def test_a_map_without_contrast_is_zero_with_a_warning():
    with pytest.warns(UserWarning, match="same everywhere"):
        assert not native(fixations([0.5], [0.5], size=(1, 1)), 3.0).values.any()
    with pytest.warns(UserWarning, match="case"):
        assert not heatmap(fixations([0.2], [0.8], size=(4, 4)), MapsConfig(canvas="native", sigma=1e4)).values.any()


def test_degrees_become_pixels_of_the_native_image():
    fix = random_fixations(1)
    degrees = MapsConfig(canvas="native", sigma=0.5, sigma_unit="deg", px_per_degree=24)
    drawn = heatmap(fix, degrees)
    assert drawn.sigma_px == 12
    np.testing.assert_array_equal(drawn.values, native(fix, 12.0).values)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (MapsConfig(sigma_unit="deg", px_per_degree=30), "native"),
        (MapsConfig(canvas="native", sigma_unit="deg"), "px_per_degree"),
    ],
)
def test_degrees_that_cannot_be_converted_are_refused(config, word):
    with pytest.raises(ConfigError, match=word):
        heatmap(random_fixations(0), config)


def test_a_position_half_way_between_canvas_pixels_rounds_as_published():
    # 370.5 / 768 survives the way through image px only up to the last bit; halves go to even, as in the dense way.
    for extent in (531, 621, 1072):
        x = np.array([370.5, 371.5]) / CANVAS
        fix = fixations(x, [0.5, 0.5], size=(64, extent))
        wanted = published(x, [0.5, 0.5], [300, 300], 10, (64, extent))
        assert np.abs(square768(fix, 10.0).values - wanted).max() <= 1e-6


def test_a_sigma_in_shares_of_the_shorter_side_and_the_outlier_filter():
    fix = Fixations(
        [30.0, 31, 32, 30, 100], [20.0, 21, 20, 22, 60], np.arange(5) * 300.0, [200.0, 200, 200, 200, 40],
        image_size=(64, 128), image_id="a",
    )  # fmt: skip
    share = MapsConfig(canvas="native", sigma=1 / 16, sigma_unit="side")
    plain = heatmap(fix, share)
    assert plain.sigma_px == 4.0
    np.testing.assert_array_equal(plain.values, heatmap(fix, MapsConfig(canvas="native", sigma=4.0)).values)
    assert plain.values[60, 100] > 0.05
    filtered = heatmap(fix, share.model_copy(update={"outlier": True})).values
    assert filtered[60, 100] == 0
    assert filtered.max() == 1
    alone = Fixations([30.0], [20.0], [0.0], [200.0], image_size=(64, 128), image_id="a")
    assert not heatmap(alone, share.model_copy(update={"outlier": True})).values.any()
    with pytest.raises(ConfigError, match="'side' has no meaning on the stretched canvas"):
        heatmap(fix, MapsConfig(sigma=0.1, sigma_unit="side"))
    assert MapsConfig().inactive == {"outlier", "outlier_tau", "outlier_mass"}
    assert not MapsConfig(outlier=True).inactive
