"""What every segmentation network offers: features at input resolution, and a 1x1 classifier on top."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.errors import DataError


class SegmentationNet(nn.Module):
    """A body that keeps the resolution, and a pointwise classifier.

    Args:
        name: Name of the network, for messages.
        body: Maps images (B, C, H, W) to features (B, ``width``, H, W).
        width: Channels of the features.
        num_classes: Classes including background; two classes share one foreground logit.
        min_side: Smallest image side in pixels that the body can take.
    """

    def __init__(self, name: str, body: nn.Module, *, width: int, num_classes: int, min_side: int) -> None:
        super().__init__()
        self.name = name
        self.min_side = min_side
        self.body = body
        self.head = nn.Conv2d(width, 1 if num_classes == 2 else num_classes, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H, W).

        Raises:
            DataError: if a side is too short for the poolings of this network.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_side:
            raise DataError(
                f"{self.name} got images of {height} x {width} px; it needs at least {self.min_side} px a side, "
                "so raise data.size"
            )
        features: Tensor = self.body(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, 1, H, W) for two classes, else (B, num_classes, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of ``multiple``; (B, C, H, W) in and out."""
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images
