"""The lattice against the exact Gaussian, summed over all pairs of pixels, and its properties."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gazeseg.errors import ConfigError
from gazeseg.supervision.permutohedral import build_lattice

WIDTHS = {"sx_px": 8.0, "sy_px": 6.0, "srgb": 50.0}


def smooth_image(seed=0, size=(30, 40), sigma_px=5):
    field = np.random.default_rng(seed).standard_normal((*size, 3))
    field = gaussian_filter(field, (sigma_px, sigma_px, 0))
    return np.rint((field - field.min()) / np.ptp(field) * 255).astype(np.uint8)


def noise_image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def exact_kernel(image, *, sx_px, sy_px, srgb):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    features = np.dstack([x / sx_px, y / sy_px, image / srgb]).reshape(-1, 5)
    return np.exp(-((features[:, None] - features[None]) ** 2).sum(-1) / 2)


@pytest.fixture(scope="module")
def image():
    return smooth_image()


@pytest.fixture(scope="module")
def lattice(image):
    return build_lattice(image, **WIDTHS)


def values_like(image, seed):
    return np.random.default_rng(seed).random(image.shape[:2]).astype(np.float32)


def test_normalised_filter_is_near_the_exact_gaussian(image, lattice):
    kernel = exact_kernel(image, **WIDTHS)
    values = gaussian_filter(np.random.default_rng(1).standard_normal(image.shape[:2]), 3).astype(np.float32)
    ours = lattice.filter(values) / lattice.filter(np.ones_like(values))
    exact = (kernel @ values.ravel() / kernel.sum(1)).reshape(values.shape)
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.99
    assert np.abs(ours - exact).max() < 0.1 * np.ptp(exact)


def test_mass_follows_the_exact_gaussian_up_to_one_factor(image, lattice):
    mass = exact_kernel(image, **WIDTHS).sum(1).reshape(image.shape[:2])
    ratio = lattice.filter(np.ones(image.shape[:2], np.float32)) / mass
    assert ratio.std() < 0.12 * ratio.mean()


def test_constant_in_constant_out(image, lattice):
    ones = np.ones(image.shape[:2], np.float32)
    np.testing.assert_allclose(lattice.filter(3 * ones) / lattice.filter(ones), 3, rtol=1e-5)


def test_filter_is_linear_monotone_and_nearly_symmetric(image, lattice):
    a, b = values_like(image, 2), values_like(image, 3)
    np.testing.assert_allclose(lattice.filter(a + 2 * b), lattice.filter(a) + 2 * lattice.filter(b), rtol=1e-4)
    assert (lattice.filter(a + b) >= lattice.filter(a)).all()
    # exactly symmetric only if every vertex that the blur passes through exists
    assert np.vdot(a, lattice.filter(b)) == pytest.approx(np.vdot(b, lattice.filter(a)), rel=0.02)


def test_weights_are_barycentric(lattice):
    assert (lattice.weights >= -1e-5).all()
    np.testing.assert_allclose(lattice.weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(lattice.row_weights.sum(1), 1, atol=1e-5)


def test_the_six_vertices_of_a_simplex_differ(lattice):
    assert (np.diff(np.sort(lattice.vertices, axis=1), axis=1) > 0).all()


def test_neighbours_point_at_each_other(lattice):
    count = lattice.neighbours.shape[1]
    for back, forth in np.moveaxis(lattice.neighbours, 2, 1):
        here = np.flatnonzero(back < count)
        np.testing.assert_array_equal(forth[back[here]], here)


def test_every_pixel_is_sorted_once_under_its_own_simplex(lattice):
    assert sorted(lattice.pixels) == list(range(lattice.simplex.size))
    owner = np.repeat(np.arange(len(lattice.start) - 1), np.diff(lattice.start))
    np.testing.assert_array_equal(lattice.simplex.ravel()[lattice.pixels], owner)


@pytest.mark.parametrize("stride", [2, 3, 7])
def test_a_stride_drops_the_other_sources_and_nothing_else(image, lattice, stride):
    values = values_like(image, 4)
    on_grid = np.zeros_like(values)
    on_grid[::stride, ::stride] = values[::stride, ::stride]
    coarse = build_lattice(image, **WIDTHS, stride=stride)
    np.testing.assert_allclose(coarse.filter(values), lattice.filter(on_grid), rtol=1e-4, atol=1e-5)


def test_tables_grow_with_an_image_of_noise():
    image = noise_image((260, 260))
    lattice = build_lattice(image, sx_px=3, sy_px=3, srgb=6)
    assert len(lattice.vertices) > 1 << 15  # more simplices than the first table takes
    assert lattice.neighbours.shape[1] > 1 << 15
    # alone in its simplex, a pixel gets back at least what it gave: the sum of its squared weights
    mass = lattice.filter(np.ones(image.shape[:2], np.float32))
    assert (mass >= 0.96 * (lattice.row_weights**2).sum(1)).all()


def test_the_origin_adds_vertices_and_no_mass():
    image = np.full((3, 3, 3), 255, np.uint8)
    plain, more = (build_lattice(image, **WIDTHS, with_origin=origin) for origin in (False, True))
    assert more.neighbours.shape[1] == plain.neighbours.shape[1] + 6
    values = values_like(image, 5)
    np.testing.assert_allclose(more.filter(values), plain.filter(values), rtol=1e-6)
    # a black pixel at (0, 0) is already there: its vertices are found again
    image[0, 0] = 0
    plain, more = (build_lattice(image, **WIDTHS, with_origin=origin) for origin in (False, True))
    assert more.neighbours.shape == plain.neighbours.shape


def test_pixels_too_far_apart_for_a_blur_do_not_meet():
    image = np.zeros((1, 400, 3), np.uint8)
    lattice = build_lattice(image, sx_px=5, sy_px=5, srgb=13)
    impulse = np.zeros((1, 400), np.float32)
    impulse[0, 0] = 1
    filtered = lattice.filter(impulse)
    assert filtered[0, 0] > 0
    assert filtered[0, 60:].max() == 0


def test_one_pixel():
    lattice = build_lattice(np.full((1, 1, 3), 7, np.uint8), **WIDTHS)
    assert lattice.filter(np.ones((1, 1), np.float32))[0, 0] > 0


def test_too_narrow_a_kernel_is_refused_with_its_widths():
    with pytest.raises(ConfigError, match=r"too small for an image of 30 x 40 px, got 0.001 px and 0.01 grey"):
        build_lattice(smooth_image(), sx_px=0.001, sy_px=0.001, srgb=0.01)
