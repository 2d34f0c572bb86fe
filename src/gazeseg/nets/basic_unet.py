"""The U-Net of GazeMedSeg: MONAI's BasicUNet with group normalisation.

Zhong et al., MICCAI 2024, arXiv 2407.07406, use the widths (64, 128, 256, 512, 1024) and 128 features in front of the
classifier, GroupNorm with four groups and LeakyReLU(0.1). The features come out of a pointwise convolution without
activation. That makes 31,351,361 parameters for RGB images and one logit; the released network counts 33,024 more, in
a projection head that it never uses.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor

from gazeseg.errors import ConfigError
from gazeseg.nets.base import Refine, SegmentationNet, UNetBody

WIDTHS = (64, 128, 256, 512, 1024, 128)  # five encoder levels, then the features
GROUPS = 4


class _BasicUNet(UNetBody, BasicUNet):
    """MONAI's network, walked level by level; it pads inside each stage, so odd sides stay as they are."""

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        BasicUNet.__init__(
            self,
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=widths[-1],
            features=widths,
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm=("group", {"num_groups": GROUPS}),
        )
        self.encoder_widths = widths[:5]
        self.decoder_widths = (*widths[3:0:-1], widths[-1])

    def encode(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = [self.conv_0(images)]
        for down in (self.down_1, self.down_2, self.down_3, self.down_4):
            maps.append(down(maps[-1]))
        return maps

    def decode(self, maps: Sequence[Tensor], refine: Refine | None = None) -> Tensor:
        *skips, x = maps
        for stage, up in enumerate((self.upcat_4, self.upcat_3, self.upcat_2, self.upcat_1)):
            x = up(x, skips.pop())
            if refine is not None:
                x = refine(stage, x)
        features: Tensor = self.final_conv(x)
        return features


def basic_unet(*, in_channels: int, num_classes: int, widths: tuple[int, ...] | None = None) -> SegmentationNet:
    """Build the network; sides that are not multiples of 16 are padded inside by MONAI.

    Raises:
        ConfigError: unless ``widths`` are six multiples of 4.
    """
    widths = widths or WIDTHS
    if len(widths) != 6 or any(width % GROUPS or width <= 0 for width in widths):
        raise ConfigError(f"network.features of basic_unet must be six multiples of {GROUPS}, got {list(widths)}")
    body = _BasicUNet(in_channels, widths)
    return SegmentationNet("basic_unet", body, num_classes=num_classes, min_side=16)
