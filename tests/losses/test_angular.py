import math

import numpy as np
import pytest
import torch

from gazeseg.losses import angular_consistency


def _maps(*widths, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, width, 6, 5, generator=random, dtype=torch.float64) for width in widths]


def test_zero_for_equal_features_and_for_scaled_ones():
    maps = _maps(4, 8)
    assert angular_consistency(maps, maps).item() == pytest.approx(0, abs=1e-12)
    assert angular_consistency(maps, [7 * x for x in maps]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("degrees", "expected"), [(90, 1), (180, 2), (60, 0.5)])
def test_the_angle_decides(degrees, expected):
    angle = math.radians(degrees)
    student = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    teacher = torch.tensor([math.cos(angle), math.sin(angle)]).view(1, 2, 1, 1)
    assert angular_consistency([student], [3 * teacher]).item() == pytest.approx(expected, abs=1e-6)


def test_scales_count_alike_whatever_their_size():
    big, small = torch.ones(1, 2, 8, 8), torch.ones(1, 2, 1, 1)
    assert angular_consistency([big, small], [big, -small]).item() == pytest.approx(1)


def test_the_teacher_receives_no_gradient():
    student, teacher = (x.requires_grad_() for x in (*_maps(4), *_maps(4, seed=1)))
    own, other = torch.autograd.grad(angular_consistency([student], [teacher]), [student, teacher], allow_unused=True)
    assert other is None
    assert (own != 0).any()


def test_zero_features_and_bfloat16_are_finite():
    zeros = torch.zeros(1, 4, 3, 3, requires_grad=True)
    loss = angular_consistency([zeros], [torch.zeros(1, 4, 3, 3)])
    assert loss.item() == pytest.approx(1)
    assert torch.isfinite(torch.autograd.grad(loss, zeros)[0]).all()
    half = [x.bfloat16() for x in _maps(4)]
    assert angular_consistency(half, half).dtype == torch.float32


@pytest.mark.real
def test_equals_the_published_values(golden):
    values = {key: torch.tensor(value) for key, value in np.load(golden / "fgi_released.npz").items()}
    student, teacher = ([values[f"afc_{side}_{i}"] for i in range(4)] for side in ("student", "teacher"))
    loss = angular_consistency(student, teacher)
    assert loss.item() == pytest.approx(values["afc_beta_1"].item(), abs=1e-6)
    assert 0.5 * loss.item() == pytest.approx(values["afc_beta_0.5_released"].item(), abs=1e-6)
