"""Networks: no loss, no file access. Which one learns is a choice apart from the method."""

from __future__ import annotations

import torch

from gazeseg.config import MONAI, NetworkConfig
from gazeseg.errors import ConfigError
from gazeseg.nets.base import SegmentationNet
from gazeseg.nets.basic_unet import basic_unet
from gazeseg.nets.dropout_unet import dropout_unet
from gazeseg.nets.efficientnet import efficientnet_lite0
from gazeseg.nets.monai_net import monai_net
from gazeseg.nets.small_unet import small_unet

__all__ = ["SegmentationNet", "build_network"]


def build_network(config: NetworkConfig, *, in_channels: int, num_classes: int, seed: int) -> SegmentationNet:
    """Build the configured network with initial weights that depend on ``seed`` alone.

    The global random state of torch is left as it was.

    Args:
        config: Name, widths and whether to start from ImageNet.
        in_channels: Channels of the image, 1 or 3.
        num_classes: Classes including background; two classes give one foreground logit.
        seed: Seed of the initial weights.

    Raises:
        ConfigError: for widths or options that do not fit the network.
        MissingDependencyError: if the weights of a pretrained encoder are not installed.
    """
    if config.options and not config.name.startswith(MONAI):
        raise ConfigError(f"network.options are for networks of MONAI (network.name monai:UNet), not for {config.name}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would touch GPUs as well
        if config.name == "efficientnet_lite0":
            return efficientnet_lite0(
                in_channels=in_channels,
                num_classes=num_classes,
                widths=config.features,
                pretrained=config.pretrained,
            )
        if config.name.startswith(MONAI):
            return monai_net(
                config.name.removeprefix(MONAI),
                config.options,
                in_channels=in_channels,
                num_classes=num_classes,
                widths=config.features,
            )
        build = {"basic_unet": basic_unet, "small_unet": small_unet, "dropout_unet": dropout_unet}[config.name]
        return build(in_channels=in_channels, num_classes=num_classes, widths=config.features)
