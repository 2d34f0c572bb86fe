import itertools
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazeseg.losses import propagation
from gazeseg.losses.neighbourhood import Neighbourhood
from gazeseg.losses.propagation import propagate_logits

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _unfolded(features, weight, bias, around):
    """The plain form: gather every neighbour of every channel, mix, classify."""
    batch, _, height, width = features.shape

    def gather(maps):
        window = F.unfold(maps, around.kernel, dilation=around.dilation, padding=around.reach_px)
        return window.view(batch, maps.shape[1], -1, height, width)

    compared = F.normalize(features, dim=1) if around.similarity == "cosine" else features
    scores = (compared[:, :, None] * gather(compared)).sum(dim=1).relu() / around.temperature
    if around.pad == "exclude":
        scores = scores.masked_fill(gather(torch.ones_like(features[:, :1]))[:, 0] == 0, -torch.inf)
    return F.conv2d((scores.softmax(dim=1)[:, None] * gather(features)).sum(dim=2), weight, bias)


def _by_shifts(features, weight, bias, around):
    """The form for accelerators, which runs anywhere."""
    out = propagation._ByShifts.apply(features, weight[..., 0, 0], around)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


FORMS = {"cpu": propagate_logits, "accelerator": _by_shifts}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def _inputs(shape, classes, dtype, seed=0):
    random = torch.Generator().manual_seed(seed)
    sizes = (shape, (classes, shape[1], 1, 1), (classes,))
    return [torch.randn(size, generator=random, dtype=dtype, requires_grad=True) for size in sizes]


def _with_gradients(form, inputs, around):
    out = form(*inputs, around)
    return [out, *torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum(), inputs)]


OPTIONS = [
    Neighbourhood(similarity, pad, kernel, dilation, temperature)
    for similarity, pad, (kernel, dilation, temperature) in itertools.product(
        ("cosine", "dot"), ("exclude", "zero"), ((5, 2, 1.0), (3, 1, 0.1), (5, 1, 2.0), (3, 3, 1.0), (1, 1, 1.0))
    )
]


@pytest.mark.parametrize("around", OPTIONS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_the_unfolded_form_with_all_gradients(form, around, dtype, tolerance):
    inputs = _inputs((2, 6, 13, 11), 2, dtype)
    ours, plain = (_with_gradients(one, inputs, around) for one in (form, _unfolded))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance * max(1.0, b.abs().max().item()), rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 2), (3, 40)])
@pytest.mark.parametrize("pad", ["exclude", "zero"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_images_smaller_than_the_window(form, size, pad, similarity):
    around = Neighbourhood(similarity, pad)
    inputs = _inputs((2, 4, *size), 1, torch.float64)
    ours, plain = (_with_gradients(one, inputs, around) for one in (form, _unfolded))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("pad", ["exclude", "zero"])
def test_gradcheck(form, similarity, pad):
    inputs = _inputs((1, 3, 4, 5), 2, torch.float64, seed=3)
    around = Neighbourhood(similarity, pad, kernel=3, dilation=1, temperature=0.5)
    assert torch.autograd.gradcheck(lambda *x: form(*x, around), inputs)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_constant_map_is_a_fixed_point_when_the_outside_is_excluded(form, similarity):
    features = torch.full((1, 3, 12, 14), 0.7)
    weight, bias = torch.randn(2, 3, 1, 1), torch.randn(2)
    plain = F.conv2d(features, weight, bias)
    torch.testing.assert_close(form(features, weight, bias, Neighbourhood(similarity)), plain)
    bordered = form(features, weight, bias, Neighbourhood(similarity, "zero"))
    torch.testing.assert_close(bordered[..., 4:-4, 4:-4], plain[..., 4:-4, 4:-4])
    assert (bordered[..., 0, 0] - plain[..., 0, 0]).abs().max() > 0.01


def test_weights_at_the_start_are_those_measured_for_the_paper(form):
    # a centre that is alike to itself alone: exp(1) against 24 times exp(0) in a 5x5 window
    features = torch.eye(25 * 25).view(1, 625, 25, 25)
    out = form(features, torch.eye(625)[:, :, None, None], None, Neighbourhood())
    assert out[0, 312, 12, 12].item() == pytest.approx(np.e / (np.e + 24))


def test_layout_and_precision_of_the_features_do_not_matter():
    features, weight, bias = _inputs((2, 8, 16, 20), 1, torch.float32)
    around = Neighbourhood()
    expected = _with_gradients(propagate_logits, [features, weight, bias], around)
    last = features.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    for a, b in zip(_with_gradients(propagate_logits, [last, weight, bias], around), expected, strict=True):
        torch.testing.assert_close(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = propagate_logits(features, weight, bias, around)
    torch.testing.assert_close(out, expected[0])  # autocast is off inside
    half = features.detach().bfloat16().requires_grad_()
    out = propagate_logits(half, weight, bias, around)
    (gradient,) = torch.autograd.grad(out.sum(), half)
    assert out.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected[0], atol=0.05, rtol=0.05)


def test_vectors_without_a_direction_give_finite_gradients(form):
    features = torch.zeros(1, 3, 6, 6, requires_grad=True)
    out = form(features, torch.randn(1, 3, 1, 1), None, Neighbourhood())
    (gradient,) = torch.autograd.grad(out.sum(), features)
    assert torch.isfinite(out).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_vectors_too_short_for_a_direction_keep_their_length(form, dtype):
    features, weight, bias = _inputs((1, 3, 9, 9), 1, dtype)
    with torch.no_grad():
        features[..., ::2] *= 2e-13  # on both sides of the shortest length that is divided by
    inputs = [features, weight, bias]
    ours, plain = (_with_gradients(one, inputs, Neighbourhood()) for one in (form, _unfolded))
    short, long = (np.s_[..., ::2], np.s_[..., 1::2])
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for part in (short, long):
        a, b = ours[1][part], plain[1][part]
        torch.testing.assert_close(a, b, atol=tolerance * b.abs().max().item(), rtol=0)


def test_saves_less_than_a_twentieth_for_the_backward_pass(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    stage = runpy.run_path(str(BENCHMARKS / "stages" / "propagation.py"))
    monkeypatch.delitem(sys.modules, "ledger", raising=False)
    inputs = _inputs((1, 128, 28, 28), 1, torch.float32)
    around = Neighbourhood()
    plain, shifts, lean = (
        stage["saved_bytes"](one, inputs, around) for one in (stage["published"], _by_shifts, propagate_logits)
    )
    assert shifts * 20 < plain
    assert lean < shifts


@pytest.mark.real
def test_equals_the_published_operator(form, golden):
    values = {key: torch.tensor(value) for key, value in np.load(golden / "gazemedseg_released.npz").items()}
    around = Neighbourhood("dot", "zero", kernel=5, dilation=2)
    features = values["lpp_features"]
    identity = torch.eye(features.shape[1], dtype=features.dtype)[:, :, None, None]
    torch.testing.assert_close(form(features, identity, None, around), values["lpp_released"], atol=1e-10, rtol=0)
    logits = form(features, values["lpp_classifier_weight"], values["lpp_classifier_bias"], around)
    torch.testing.assert_close(logits, values["lpp_logits_released"], atol=1e-10, rtol=0)
