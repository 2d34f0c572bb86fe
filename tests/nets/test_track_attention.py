import pytest
import torch

from gazeseg.config import NetworkConfig
from gazeseg.nets import build_network
from gazeseg.nets.track_attention import AttentionLadder, TrackAttention

WIDTHS = {"basic_unet": (4, 8, 8, 8, 16, 12), "small_unet": (4, 8, 8, 16, 16), "efficientnet_lite0": (16, 8, 8, 8, 8)}


def _network(name):
    config = NetworkConfig(name=name, features=WIDTHS[name], pretrained=False)
    return build_network(config, in_channels=3, num_classes=2, seed=0)


def _ladder(network, stages, seed=0):
    return AttentionLadder(network.decoder_widths, stages, reduction=4, bias=-2.0, seed=seed)


def test_the_published_width_costs_as_many_parameters_as_the_prototype():
    ladder = AttentionLadder((512, 256, 128, 128), (0, 1, 2, 3), reduction=4, bias=-2.0, seed=0)
    assert sum(p.numel() for p in ladder.parameters()) == pytest.approx(0.81e6, rel=0.01)


def test_attention_starts_flat_and_cannot_erase():
    module = TrackAttention(12, reduction=4, bias=-2.0)
    features = torch.randn(2, 12, 6, 8)
    refined, attention = module(features, None)
    torch.testing.assert_close(attention, torch.full((2, 1, 6, 8), -2.0))
    torch.testing.assert_close(refined, features * (1 + torch.sigmoid(torch.tensor(-2.0))))
    torch.nn.init.normal_(module.attend.weight, std=10)
    refined, _ = module(features, torch.randn(2, 1, 3, 4))
    gain = refined / features
    assert gain.min() >= 1
    assert gain.max() <= 2


def test_the_deeper_attention_reaches_the_next_stage():
    module = TrackAttention(8, reduction=4, bias=0.0)
    torch.nn.init.normal_(module.attend.weight)
    features = torch.randn(1, 8, 8, 8)
    below = torch.randn(1, 1, 4, 4, requires_grad=True)
    refined, _ = module(features, below)
    assert torch.autograd.grad(refined.sum(), below)[0].any()


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_stages_have_the_sizes_of_the_decoder(name, size):
    network = _network(name)
    stages = tuple(range(len(network.decoder_widths)))
    ladder, attention = _ladder(network, stages), []
    features = network.decode(network.encode(torch.randn(2, 3, *size)), size, ladder.refine(attention))
    assert features.shape == (2, network.decoder_widths[-1], *size)
    assert len(attention) == len(stages)
    for stage, logit in zip(stages, attention, strict=True):
        cells = 2 ** (len(stages) - 1 - stage)
        assert logit.shape[:2] == (2, 1)
        for got, side in zip(logit.shape[2:], size, strict=True):
            assert side // cells <= got <= -(-side // 32) * 32 // cells


def test_stages_without_attention_pass_unchanged():
    network = _network("small_unet")
    maps = network.encode(torch.randn(1, 3, 32, 32))
    plain = network.decode(maps, (32, 32))
    assert torch.equal(network.decode(maps, (32, 32), _ladder(network, ()).refine([])), plain)
    attention = []
    refined = network.decode(maps, (32, 32), _ladder(network, (2, 3)).refine(attention))
    assert [tuple(logit.shape[2:]) for logit in attention] == [(16, 16), (32, 32)]
    assert not torch.equal(refined, plain)


def test_the_seed_decides_and_the_global_state_stays():
    network = _network("small_unet")
    before = torch.get_rng_state()
    first, second, other = (_ladder(network, (0, 1), seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (torch.cat([p.flatten() for p in ladder.parameters()]) for ladder in (first, second, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
