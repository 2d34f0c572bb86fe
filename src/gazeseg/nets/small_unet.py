"""A U-Net of half a million parameters, made for training on two CPU cores at about 96 px.

Most of its width sits at low resolution, where a convolution is cheap: one convolution a level at full resolution, two
in the encoder below it, and a pointwise reduction in front of each upsampling. GroupNorm, as in GazeMedSeg's network,
because it treats a case alike in training and in prediction and does not depend on the batch.
"""

from __future__ import annotations

import itertools

from torch import nn

from gazeseg.errors import ConfigError
from gazeseg.nets.base import SegmentationNet
from gazeseg.nets.bilinear_unet import BilinearUNet

WIDTHS = (12, 24, 48, 80, 120)  # encoder levels; the first is also the number of features
GROUPS = 4


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),  # the norm brings the bias
        nn.GroupNorm(GROUPS, outputs),
        nn.LeakyReLU(0.1, inplace=True),
    )


class _SmallUNet(BilinearUNet):
    align_corners = False

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = _convolution(in_channels, widths[0])
        pairs = list(itertools.pairwise(widths))
        self.encoder = nn.ModuleList(
            nn.Sequential(_convolution(above, below), _convolution(below, below)) for above, below in pairs
        )
        self.reduce = nn.ModuleList(nn.Conv2d(below, above, 1, bias=False) for above, below in reversed(pairs))
        self.decoder = nn.ModuleList(_convolution(2 * above, above) for above, _ in reversed(pairs))
        self.stride = 2 ** len(pairs)
        self.encoder_widths = widths
        self.decoder_widths = tuple(above for above, _ in reversed(pairs))


def small_unet(*, in_channels: int, num_classes: int, widths: tuple[int, ...] | None = None) -> SegmentationNet:
    """Build the network; sides that are not multiples of 16 are padded inside.

    Raises:
        ConfigError: unless ``widths`` are at least two multiples of 4.
    """
    widths = widths or WIDTHS
    if len(widths) < 2 or any(width % GROUPS or width <= 0 for width in widths):
        raise ConfigError(f"network.features of small_unet must be two or more multiples of {GROUPS}, got {[*widths]}")
    body = _SmallUNet(in_channels, widths)
    return SegmentationNet("small_unet", body, num_classes=num_classes, min_side=16)
