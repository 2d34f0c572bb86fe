"""HG-DTGL-style reconstruction: every item of its specification, each part off by a key."""

import inspect

import numpy as np
import pytest
import torch

from gazeseg.config import NetworkConfig
from gazeseg.methods import create, find
from gazeseg.methods.contract import check_method
from gazeseg.methods.hg_dtgl import GazeMixConfig, HgDtgl, HgDtglConfig, MgpConfig
from gazeseg.nets import build_network
from gazeseg.nets.gaze_perception import PerceivingNet

from .test_mean_teacher import batch_of, make


def spot(y, x, size=32):
    rows, columns = np.mgrid[:size, :size]
    return torch.from_numpy(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)).float()


def gazes(*spots):
    return torch.stack([torch.zeros(32, 32) if at is None else spot(*at) for at in spots])[:, None]


@pytest.mark.parametrize(
    "config",
    [
        HgDtglConfig(gazemix=GazeMixConfig(enabled=False)),
        HgDtglConfig(gazemix=GazeMixConfig(mask="heatmap_threshold", prune_pseudo=True, per_pair=False)),
        HgDtglConfig(mgp=MgpConfig(enabled=False)),
        HgDtglConfig(mgp=MgpConfig(refine=False, places=2), gaze_loss="bce", pretrain_iterations=5),
    ],
)
def test_every_part_can_be_switched_off(config):
    check_method(HgDtgl, config)


def test_it_is_called_a_reconstruction_and_predicts_without_gaze():
    assert HgDtgl.reference.status == "reconstruction"
    assert "reconstruction" in HgDtgl.summary
    assert list(inspect.signature(HgDtgl.predict).parameters) == ["self", "images"]


def test_parameters_of_the_published_backbone_and_of_the_heads():
    network = NetworkConfig(name="dropout_unet")
    plain = build_network(network, in_channels=1, num_classes=4, seed=0)
    assert sum(p.numel() for p in plain.parameters()) == 1_813_764
    full = create({"name": "hg_dtgl"}, network=network, in_channels=1, num_classes=4, levels=1, seed=0)
    assert sum(p.numel() for p in full.network.parameters()) == 1_885_444
    assert sum(p.numel() for p in full.parameters() if p.requires_grad) == 1_885_444  # the teacher learns nothing


@pytest.mark.parametrize("name", ["small_unet", "dropout_unet"])
def test_closed_gates_leave_the_plain_network(name):
    plain = build_network(NetworkConfig(name=name), in_channels=1, num_classes=4, seed=0)
    full = PerceivingNet(plain, hidden=8, places=5, gamma=0.0, seed=0).eval()
    images = torch.randn(1, 1, 37, 50)
    logits, maps = full.perceive(images)
    assert torch.equal(logits, plain.eval()(images))
    assert [tuple(m.shape[-2:]) for m in maps] == [(3, 4), (6, 8), (12, 16), (24, 32), (48, 64), (37, 50)]
    with torch.no_grad():
        full.heads[2].gamma.fill_(1.0)
    assert not torch.equal(full(images), logits)


def test_the_region_follows_the_gaze_on_both_images_of_a_pair():
    method = make("hg_dtgl", gazemix={"jitter": 0, "margin": 8, "smin": 16, "smax": 256})
    batch = batch_of(method, size=4, gaze_map=gazes((6, 6), (10, 24), (20, 8), (24, 26)))
    rng = np.random.default_rng(0)
    front, back = torch.tensor([0, 1]), torch.tensor([2, 3])
    pasted = method._regions(batch, front, back, rng)
    for pair, points in enumerate((((6, 6), (20, 8)), ((10, 24), (24, 26)))):
        assert all(pasted[pair][point] for point in points)
        assert pasted[pair].float().mean() < 0.6
    only_front = make("hg_dtgl", gazemix={"jitter": 0, "margin": 0, "smin": 8, "region": "foreground"})
    pasted = only_front._regions(batch, front, back, rng)
    assert pasted[0, 6, 6] and not pasted[0, 20, 8]  # noqa: PT018 -- the two sides of one statement
    shape = make("hg_dtgl", gazemix={"mask": "heatmap_threshold", "region": "background"})
    pasted = shape._regions(batch, front, back, rng)
    assert torch.equal(pasted[0], spot(20, 8) >= 0.2 * spot(20, 8).max())
    one_for_all = make("hg_dtgl", gazemix={"per_pair": False})._regions(batch, front, back, rng)
    assert torch.equal(one_for_all[0], one_for_all[1])


def test_without_gaze_the_region_is_bcps():
    method = make("hg_dtgl")
    batch = batch_of(method, gaze_map=gazes(None, None, None, None))
    pasted = method._regions(batch, torch.tensor([0, 1]), torch.tensor([2, 3]), np.random.default_rng(0))
    assert (pasted.sum(dim=(1, 2)) == 21 * 21).all()
    losses = method.training_step(batch, 0).losses
    assert losses["gaze_in"] == losses["gaze_out"] == 0
    plain = make("bcp")
    plain.load_state_dict(
        {k.replace("network.network.", "network.").replace("teacher.network.", "teacher."): v
         for k, v in method.state_dict().items() if ".heads." not in k and ".fuse." not in k}
    )  # fmt: skip
    off = make("hg_dtgl", gazemix={"enabled": False}, mgp={"enabled": False})
    off.load_state_dict(plain.state_dict())
    one, other = plain.training_step(batch, 0).losses, off.training_step(batch, 0).losses
    assert all(torch.equal(one[key], other[key]) for key in ("seg_in", "seg_out"))


def test_a_mixed_image_counts_where_both_sides_were_looked_at():
    method = make("hg_dtgl")
    batch = batch_of(method, gaze_map=gazes((6, 6), (9, 9), None, (20, 20)))
    losses = method.training_step(batch, 0).losses  # in: 0 into 2; out: 3 into 1
    assert losses["gaze_in"] == 0
    assert 0.01 < losses["gaze_out"] < 0.2  # lambda .1, half of the step, about 1 at the start


def test_pseudo_labels_apart_from_the_gaze_can_be_pruned():
    method = make("hg_dtgl", gazemix={"prune_pseudo": True})
    labels = np.zeros((1, 32, 32), np.uint8)
    labels[0, 2:8, 2:8], labels[0, 20:24, 20:24] = 1, 1
    batch = batch_of(method, gaze_map=gazes(None, None, (22, 22), None))
    pruned = method._pruned(labels, batch, torch.tensor([2]))
    assert pruned.sum() == 16
    assert np.array_equal(method._pruned(labels, batch, torch.tensor([3])), labels)


def test_the_explanation_shows_every_place():
    method = make("hg_dtgl").eval()
    batch = batch_of(method, size=1, gaze_map=gazes((6, 6)))
    with torch.no_grad():
        layers = method.explain(batch)
    assert [layer.title for layer in layers] == [
        "probability", "gaze", "bottleneck", "stage 0", "stage 1", "fused",
    ]  # fmt: skip
    assert all(layer.values.min() >= 0 and layer.values.max() <= 1 for layer in layers)
    assert find("hg_dtgl") is HgDtgl
