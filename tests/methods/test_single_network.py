import dataclasses

import pytest
import torch
import torch.nn.functional as F

from gazeseg.errors import ConfigError, DataError
from gazeseg.losses import partial_cross_entropy, partial_dice_loss
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, check_method, make_batch
from gazeseg.methods.gaze_unet import GazeUNet, GazeUNetConfig


def _make(name, levels=2, **keys):
    return create({"name": name, **keys}, network=NETWORK, in_channels=3, num_classes=2, levels=levels, seed=0)


def _batch(method, **fields):
    return dataclasses.replace(make_batch(method.needs, in_channels=3, num_classes=2), **fields)


def test_full_is_cross_entropy_and_dice_on_the_mask():
    method = _make("full", dice_weight=0.5)
    batch = _batch(method)
    losses = method.training_step(batch, 0).losses
    logits = method.network(batch.image)
    torch.testing.assert_close(losses["ce"], F.binary_cross_entropy_with_logits(logits[:, 0], batch.mask.float()))
    torch.testing.assert_close(losses["dice"], 0.5 * partial_dice_loss(logits, batch.mask))


def test_full_does_not_look_at_masks_of_unlabelled_cases():
    method = _make("full")
    batch = _batch(method, labelled=torch.tensor([True, False]))
    changed = batch.mask.clone()
    changed[1] = 1 - changed[1]
    before = method.training_step(batch, 0).losses
    after = method.training_step(dataclasses.replace(batch, mask=changed), 0).losses
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("level", [0, 1])
def test_gaze_unet_learns_from_the_chosen_level_alone(level):
    method = _make("gaze_unet", level=level)
    batch = _batch(method)
    losses = method.training_step(batch, 0).losses
    expected = partial_cross_entropy(method.network(batch.image), batch.pseudo[:, level])
    assert set(losses) == {"bce"}  # the published baseline has no Dice term
    torch.testing.assert_close(losses["bce"], expected)


def test_gaze_unet_adds_dice_on_request():
    check_method(GazeUNet, GazeUNetConfig(loss="bce_dice"))
    method = _make("gaze_unet", loss="bce_dice")
    assert set(method.training_step(_batch(method), 0).losses) == {"bce", "dice"}


def test_gaze_unet_refuses_a_level_that_is_not_there():
    with pytest.raises(ConfigError, match=r"method\.level is 2, but there are 2 levels"):
        _make("gaze_unet", level=2)


def test_gaze_partial_learns_from_the_ternary_target_alone():
    method = _make("gaze_partial", dice_weight=0)
    batch = _batch(method)
    losses = method.training_step(batch, 0).losses
    torch.testing.assert_close(losses["ce"], partial_cross_entropy(method.network(batch.image), batch.weak))
    assert losses["dice"] == 0


@pytest.mark.parametrize("name", ["full", "gaze_unet", "gaze_partial", "gazemedseg"])
def test_a_missing_field_is_named(name):
    method = _make(name)
    (field,) = method.needs
    with pytest.raises(DataError, match=f"no '{field}'"):
        method.training_step(_batch(method, **{field: None}), 0)


@pytest.mark.parametrize("name", ["full", "gaze_unet", "gaze_partial", "gazemedseg"])
def test_a_bright_square_is_learnt(name):
    method = _make(name)
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.02)
    truth = torch.zeros(4, 32, 32, dtype=torch.int64)
    for index, (y, x) in enumerate([(4, 4), (12, 8), (16, 16), (2, 18)]):
        truth[index, y : y + 12, x : x + 12] = 1
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + truth[:, None] - 0.5
    targets = {"mask": truth, "weak": truth, "pseudo": truth[:, None].repeat(1, 2, 1, 1)}
    batch = _batch(method, image=image, **{field: targets[field] for field in method.needs})
    for step in range(25):
        torch.stack(list(method.training_step(batch, step).losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    found = method.eval().predict(image).argmax(dim=1)
    assert (found == truth).float().mean() > 0.97
