"""The batched track maps against the NumPy form, and the attention losses against PyTorch's and by hand."""

import contextlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazeseg.losses.track import entropy, pooled, soft_cross_entropy, squared_error, track_maps
from gazeseg.supervision import track as plain
from gazeseg.supervision.track import Ladder, preset

SIZE = (40, 56)
LENGTHS = (0, 1, 2, 3, 4, 20, 98, 99)


def ladder(name="R1", levels=4, **changes) -> Ladder:
    keep, rhos = preset(name, levels)
    return Ladder(**{"keep": keep, "rhos": rhos, "n_min": 3, "mode": "dist", "sigma": 0.09, "gamma": 0.5, **changes})


def random_batch(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(1, *lengths))
    x, y, duration = rng.uniform(-3, 60, shape), rng.uniform(-3, 44, shape), rng.uniform(0.06, 0.9, shape)
    track = np.stack([x, y, np.cumsum(duration, axis=1), duration], axis=2)  # augmented fixations may leave the image
    track[np.arange(shape[1]) >= np.array(lengths)[:, None]] = 0
    return torch.tensor(track, dtype=torch.float32), torch.tensor(lengths)


def numpy_form(track, length, shape):
    parts = [plain.unit_track(rows[:n].numpy(), SIZE) for rows, n in zip(track, length.tolist(), strict=True)]
    return np.stack([plain.track_maps(part, SIZE, shape) for part in parts])


@pytest.mark.parametrize("mode", ["dist", "kde"])
@pytest.mark.parametrize(
    "changes",
    [
        *({"name": name, "levels": levels} for name in ("R1", "R2", "R3", "mild_R1") for levels in (1, 2, 4)),
        {"rhos": (0.3, 1.0, 0.55, 0.3)},
        {"n_min": 1, "rhos": (0.7, 0.07)},
        {"n_min": 50},
        {"gamma": 0.0},
        {"gamma": 1.0, "sigma": 0.02},
    ],
)
def test_the_batch_equals_the_numpy_form(mode, changes):
    track, length = random_batch()
    shape = ladder(mode=mode, **changes)
    ours = track_maps(track, length, SIZE, shape)
    assert ours.dtype == torch.float32
    assert np.abs(ours.numpy() - numpy_form(track, length, shape)).max() <= 1e-5
    assert not ours[0].any()


@pytest.mark.parametrize("mode", ["dist", "kde"])
def test_what_lies_beyond_the_length_is_not_read(mode):
    track, length = random_batch((3, 7))
    filled = track.clone()
    filled[0, 3:] = torch.tensor([20.0, 20.0, 9.0, 5.0])
    shape = ladder(mode=mode, gamma=1.0)
    torch.testing.assert_close(track_maps(filled, length, SIZE, shape), track_maps(track, length, SIZE, shape))


@pytest.mark.parametrize("mode", ["dist", "kde"])
def test_a_batch_without_gaze_draws_zeros(mode):
    maps = track_maps(torch.zeros(2, 1, 4), torch.zeros(2, dtype=torch.int64), SIZE, ladder(mode=mode))
    assert maps.shape == (2, 4, *SIZE)
    assert not maps.any()


@pytest.mark.parametrize("mode", ["dist", "kde"])
def test_half_precision_does_not_show(mode):
    track, length = random_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = track_maps(track, length, SIZE, ladder(mode=mode))
    assert torch.equal(half, track_maps(track, length, SIZE, ladder(mode=mode)))


@pytest.mark.parametrize("mode", ["dist", "kde"])
def test_nothing_waits_for_a_value_of_the_device(mode, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **keys: contextlib.nullcontext())  # meta has none
    track, length = (tensor.to("meta") for tensor in random_batch())  # reading a value there is an error
    assert track_maps(track, length, SIZE, ladder(mode=mode)).shape == (8, 4, *SIZE)


def test_cells_are_the_means_of_their_pixels():
    maps = torch.rand(2, 1, 8, 12)
    torch.testing.assert_close(pooled(maps, (2, 3), 4), F.avg_pool2d(maps, 4))
    assert torch.equal(pooled(maps, (8, 12), 1), maps)


def test_padded_cells_stay_with_their_pixels():
    maps = torch.rand(1, 1, 7, 9)
    cells = pooled(maps, (2, 3), 4)  # a network padded 7 x 9 to 8 x 12
    torch.testing.assert_close(cells[0, 0, 0, 0], maps[0, 0, :4, :4].mean())
    torch.testing.assert_close(cells[0, 0, 0, 2], maps[0, 0, :4, 8].mean())


def test_soft_cross_entropy_is_that_of_pytorch_with_its_floor_at_the_target():
    logits, target = torch.randn(3, 1, 5, 6), torch.rand(3, 1, 5, 6)
    seen = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(
        soft_cross_entropy(logits, target, seen), F.binary_cross_entropy_with_logits(logits, target)
    )
    torch.testing.assert_close(soft_cross_entropy(torch.logit(target), target, seen), entropy(target, seen))
    assert soft_cross_entropy(logits, target, seen) > entropy(target, seen)
    torch.testing.assert_close(squared_error(logits, target, seen), F.mse_loss(logits.sigmoid(), target))
    assert entropy(torch.tensor([[[[0.0, 1.0]]]]), seen[:1]) == 0


@pytest.mark.parametrize("loss", [soft_cross_entropy, squared_error])
def test_samples_without_gaze_contribute_nothing(loss):
    logits, target = torch.randn(3, 1, 5, 6, requires_grad=True), torch.rand(3, 1, 5, 6)
    seen = torch.tensor([True, False, True])
    value = loss(logits, target, seen)
    torch.testing.assert_close(value, loss(logits[seen], target[seen], seen[seen]))
    value.backward()
    assert not logits.grad[1].any()
    none = loss(logits, target, torch.zeros(3, dtype=torch.bool))
    assert none == 0
    assert not torch.autograd.grad(none, logits)[0].any()
