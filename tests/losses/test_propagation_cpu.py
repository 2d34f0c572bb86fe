import math

import numpy as np
import pytest
import torch

from gazeseg.losses import propagation, propagation_cpu
from gazeseg.losses.neighbourhood import Neighbourhood
from gazeseg.losses.propagation import propagate_logits


def _arrays(shape, classes=2, dtype=np.float32, seed=0):
    """Features, weight and the gradient of the result."""
    random = np.random.default_rng(seed)
    sizes = (shape, (classes, shape[1]), (shape[0], classes, *shape[2:]))
    return [random.standard_normal(size).astype(dtype) for size in sizes]


def _both_ways(features, weight, grad, around, threads=1):
    out, similarity, inverse = propagation_cpu.forward(features, weight, around, threads)
    return out, *propagation_cpu.backward(features, weight, similarity, inverse, grad, around, threads)


@pytest.mark.parametrize(
    "shape",
    [(1, 5, 40, 110), (2, 3, 7, propagation_cpu.BLOCK + 30), (1, 3, 64, 16), (1, 9, 33, 31)],
    ids=str,
)
@pytest.mark.parametrize("around", [Neighbourhood(), Neighbourhood("dot", "zero", 3, 1, 0.5)], ids=str)
def test_images_of_many_blocks_equal_the_form_in_tensor_operations(shape, around):
    features, weight, grad = _arrays(shape)
    ours = _both_ways(features, weight, grad, around)
    inputs = [torch.from_numpy(array).double().requires_grad_() for array in (features, weight)]
    exact = propagation._ByShifts.apply(*inputs, around)
    expected = (exact, *torch.autograd.grad(exact, inputs, torch.from_numpy(grad).double()))
    for a, b in zip(ours, expected, strict=True):
        b = b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_bits_do_not_depend_on_the_number_of_threads_or_the_images_beside(similarity):
    around = Neighbourhood(similarity)
    features, weight, grad = _arrays((5, 6, 30, 50))
    alone = _both_ways(features, weight, grad, around)
    for threads in (2, 3, 8):
        for a, b in zip(_both_ways(features, weight, grad, around, threads), alone, strict=True):
            np.testing.assert_array_equal(a, b)
    out, grad_features, _ = _both_ways(features[3:4], weight, grad[3:4], around)
    np.testing.assert_array_equal(out[0], alone[0][3])
    np.testing.assert_array_equal(grad_features[0], alone[1][3])


def test_weights_of_scores_far_apart_are_those_of_a_hand_computed_pair():
    # dot products 900, 30 and 1: in float32 exp(900) has no value
    features = np.array([[[[30.0, 1.0]]]], np.float32)
    out, *_ = propagation_cpu.forward(features, np.ones((1, 1), np.float32), Neighbourhood("dot", "exclude", 3, 1), 1)
    near = math.exp(30) / (math.exp(30) + math.exp(1))
    np.testing.assert_allclose(out[0, 0, 0], [30.0, near * 30 + (1 - near) * 1], rtol=1e-6)


@pytest.mark.parametrize("pad", ["exclude", "zero"])
def test_a_sharp_temperature_keeps_float32_within_its_rounding(pad):
    around = Neighbourhood("cosine", pad, temperature=0.01)
    arrays = _arrays((1, 4, 20, 20))
    coarse = _both_ways(*arrays, around)
    exact = _both_ways(*(array.astype(np.float64) for array in arrays), around)
    for a, b in zip(coarse, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())  # a hundredfold rounding of a cosine


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_what_is_not_finite_shows(value, similarity):
    features = torch.ones(1, 3, 12, 12)
    features[0, 1, 5, 6] = value
    out = propagate_logits(features, torch.ones(1, 3, 1, 1), None, Neighbourhood(similarity))
    assert not torch.isfinite(out[0, 0, 5, 6])


def test_no_image_and_no_gradient():
    weight = torch.ones(1, 3, 1, 1)
    assert propagate_logits(torch.ones(0, 3, 8, 8), weight, None, Neighbourhood()).shape == (0, 1, 8, 8)
    with torch.no_grad():
        out = propagate_logits(torch.ones(1, 3, 8, 8), weight, None, Neighbourhood())
    torch.testing.assert_close(out, torch.full((1, 1, 8, 8), 3.0))
