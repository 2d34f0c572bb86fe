"""Mean teacher and its uncertainty-aware form: schedules by hand, and what reaches which network."""

import dataclasses
import math

import pytest
import torch

from gazeseg.config import TrainConfig
from gazeseg.errors import ConfigError
from gazeseg.losses.regions import region_cross_entropy, region_dice
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, make_batch
from gazeseg.methods.mean_teacher import MeanTeacherConfig, consistency_weight, warm_decay
from gazeseg.train.optim import lr_at
from gazeseg.types import IGNORE


def make(name, classes=3, **keys):
    return create({"name": name, **keys}, network=NETWORK, in_channels=1, num_classes=classes, levels=1, seed=0)


def batch_of(method, size=4, **changes):
    batch = make_batch(method.needs, in_channels=1, num_classes=method.num_classes, size=(32, 32), batch_size=size)
    return dataclasses.replace(batch, **changes)


def test_the_published_schedules_by_hand():
    config = MeanTeacherConfig()
    for step, expected in (
        (0, 0.0), (999, 0.0), (1000, 0.1 * math.exp(-5 * (1 - 6 / 200) ** 2)),
        (15_000, 0.1 * math.exp(-1.25)), (29_999, 0.1 * math.exp(-5 * (1 / 200) ** 2)), (30_000, 0.1), (10**6, 0.1),
    ):  # fmt: skip
        assert consistency_weight(step, config) == pytest.approx(expected)
    assert [warm_decay(t, 0.99) for t in (0, 1, 98, 99, 100)] == [0.0, 0.5, 1 - 1 / 99, 0.99, 0.99]
    poly = TrainConfig(iterations=30_000, lr=0.01, lr_min=0, schedule="poly")
    for step in (0, 1000, 15_000):
        assert lr_at(step, poly) == pytest.approx(0.01 * (1 - step / 30_000) ** 0.9)
    assert lr_at(30_000, poly) == 0


def test_the_supervised_loss_is_half_of_cross_entropy_and_dice_on_the_labelled_cases():
    method = make("mean_teacher")
    batch = batch_of(method)
    losses = method.training_step(batch, 0).losses
    assert set(losses) == {"ce", "dice"}  # before iteration 1000 there is no consistency
    logits = method.network(batch.image[:2])
    torch.testing.assert_close(losses["ce"], 0.5 * region_cross_entropy(logits, batch.mask[:2]))
    torch.testing.assert_close(losses["dice"], 0.5 * region_dice(logits.softmax(1), batch.mask[:2]))


@pytest.mark.parametrize("name", ["mean_teacher", "ua_mt"])
def test_masks_of_unlabelled_cases_are_not_looked_at(name):
    method = make(name, start=0)
    batch = batch_of(method)
    other = batch.mask.clone()
    other[2:] = IGNORE
    before = method.training_step(batch, 20_000).losses
    after = method.training_step(dataclasses.replace(batch, mask=other), 20_000).losses
    assert set(before) == {"ce", "dice", "consistency"}
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["mean_teacher", "ua_mt"])
def test_the_teacher_gets_no_gradient_and_follows(name):
    method = make(name, start=0, noise=0.0)
    batch = batch_of(method)
    torch.stack(list(method.training_step(batch, 30_000).losses.values())).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    with torch.no_grad():
        for p in method.network.parameters():
            p.add_(1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    method.after_step(200)
    for old, new, student in zip(before, method.teacher.parameters(), method.network.parameters(), strict=True):
        torch.testing.assert_close(new, 0.99 * old + 0.01 * student)


def test_a_teacher_that_agrees_costs_nothing():
    for name in ("mean_teacher", "ua_mt"):
        method = make(name, start=0, noise=0.0)
        loss = method.training_step(batch_of(method), 30_000).losses["consistency"]
        assert loss.item() == pytest.approx(0, abs=1e-12)


def test_uncertain_pixels_do_not_count():
    method = make("ua_mt", noise=0.0)
    assert method.threshold(0) == pytest.approx((0.75 + 0.25 * math.exp(-5)) * math.log(2))
    assert method.threshold(30_000) == pytest.approx(math.log(2))
    flat = torch.full((2, 3, 8, 8), 1 / 3)  # entropy ln 3, above every threshold
    method.teach = lambda images, mode: flat
    assert method.disagreement(torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8), 30_000) == 0
    sure = torch.zeros(2, 3, 8, 8)
    sure[:, 0] = 1
    method.teach = lambda images, mode: sure
    student = sure.roll(1, dims=1)  # off by one in two classes at each pixel
    assert method.disagreement(student, torch.zeros(2, 1, 8, 8), 0).item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["mean_teacher", "ua_mt", "bcp"])
def test_a_batch_without_both_kinds_is_refused(name):
    method = make(name)
    for flags in (torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)):
        with pytest.raises(ConfigError, match=r"set data\.labelled_per_batch to half of train\.batch_size"):
            method.training_step(batch_of(method, labelled=flags), 0)


def test_two_stream_batches_need_no_look_at_the_flags():
    method = make("mean_teacher")
    batch = batch_of(method)
    told = dataclasses.replace(batch, labelled_first=2, labelled=None)
    expected, found = method.training_step(batch, 0).losses, method.training_step(told, 0).losses
    assert all(torch.equal(expected[key], found[key]) for key in expected)
