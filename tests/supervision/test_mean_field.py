"""The one-channel, one-pass mean field against the textbook form with two labels in float64."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from gazeseg.supervision.mean_field import mean_field
from gazeseg.supervision.permutohedral import build_lattice

SIZE = (20, 26)


def textbook(lattice, unary, compat, iterations):
    """Q = softmax(-U - compat * (1 - I) N K N Q) with K taken from the lattice, label by label."""

    def kernel(q):
        return lattice.filter(q.astype(np.float32)).astype(np.float64)

    norm = 1 / np.sqrt(kernel(np.ones(SIZE)) + 1e-20)
    energies = np.stack([unary, np.zeros(SIZE)])  # background, foreground: only the difference counts
    q = softmax(-energies, axis=0)
    for _ in range(iterations):
        messages = np.stack([norm * kernel(norm * label) for label in q])
        q = softmax(-energies - compat * messages[::-1], axis=0)
    return q[1]


@pytest.fixture(scope="module")
def lattice():
    field = gaussian_filter(np.random.default_rng(0).standard_normal((*SIZE, 3)), (3, 3, 0))
    image = np.rint((field - field.min()) / np.ptp(field) * 255).astype(np.uint8)
    return build_lattice(image, sx_px=6, sy_px=6, srgb=40)


@pytest.mark.parametrize("compat", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_equals_the_two_label_form(lattice, compat, iterations):
    unary = (3 * np.random.default_rng(1).standard_normal(SIZE)).astype(np.float32)
    ours = mean_field(lattice, unary, compat=compat, iterations=iterations)
    np.testing.assert_allclose(ours, textbook(lattice, unary, compat, iterations), atol=2e-5)


@pytest.mark.parametrize("odds", [-200.0, -11.5, 0.0, 11.5, 200.0])
def test_logistic_over_the_whole_range(lattice, odds):
    # a negligible weight leaves the unary alone
    ours = mean_field(lattice, np.full(SIZE, odds, np.float32), compat=1e-9, iterations=1)
    np.testing.assert_allclose(ours, 1 / (1 + np.exp(-odds)), rtol=1e-6, atol=1e-30)


def test_logistic_between(lattice):
    odds = np.linspace(-40, 40, np.prod(SIZE), dtype=np.float32).reshape(SIZE)
    ours = mean_field(lattice, odds, compat=1e-9, iterations=1)
    np.testing.assert_allclose(ours, 1 / (1 + np.exp(-odds.astype(np.float64))), rtol=1e-6)


def test_input_is_left_alone(lattice):
    unary = np.ones(SIZE, np.float32)
    mean_field(lattice, unary, compat=1, iterations=3)
    assert (unary == 1).all()
