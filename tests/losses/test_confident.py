import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazeseg.losses import confident_consistency, most_probable, probabilities, ramp_up


def _logit(p):
    return math.log(p / (1 - p))


def _pair(student, teacher):
    """Foreground probabilities of a row of pixels as logits of the one and probabilities of the other."""
    logits = torch.tensor([_logit(p) for p in student], dtype=torch.float64).view(1, 1, 1, -1)
    target = torch.tensor(teacher, dtype=torch.float64).view(1, 1, 1, -1)
    return logits.requires_grad_(), torch.cat([1 - target, target], dim=1)


def test_by_hand():
    """Pixels: both foreground, both background, student unsure, teacher unsure, opposite."""
    logits, target = _pair([0.9, 0.1, 0.7, 0.9, 0.1], [0.95, 0.15, 0.9, 0.7, 0.9])
    loss, share = confident_consistency(logits, target)
    expected = (0.95 * -math.log(0.9) + 0.85 * -math.log(0.9)) / (0.95 + 0.85)
    assert loss.item() == pytest.approx(expected)
    assert share.item() == pytest.approx(2 / 5)
    loss, share = confident_consistency(logits, target, both=False)
    terms = [(0.95, 0.9), (0.85, 0.9), (0.9, 0.7), (0.9, 0.1)]
    assert loss.item() == pytest.approx(-sum(w * math.log(p) for w, p in terms) / sum(w for w, _ in terms))
    assert share.item() == pytest.approx(4 / 5)


def test_the_two_thresholds_act_on_their_sides():
    logits, target = _pair([0.92, 0.12], [0.92, 0.12])
    shares = [
        confident_consistency(logits, target, tau_pos=a, tau_neg=b)[1].item() for a, b in ((0.95, 0.2), (0.9, 0.1))
    ]
    assert shares == [0.5, 0.5]


def test_without_a_confident_pixel_it_is_zero_and_so_is_its_gradient():
    logits, target = _pair([0.6, 0.3], [0.6, 0.4])
    loss, share = confident_consistency(logits, target)
    assert loss.item() == 0
    assert share.item() == 0
    assert (torch.autograd.grad(loss, logits)[0] == 0).all()


def test_the_target_receives_no_gradient():
    logits, target = _pair([0.9, 0.1], [0.95, 0.15])
    target.requires_grad_()
    loss, share = confident_consistency(logits, target)
    own, other = torch.autograd.grad(loss, [logits, target], allow_unused=True)
    assert other is None
    assert (own != 0).all()
    assert not share.requires_grad


def test_three_classes_agree_with_the_sum_over_pixels():
    random = torch.Generator().manual_seed(0)
    logits, other = (4 * torch.randn(2, 3, 8, 8, generator=random, dtype=torch.float64) for _ in range(2))
    target = probabilities(other, 3)
    own = probabilities(logits, 3)
    total = weight = 0.0
    for b, y, x in np.ndindex(2, 8, 8):
        best = int(target[b, :, y, x].argmax())
        t, s = target[b, best, y, x].item(), own[b, best, y, x].item()
        if t > 0.8 and s > 0.8:
            total, weight = total - t * math.log(s), weight + t
    assert confident_consistency(logits, target)[0].item() == pytest.approx(total / weight)


def test_two_classes_are_the_general_case():
    random = torch.Generator().manual_seed(0)
    logit, other = (3 * torch.randn(2, 1, 8, 8, generator=random, dtype=torch.float64) for _ in range(2))
    target = probabilities(other, 2)
    own = torch.cat([torch.zeros_like(logit), logit], dim=1)  # the softmax of (0, z) is the sigmoid of z
    confidence, label = target.max(dim=1)
    region = (confidence > 0.8) & (own.softmax(dim=1).gather(1, label[:, None])[:, 0] > 0.8)
    expected = (confidence * F.cross_entropy(own, label, reduction="none"))[region].sum() / confidence[region].sum()
    torch.testing.assert_close(confident_consistency(logit, target)[0], expected)
    values, classes = most_probable(target)
    assert torch.equal(values, confidence)
    assert torch.equal(classes, label)


def test_the_released_loss_is_cross_entropy_on_confident_pixels():
    random = torch.Generator().manual_seed(3)
    logits, other = (2 * torch.randn(2, 2, 9, 8, generator=random, dtype=torch.float64) for _ in range(2))
    confidence, label = other.softmax(dim=1).max(dim=1)
    expected = F.cross_entropy(logits, label, reduction="none")[confidence >= 0.8].mean()
    relative = logits[:, 1:] - logits[:, :1]
    loss, _ = confident_consistency(relative, other.softmax(dim=1), both=False, weighted=False)
    torch.testing.assert_close(loss, expected)


@pytest.mark.real
def test_equals_the_published_loss(golden):
    values = {key: torch.tensor(value) for key, value in np.load(golden / "fgi_released.npz").items()}
    logits, target = values["cwc_inputs_two_class_logits"], values["cwc_targets_two_class_logits"].softmax(dim=1)
    loss, _ = confident_consistency(logits[:, 1:] - logits[:, :1], target, both=False, weighted=False)
    assert loss.item() == pytest.approx(values["cwc_released"].item(), abs=1e-6)


@pytest.mark.real
def test_ramp_equals_the_published_one(golden):
    values = np.load(golden / "fgi_released.npz")
    ramp = [ramp_up(int(step), 4000, zero_first=True) for step in values["ramp_iterations"]]
    np.testing.assert_allclose(ramp, values["ramp"], atol=1e-6)


def test_ramp_of_no_length_is_one():
    assert ramp_up(0, 0) == 1
    assert ramp_up(0, 10) == pytest.approx(math.exp(-5))
    assert ramp_up(0, 10, zero_first=True) == 0
