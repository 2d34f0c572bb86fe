import pytest
import torch

from gazeseg.losses import partial_cross_entropy, partial_dice_loss
from gazeseg.losses.soft import missing_dwell, soft_cross_entropy, soft_target_dice

RANDOM = torch.Generator().manual_seed(0)
LOGITS = torch.randn(3, 9, 11, generator=RANDOM)
HARD = torch.randint(0, 2, (3, 9, 11), generator=RANDOM)


@pytest.mark.parametrize("ignored", [0.0, 0.4])
def test_with_hard_targets_they_are_the_partial_losses(ignored):
    hidden = torch.rand(HARD.shape, generator=RANDOM) < ignored
    weight, target = (~hidden).float(), HARD.masked_fill(hidden, 255)
    args = LOGITS, HARD.float(), weight
    torch.testing.assert_close(soft_cross_entropy(*args).mean(), partial_cross_entropy(LOGITS[:, None], target))
    torch.testing.assert_close(soft_target_dice(*args).mean(), partial_dice_loss(LOGITS[:, None], target))


def test_a_soft_target_is_best_met_by_itself():
    target = torch.full((1, 4, 4), 0.3)
    weight = torch.ones_like(target)
    values = torch.linspace(0.05, 0.95, 19)
    for loss in (soft_cross_entropy, soft_target_dice):
        found = torch.stack([loss(torch.logit(v).expand(1, 4, 4), target, weight)[0] for v in values])
        assert values[found.argmin()].item() == pytest.approx(0.3, abs=1e-6)
    assert soft_target_dice(torch.logit(target), target, weight).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [soft_cross_entropy, soft_target_dice])
def test_an_image_of_weight_nought_gives_nought_and_no_gradient(loss):
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, HARD.float(), torch.zeros_like(LOGITS))
    value.sum().backward()
    assert value.abs().max() < 1e-6
    assert logits.grad.abs().max() == 0


def test_the_dwell_that_is_missing():
    gaze = torch.zeros(3, 4, 4)
    gaze[0, 1, 1], gaze[0, 2, 2] = 1.0, 0.75  # above half the maximum: .5 and .25
    gaze[1, 0, 0] = 0.4
    foreground = torch.zeros(3, 4, 4)
    foreground[0, 1, 1] = 1.0
    found = missing_dwell(foreground, gaze, 0.9)
    assert found.tolist() == pytest.approx([0.9 - 2 / 3, 0.9, 0.0])  # the last image has no gaze
    assert missing_dwell(torch.ones(3, 4, 4), gaze, 0.9).tolist() == [0, 0, 0]
