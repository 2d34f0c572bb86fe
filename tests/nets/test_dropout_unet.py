import pytest
import torch

from gazeseg.config import NetworkConfig
from gazeseg.errors import ConfigError
from gazeseg.methods import create
from gazeseg.nets import build_network


def make(**keys):
    return build_network(NetworkConfig(name="dropout_unet", **keys), in_channels=1, num_classes=4, seed=0)


def test_it_has_the_published_parameters_and_shapes():
    net = make().eval()
    assert sum(p.numel() for p in net.parameters()) == 1_813_764
    images = torch.randn(2, 1, 50, 37)
    assert net(images).shape == (2, 4, 50, 37)
    torch.testing.assert_close(net.decode(net.encode(images), images.shape[-2:]), net.features(images))
    assert net.encoder_widths == (16, 32, 64, 128, 256)
    assert net.decoder_widths == (128, 64, 32, 16)


def test_dropout_and_batch_statistics_act_in_training_alone():
    net, images = make(), torch.randn(2, 1, 32, 32)
    assert not torch.equal(net(images), net(images))
    net.eval()
    torch.testing.assert_close(net(images)[:1], net(images[:1]))


def test_widths_and_methods_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="two to five positive numbers"):
        make(features=(8,))
    with pytest.raises(ConfigError, match="needs a pointwise classifier"):
        create(
            {"name": "gazemedseg"}, network=NetworkConfig(name="dropout_unet"), in_channels=1, num_classes=2, levels=2,
            seed=0,
        )  # fmt: skip
