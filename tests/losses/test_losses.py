import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from monai.metrics import DiceMetric, MeanIoU

from gazeseg.losses import (
    cross_level_consistency,
    hard_overlap,
    logits_from_probabilities,
    partial_cross_entropy,
    partial_dice_loss,
    probabilities,
    soft_dice_loss,
)


def _case(channels, size=(2, 5, 7), seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], channels, *size[1:], generator=random, requires_grad=True)
    return logits, torch.randint(0, max(2, channels), size, generator=random)


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (4, 4)])
def test_probabilities_sum_to_one_and_turn_back(channels, classes):
    logits, _ = _case(channels)
    values = probabilities(logits, classes)
    assert values.shape[1] == classes
    torch.testing.assert_close(values.sum(dim=1), torch.ones(2, 5, 7))
    again = probabilities(logits_from_probabilities(values), classes)
    torch.testing.assert_close(again, values)
    assert probabilities(logits.bfloat16(), classes).dtype == torch.float32


def test_extreme_logits_stay_finite():
    values = probabilities(torch.tensor([200.0, -200.0]).view(1, 1, 1, 2), 2)
    assert torch.isfinite(logits_from_probabilities(values)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_with_every_pixel_labelled_it_is_the_ordinary_cross_entropy(channels):
    logits, target = _case(channels)
    plain = (
        F.binary_cross_entropy_with_logits(logits[:, 0], target.float())
        if channels == 1
        else F.cross_entropy(logits, target)
    )
    torch.testing.assert_close(partial_cross_entropy(logits, target), plain)


def test_cross_entropy_by_hand():
    # image one: logits 0 and ln 3 on a foreground and a background pixel; image two: one labelled pixel of three
    logits = torch.tensor([[0.0, math.log(3), 5.0], [math.log(3), 9.0, -9.0]]).view(2, 1, 1, 3)
    target = torch.tensor([[1, 0, 255], [1, 255, 255]]).view(2, 1, 3)
    expected = ((math.log(2) + math.log(4)) / 2 + math.log(4 / 3)) / 2
    assert partial_cross_entropy(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loss", [partial_cross_entropy, partial_dice_loss])
def test_ignored_pixels_get_no_gradient_and_change_nothing(loss, channels):
    logits, target = _case(channels)
    target[:, 1:3] = 255
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[:, :, 1:3] == 0).all()
    assert (gradient[:, :, 3:] != 0).any()
    moved = logits.detach().clone()
    moved[:, :, 1:3] += 7
    torch.testing.assert_close(loss(moved, target), value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loss", [partial_cross_entropy, partial_dice_loss])
def test_an_image_without_labels_gives_zero(loss, channels):
    logits, target = _case(channels)
    nothing = torch.full_like(target, 255)
    value = loss(logits, nothing)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value == 0
    assert (gradient == 0).all()
    one = torch.cat([target[:1], nothing[1:]])
    torch.testing.assert_close(loss(logits, one), loss(logits[:1], target[:1]) / 2)


def test_bfloat16_logits_are_computed_in_float32():
    logits, target = _case(1)
    assert partial_cross_entropy(logits.bfloat16(), target).dtype == torch.float32
    assert partial_dice_loss(logits.bfloat16(), target).dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 4])
def test_dice_equals_monai(channels):
    logits, target = _case(channels)
    classes = max(2, channels)
    truth = F.one_hot(target, classes).movedim(-1, 1).float()
    reference = DiceLoss(include_background=False, smooth_nr=1e-6, smooth_dr=1e-6)(
        probabilities(logits, classes), truth
    )
    torch.testing.assert_close(partial_dice_loss(logits, target), reference)


def test_nothing_predicted_where_nothing_is_true_is_a_full_overlap():
    zeros = torch.zeros(1, 1, 4, 4)
    assert soft_dice_loss(zeros, zeros) == 0


def test_hard_overlap_equals_monai():
    random = torch.Generator().manual_seed(0)
    prediction, truth = (torch.rand(6, 1, 9, 8, generator=random) > 0.5 for _ in range(2))
    dice, iou = hard_overlap(prediction, truth)
    torch.testing.assert_close(dice, DiceMetric()(prediction, truth))
    torch.testing.assert_close(iou, MeanIoU()(prediction, truth))


@pytest.mark.parametrize("both_empty", [0.0, 1.0])
def test_hard_overlap_names_its_rule_for_two_empty_masks(both_empty):
    empty = torch.zeros(3, 3, dtype=torch.bool)
    assert [value.item() for value in hard_overlap(empty, empty, both_empty=both_empty)] == [both_empty] * 2
    assert [value.item() for value in hard_overlap(empty, ~empty, both_empty=both_empty)] == [0, 0]


def test_consistency_by_hand():
    # foreground probabilities .5 and .9 agree by .5 * .9 + .5 * .1 = .5
    logits = [torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), math.log(9))]
    torch.testing.assert_close(cross_level_consistency(logits, 2), torch.tensor([-0.5, -0.5]))


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 3)])
def test_consistency_stays_in_its_bounds_and_peers_stay_fixed(channels, classes):
    levels = [_case(channels, seed=seed)[0] for seed in range(3)]
    terms = cross_level_consistency(levels, classes)
    assert terms.shape == (3,)
    assert ((terms >= -1) & (terms <= 0)).all()
    for index in range(3):
        gradients = torch.autograd.grad(terms[index], levels, retain_graph=True, allow_unused=True)
        assert [gradient is not None and bool(gradient.any()) for gradient in gradients] == [
            index == other for other in range(3)
        ]


def test_a_single_level_has_no_peer():
    assert cross_level_consistency([_case(1)[0]], 2).tolist() == [0]


def test_full_agreement_reaches_minus_one():
    sure = torch.full((2, 1, 3, 3), 50.0)
    torch.testing.assert_close(cross_level_consistency([sure, sure, sure], 2), -torch.ones(3))


@pytest.mark.real
def test_equals_the_published_values(golden):
    values = {key: torch.tensor(value) for key, value in np.load(golden / "gazemedseg_released.npz").items()}
    logits, target = values["logits"], values["target"][:, 0].long()

    def near(ours, key):
        torch.testing.assert_close(ours.double(), values[key].double(), atol=1e-6, rtol=0)

    for count in (2, 3):
        chosen, propagated = list(logits[:count]), list(values["logits_prop"][:count])
        near(cross_level_consistency(chosen, 2), f"consistency_pure_{count}")
        near(cross_level_consistency(chosen, 2, propagated=propagated), f"consistency_prop_{count}")
    near(partial_cross_entropy(logits[0], target), "bce")
    near(partial_dice_loss(logits[0], target), "dice_soft_loss")
    dice, iou = hard_overlap(logits[0, :, 0] > 0, target == 1)
    near(dice, "dice_hard")
    near(iou, "iou_hard")
    empty = torch.zeros(1, 4, 4, dtype=torch.bool)
    near(hard_overlap(empty, empty, both_empty=0)[0], "dice_both_empty_released")
