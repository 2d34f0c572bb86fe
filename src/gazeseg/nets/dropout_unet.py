"""The U-Net of the semi-supervised benchmarks on ACDC: batch normalisation, dropout, 1.8 million parameters.

Luo et al., SSL4MIS (GitHub HiLab-git/SSL4MIS at 06df604), and BCP after it: widths 16 to 256, dropout .05 to .5 in the
encoder and none in the decoder, bilinear upsampling between corners, and a 3x3 classifier. 1,813,764 parameters for one
channel and four classes.
"""

from __future__ import annotations

import itertools

from torch import nn

from gazeseg.errors import ConfigError
from gazeseg.nets.base import SegmentationNet
from gazeseg.nets.bilinear_unet import BilinearUNet

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(inplace=True),
    )


class _DropoutUNet(BilinearUNet):
    align_corners = True

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.stem = _block(in_channels, widths[0], DROPOUT[0])
        self.encoder = nn.ModuleList(
            _block(above, below, DROPOUT[level]) for level, (above, below) in enumerate(pairs, 1)
        )
        self.reduce = nn.ModuleList(nn.Conv2d(below, above, 1) for above, below in reversed(pairs))
        self.decoder = nn.ModuleList(_block(2 * above, above, 0.0) for above, _ in reversed(pairs))
        self.stride = 2 ** len(pairs)
        self.encoder_widths = widths
        self.decoder_widths = tuple(above for above, _ in reversed(pairs))


def dropout_unet(*, in_channels: int, num_classes: int, widths: tuple[int, ...] | None = None) -> SegmentationNet:
    """Build the network; sides that are not multiples of 16 are padded inside.

    Raises:
        ConfigError: unless ``widths`` are two to five positive numbers.
    """
    widths = widths or WIDTHS
    if not 2 <= len(widths) <= len(DROPOUT) or min(widths) <= 0:
        raise ConfigError(f"network.features of dropout_unet must be two to five positive numbers, got {[*widths]}")
    body = _DropoutUNet(in_channels, widths)
    return SegmentationNet("dropout_unet", body, num_classes=num_classes, min_side=16, classifier=3)
