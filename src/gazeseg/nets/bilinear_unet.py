"""The way through a U-Net of max-poolings, pointwise reductions and bilinear upsamplings; its blocks are its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.nets.base import Refine, UNetBody, pad_to_multiple


class BilinearUNet(UNetBody):
    """A body whose subclass builds the blocks.

    Attributes:
        stem: The block at full resolution.
        encoder: The block after each pooling, finest first.
        reduce: The pointwise convolution in front of each upsampling, deepest first.
        decoder: The block after each upsampling and skip, deepest first.
        stride: Sides are padded to its multiples.
        align_corners: Of the upsampling.
    """

    stem: nn.Module
    encoder: nn.ModuleList
    reduce: nn.ModuleList
    decoder: nn.ModuleList
    stride: int
    align_corners: bool

    def encode(self, images: Tensor) -> list[Tensor]:
        """Map images (B, C, H, W) to one map a level, finest first."""
        maps: list[Tensor] = [self.stem(pad_to_multiple(images, self.stride))]
        for level in self.encoder:
            maps.append(level(F.max_pool2d(maps[-1], 2)))
        return maps

    def decode(self, maps: Sequence[Tensor], refine: Refine | None = None) -> Tensor:
        """Map the encoder's maps to features of the padded size, through ``refine`` after every stage."""
        *skips, x = maps
        for stage, (reduce, level) in enumerate(zip(self.reduce, self.decoder, strict=True)):
            up = F.interpolate(reduce(x), scale_factor=2.0, mode="bilinear", align_corners=self.align_corners)
            x = level(torch.cat([skips.pop(), up], dim=1))
            if refine is not None:
                x = refine(stage, x)
        return x
