import dataclasses

import pytest
import torch

from gazeseg.errors import ConfigError
from gazeseg.losses import partial_cross_entropy, partial_dice_loss
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, check_method, make_batch
from gazeseg.methods.gaze_prompt import GazePrompt, GazePromptConfig

PLAIN = {
    "target": "hard",
    "quality_power": 0,
    "consistency_weight": 0,
    "strong": 0,
    "distrust": 0,
    "gaze_weight": 0,
}


def _weak(batch):
    """The ternary target that the default band makes of the soft map."""
    soft = batch.soft[:, 0]
    weak = torch.where(soft >= 0.7, 1, torch.where(soft <= 0.3, 0, 255))
    return weak.masked_fill(batch.pseudo[:, 0] == 255, 255)


def _make(**keys):
    return create({"name": "gaze_prompt", **keys}, network=NETWORK, in_channels=3, num_classes=2, levels=1, seed=0)


def _batch(**fields):
    return dataclasses.replace(make_batch(GazePrompt.needs, in_channels=3, num_classes=2), **fields)


@pytest.mark.parametrize("keys", [PLAIN, {"scales": (0.5, 1.5), "ema_decay": 0, "inference": "student"}])
def test_the_contract_holds_with_every_ingredient_off_or_other(keys):
    check_method(GazePrompt, GazePromptConfig(**keys))


def test_with_every_ingredient_off_it_is_the_partial_baseline():
    method, batch = _make(**PLAIN), _batch()
    losses = method.training_step(batch, 0).losses
    logits = method.student(batch.image)
    assert set(losses) == {"ce", "dice"}
    torch.testing.assert_close(losses["ce"], partial_cross_entropy(logits, _weak(batch)))
    torch.testing.assert_close(losses["dice"], partial_dice_loss(logits, _weak(batch)))


def test_a_case_of_no_quality_teaches_nothing_and_the_others_keep_their_sum():
    method, batch = _make(**{**PLAIN, "quality_power": 1}), _batch(quality=torch.tensor([0.6, 0.0]))
    loss = method.training_step(batch, 0).losses["ce"]
    logits = method.student(batch.image)
    torch.testing.assert_close(loss, partial_cross_entropy(logits[:1], _weak(batch)[:1]))


def test_a_pixel_that_the_teacher_contradicts_loses_weight():
    method = _make(distrust=0.5, ramp_iterations=0)
    known = torch.tensor([[[True, True, True, True, False]]])
    soft = torch.tensor([[[0.9, 0.9, 0.1, 0.5, 0.9]]])
    believed = torch.tensor([[[1.0, 0.2, 1.0, 0.5, 0.5]]])
    target, weight = method._target(known, soft, believed, 1.0)
    assert target is soft
    assert weight[0, 0].tolist() == pytest.approx([1.0, 0.6, 0.5, 0.0, 0.0])


def test_the_teacher_is_the_moving_average_and_takes_no_gradient():
    method = _make(ema_decay=0.9)
    method.train()
    assert not method.teacher.training
    start = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.add_(1.0)
    method.after_step(10_000)
    for before, now in zip(start, method.teacher.parameters(), strict=True):
        torch.testing.assert_close(now, before + 0.1)
    assert not any(p.requires_grad for p in method.teacher.parameters())
    first = _make(ema_decay=0.9)
    with torch.no_grad():
        next(first.student.parameters()).add_(1.0)
    before = next(first.teacher.parameters()).clone()
    first.after_step(0)
    torch.testing.assert_close(next(first.teacher.parameters()), before + 0.9)  # decay 1/10 at the first step


def test_the_strong_view_depends_on_seed_and_step_alone_and_hides_a_part():
    method, images = _make(strong=1.0), torch.randn(4, 3, 40, 40)
    assert torch.equal(method._strong_view(images, 3), method._strong_view(images, 3))
    assert not torch.equal(method._strong_view(images, 3), method._strong_view(images, 4))
    assert torch.equal(_make(strong=0.0)._strong_view(images, 3), images)
    view = method._strong_view(images, 3)
    flat = (view - view.roll(1, dims=-1)).abs().amax(dim=1) == 0  # a hole is of one colour
    assert 0 < flat.float().mean() < 0.4**2


def test_consistency_grows_with_the_ramp():
    method, batch = _make(ramp_iterations=100), _batch()
    with torch.no_grad():
        method.teacher.head.bias.add_(5)  # confident
    early, late = (method.training_step(batch, step).losses["consistency"] for step in (0, 100))
    assert 0 < early < 0.05 * late


def test_gaze_is_one_term():
    batch = _batch()
    assert "gaze" in _make().training_step(batch, 0).losses
    assert "gaze" not in _make(gaze_weight=0).training_step(batch, 0).losses


def test_more_classes_are_refused():
    with pytest.raises(ConfigError, match="not which of 2 classes"):
        create({"name": "gaze_prompt"}, network=NETWORK, in_channels=1, num_classes=3, levels=1, seed=0)


def test_an_explanation_shows_networks_and_supervision():
    method = _make().eval()
    batch = make_batch(GazePrompt.needs, in_channels=3, num_classes=2, batch_size=1)
    layers = method.explain(batch)
    assert [layer.row for layer in layers] == ["networks"] * 3 + ["supervision"] * 3
    ignored = next(layer for layer in layers if layer.title == "ignored")
    assert torch.equal(ignored.values == 1, _weak(batch)[0] == 255)


def test_a_band_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="must be below"):
        _make(tau_f=0.3, tau_b=0.6)
