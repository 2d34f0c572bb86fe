"""What every segmentation network offers: features at input resolution, and a 1x1 classifier on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.errors import ConfigError, DataError

Refine = Callable[[int, Tensor], Tensor]
"""Maps a decoder stage (0 is the deepest) and its output (B, C, h, w) to what goes on upwards, of the same shape."""


class UNetBody(nn.Module):
    """The part of a network below its classifier, open between its levels for methods that act there.

    Attributes:
        encoder_widths: Channels of the maps of :meth:`encode`, finest first; empty for a body that cannot be opened.
        decoder_widths: Channels after each decoder stage, deepest first; the last is the number of features.
    """

    encoder_widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]

    def encode(self, images: Tensor) -> list[Tensor]:
        """Map images (B, C, H, W), padded as the poolings need, to one map a level, finest first."""
        raise NotImplementedError  # the protocol itself: every body overrides it

    def decode(self, maps: Sequence[Tensor], refine: Refine | None = None) -> Tensor:
        """Map the encoder's maps to features of the padded size, through ``refine`` after every stage."""
        raise NotImplementedError  # the protocol itself: every body overrides it

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H, W)."""
        return crop(self.decode(self.encode(images)), images.shape[-2:])


class SegmentationNet(nn.Module):
    """A body that keeps the resolution, and a classifier, pointwise in most.

    Args:
        name: Name of the network, for messages.
        body: Maps images (B, C, H, W) to features (B, F, H, W).
        num_classes: Classes including background; two classes share one foreground logit.
        min_side: Smallest image side in pixels that the body can take.
        classifier: Side of the classifier's kernel; where it is not 1, methods that propagate logits refuse it.
        features: Channels that the body gives, for one without ``decoder_widths``.
    """

    def __init__(
        self,
        name: str,
        body: UNetBody,
        *,
        num_classes: int,
        min_side: int,
        classifier: int = 1,
        features: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.min_side = min_side
        self.body = body
        width = body.decoder_widths[-1] if features is None else features
        self.head = nn.Conv2d(width, 1 if num_classes == 2 else num_classes, classifier, padding="same")

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Channels of the encoder's maps, finest first.

        Raises:
            ConfigError: for a network that cannot be opened between its levels.
        """
        self._require_levels()
        return self.body.encoder_widths

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels after each decoder stage, deepest first.

        Raises:
            ConfigError: for a network that cannot be opened between its levels.
        """
        self._require_levels()
        return self.body.decoder_widths

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H, W).

        Raises:
            DataError: if a side is too short for the poolings of this network.
        """
        self._check(images)
        features: Tensor = self.body(images)
        return features

    def encode(self, images: Tensor) -> list[Tensor]:
        """Map images (B, C, H, W) to the encoder's maps, finest first; padded sizes where the poolings need it.

        Raises:
            ConfigError: for a network that cannot be opened between its levels.
            DataError: if a side is too short for the poolings of this network.
        """
        self._require_levels()
        self._check(images)
        return self.body.encode(images)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int], refine: Refine | None = None) -> Tensor:
        """Map the encoder's maps to features (B, F, H, W) of ``size`` (H, W), through ``refine`` after every stage.

        ``features(x)`` is ``decode(encode(x), x.shape[-2:])``.
        """
        return crop(self.body.decode(maps, refine), size)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, 1, H, W) for two classes, else (B, num_classes, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def _require_levels(self) -> None:
        if not self.body.decoder_widths:
            raise ConfigError(
                f"network.name '{self.name}' cannot be opened between its levels, where this method acts; use "
                "basic_unet, small_unet, dropout_unet or efficientnet_lite0"
            )

    def _check(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if min(height, width) < self.min_side:
            raise DataError(
                f"{self.name} got images of {height} x {width} px; it needs at least {self.min_side} px a side, "
                "so raise data.size"
            )


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of ``multiple``; (B, C, H, W) in and out."""
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def crop(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Cut (B, C, H', W') to its top left ``size`` (H, W): what :func:`pad_to_multiple` added goes."""
    return maps[..., : size[0], : size[1]]
