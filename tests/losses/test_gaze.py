"""The Gaze Loss of the reconstruction: zero where perception is gaze, free of scale, silent without gaze."""

import pytest
import torch

from gazeseg.losses.gaze import gaze_loss

G = torch.Generator().manual_seed(0)
GAZE = torch.rand(3, 1, 16, 16, generator=G) + 0.01
MAPS = [torch.randn(3, 1, side, side, generator=G) for side in (4, 8, 16)]
VALID = torch.tensor([True, True, True])


def test_it_is_zero_where_perception_is_the_gaze():
    equal = [torch.nn.functional.adaptive_avg_pool2d(GAZE, side).log() + 3 for side in (4, 8, 16)]
    assert gaze_loss(equal, GAZE, VALID).item() == pytest.approx(0, abs=1e-5)
    assert gaze_loss(MAPS, GAZE, VALID) > 0.1


@pytest.mark.parametrize("kind", ["kl_cc", "cc", "mse", "bce"])
def test_a_factor_on_the_gaze_changes_nothing(kind):
    one, other = (gaze_loss(MAPS, GAZE * factor, VALID, kind=kind) for factor in (1.0, 0.03))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["kl_cc", "cc", "mse", "bce"])
def test_images_without_gaze_have_no_say(kind):
    part = torch.tensor([True, False, True])
    torch.testing.assert_close(
        gaze_loss(MAPS, GAZE, part, kind=kind), gaze_loss([m[part] for m in MAPS], GAZE[part], VALID[part], kind=kind)
    )
    empty = GAZE.clone()
    empty[1] = 0
    torch.testing.assert_close(gaze_loss(MAPS, empty, VALID, kind=kind), gaze_loss(MAPS, GAZE, part, kind=kind))
    for gaze, valid in ((GAZE, ~VALID), (torch.zeros_like(GAZE), VALID)):
        maps = [m.clone().requires_grad_() for m in MAPS]
        loss = gaze_loss(maps, gaze, valid, kind=kind)
        loss.backward()
        assert loss == 0
        assert all(torch.isfinite(m.grad).all() and not m.grad.any() for m in maps)


def test_about_one_at_the_start_and_learnt_in_a_few_steps():
    """The specification measured 1.13 falling to .05 in about 26 steps on a toy target."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    gaze = torch.exp(-((rows - 5) ** 2 + (columns - 9) ** 2) / 18)[None, None]
    logit = torch.zeros(1, 1, 16, 16).add(0.01 * torch.randn(1, 1, 16, 16, generator=G)).requires_grad_()
    first = gaze_loss([logit], gaze, VALID[:1]).item()
    assert 0.8 < first < 1.6
    optimizer = torch.optim.Adam([logit], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = gaze_loss([logit], gaze, VALID[:1])
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * first
