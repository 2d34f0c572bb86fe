"""Networks of MONAI by name, held against MONAI itself."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import SegResNet, UNet

from gazeseg import methods
from gazeseg.config import NetworkConfig, build
from gazeseg.errors import ConfigError, DataError
from gazeseg.methods.contract import make_batch
from gazeseg.nets import build_network
from gazeseg.nets.monai_net import FEATURES

NETWORKS = {
    "monai:UNet": {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1},
    "monai:SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
}
CLASSES = {"monai:UNet": UNet, "monai:SegResNet": SegResNet}


def config(name, **keys) -> NetworkConfig:
    return build(NetworkConfig, {"name": name, "options": NETWORKS.get(name, {}), **keys}, "network")


def network(name, *, in_channels=3, num_classes=2, seed=0, **keys):
    return build_network(config(name, **keys), in_channels=in_channels, num_classes=num_classes, seed=seed)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_outputs_of_monais_own_network(name):
    net = network(name, features=[6]).eval()
    theirs = CLASSES[name](spatial_dims=2, in_channels=3, out_channels=6, **NETWORKS[name]).eval()
    theirs.load_state_dict(net.body.network.state_dict())
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(net.features(images), theirs(images))
    torch.testing.assert_close(net(images), net.head(theirs(images)))
    assert net.head.in_channels == 6
    assert network(name).head.in_channels == FEATURES


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (131, 70)])
def test_any_size_keeps_its_resolution(name, size):
    net = network(name, in_channels=1, num_classes=3)
    assert net(torch.randn(1, 1, *size)).shape == (1, 3, *size)  # in training mode
    with pytest.raises(DataError, match=r"it needs at least 64 px a side"):
        net(torch.randn(1, 1, 32, 80))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = network(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    again, other = network(name, seed=3), network(name, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)
    assert first.training
    assert all(module.training for module in first.modules())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["gaze_prompt", "gaze_unet", "full", "mean_teacher"])
def test_methods_learn_with_it(name, method):
    kind = methods.find(method)
    made = methods.create({"name": method}, network=config(name), in_channels=3, num_classes=2, levels=2, seed=0)
    batch = make_batch(kind.needs, in_channels=3, num_classes=2, size=(64, 64))
    output = made.training_step(batch, 1)
    sum(output.losses.values()).backward()
    learnt = [parameter for parameter in made.parameters() if parameter.requires_grad]
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learnt)
    made.eval()
    with torch.no_grad():
        probabilities = made.predict(batch.image)
    assert probabilities.shape == (len(batch.ids), 2, 64, 64)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(batch.ids), 64, 64))


@pytest.mark.parametrize("method", ["gradtrack", "fgi", "hg_dtgl"])
def test_methods_that_act_between_levels_refuse_it(method):
    with pytest.raises(ConfigError, match=r"'monai:UNet' cannot be opened between its levels.*small_unet") as error:
        methods.create({"name": method}, network=config("monai:UNet"), in_channels=3, num_classes=2, levels=2, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"name": "monai:UNett"}, "MONAI has no such network; did you mean 'UNet'"),
        ({"name": "monai:VarAutoEncoder"}, "maps no image to maps"),
        ({"name": "monai:DenseNet121"}, r"maps 96 x 96 px to \(1, 32\), not to \(32, 96, 96\)"),
        ({"name": "monai:UNet", "options": {"chanels": [4]}}, "'chanels' is none of .*UNet's; did you mean 'channels'"),
        ({"name": "monai:UNet", "options": {"in_channels": 3}}, "'in_channels' is given by the data"),
        ({"name": "monai:UNet", "options": {}}, "network.options do not make a monai:UNet .*channels"),
        ({"name": "monai:UNet", "options": {"channels": [4, 8], "strides": []}}, "network.options do not make"),
        ({"name": "monai:UNet", "options": {"channels": [2] * 7, "strides": [2] * 6}}, "do not make a .* 96 x 96 px"),
        ({"name": "monai:BasicUNetPlusPlus", "features": [4, 8]}, "is one number, got .4, 8."),
        ({"name": "small_unet", "options": {"act": "relu"}}, "network.options are for networks of MONAI"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(keys, said):
    with pytest.raises(ConfigError, match=said) as error:
        build_network(build(NetworkConfig, keys, "network"), in_channels=3, num_classes=2, seed=0)
    assert "\n" not in str(error.value)


def test_an_unknown_network_gets_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown network; did you mean 'small_unet'.*or monai:CLASS"):
        build(NetworkConfig, {"name": "smal_unet"}, "network")


def test_a_network_that_gives_several_maps_is_refused():
    keys = {"name": "monai:BasicUNetPlusPlus", "options": {"features": [4, 4, 4, 4, 4, 4]}}
    with pytest.raises(ConfigError, match="gives several maps, not one"):
        build_network(build(NetworkConfig, keys, "network"), in_channels=3, num_classes=2, seed=0)
