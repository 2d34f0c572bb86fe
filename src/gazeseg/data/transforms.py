"""Random transforms of a batch: one geometry moves pixels, masks, maps and fixations together.

The random part is small and lives in NumPy (:func:`sample_transforms`); the rest is deterministic torch on whole
batches, on the device where the pixels are, without waiting for it. So any augmented batch can be made again from its
parameters.

Geometry, in pixels about the image centre c = ((W - 1) / 2, (H - 1) / 2):  p_out = c + zoom * R(angle) F (p_in - c),
with F the flips and R(angle) turning x towards y. What lies outside the image has no content: image 0 (the mean, after
normalisation), maps 0, labels 255, ``inside`` False.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gazeseg.config import AugmentConfig
from gazeseg.errors import ConfigError
from gazeseg.types import IGNORE, FloatArray

Normalise = Literal["auto", "imagenet", "zscore", "unit"]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)  # RGB in 0..1: the statistics that pretrained encoders expect
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG
MIN_STD: Final = 1e-3  # grey levels of 0..255: a constant image becomes zeros, not noise


@dataclass(frozen=True, slots=True)
class TransformParams:
    """What happens to each sample of a batch; every array is (B,)."""

    flip_x: npt.NDArray[np.bool_]  # left becomes right
    flip_y: npt.NDArray[np.bool_]
    angle_rad: FloatArray  # positive turns x towards y: clockwise on a screen, where y points down
    zoom: FloatArray  # above 1 magnifies
    brightness: FloatArray  # factors; 1 changes nothing
    contrast: FloatArray
    saturation: FloatArray
    nearest: bool = False  # every pixel takes the nearest source pixel, images and maps too

    @property
    def resamples(self) -> bool:
        """True if any sample is rotated or scaled, so that flipping indices is not enough."""
        return bool((self.angle_rad != 0).any() or (self.zoom != 1).any())

    @property
    def recolours(self) -> bool:
        """True if any sample changes brightness, contrast or saturation."""
        return any(bool((f != 1).any()) for f in (self.brightness, self.contrast, self.saturation))

    def matrices(self) -> FloatArray:
        """Return (B, 2, 2) matrices that take (x, y) about the centre from input to output pixels."""
        cos, sin = self.zoom * np.cos(self.angle_rad), self.zoom * np.sin(self.angle_rad)
        sign_x, sign_y = np.where(self.flip_x, -1.0, 1.0), np.where(self.flip_y, -1.0, 1.0)
        return np.stack(
            [np.stack([cos * sign_x, -sin * sign_y], axis=-1), np.stack([sin * sign_x, cos * sign_y], axis=-1)], axis=-2
        )


class Warped(NamedTuple):
    """Result of :func:`move_pixels`."""

    image: Tensor  # (B, C, H, W)
    maps: Tensor | None  # (B, S, H, W)
    labels: Tensor | None  # (B, K, H, W) uint8
    inside: Tensor  # (B, 1, H, W) bool: False where the output shows nothing of the image


def sample_transforms(config: AugmentConfig, batch_size: int, rng: np.random.Generator) -> TransformParams:
    """Draw the transforms of one batch.

    The same numbers are drawn whatever the configuration, so switching one augmentation on leaves the others as they
    were for the same seed.
    """
    uniform = rng.random((7, batch_size))
    symmetric = 2 * uniform - 1
    if config.rates is not None:
        return _published_turns(config.rates, uniform, rng)
    return TransformParams(
        flip_x=uniform[0] < config.flip_horizontal,
        flip_y=uniform[1] < config.flip_vertical,
        angle_rad=np.deg2rad(config.rotate_deg) * symmetric[2],
        zoom=1 + config.scale * symmetric[3],
        brightness=1 + config.brightness * symmetric[4],
        contrast=1 + config.contrast * symmetric[5],
        saturation=1 + config.saturation * symmetric[6],
    )


def _published_turns(
    rates: tuple[float, float, float], uniform: FloatArray, rng: np.random.Generator
) -> TransformParams:
    """Draw SSL4MIS's transforms: 0 to 3 quarter turns and a flip, or a rotation by -20 .. 19 degrees, or nothing."""
    count = uniform.shape[1]
    turned = uniform[0] < rates[0]
    tilted = ~turned & (uniform[0] < rates[0] + rates[1])
    axis, quarters = rng.integers(0, 2, count), rng.integers(0, 4, count)
    angle_deg = np.where(turned, 90.0 * quarters, np.where(tilted, rng.integers(-20, 20, count), 0))
    still = np.ones(count)
    return TransformParams(
        flip_x=turned & (axis == 1),
        flip_y=turned & (axis == 0),
        angle_rad=np.deg2rad(angle_deg),
        zoom=still,
        brightness=still,
        contrast=still,
        saturation=still,
        nearest=True,  # order 0 throughout, as published
    )


def resolve_normalise(kind: Normalise, channels: int) -> Literal["imagenet", "zscore", "unit"]:
    """Return what ``auto`` stands for: imagenet for three channels, zscore for one (GazeMedSeg's choice).

    Raises:
        ConfigError: for imagenet statistics on a grey image.
    """
    if kind == "auto":
        return "imagenet" if channels == 3 else "zscore"
    if kind == "imagenet" and channels != 3:
        raise ConfigError(f"data.normalise imagenet is for 3 channels, the images have {channels}; set it to zscore")
    return kind


def to_planes(image: Tensor) -> Tensor:
    """Return (B, H, W, C) as contiguous (B, C, H, W)."""
    return image.permute(0, 3, 1, 2).contiguous()


def standardise(image: Tensor, kind: Normalise) -> Tensor:
    """Normalise float (B, C, H, W) in 0..255 in place and return it; see :func:`normalise`."""
    if resolve_normalise(kind, image.shape[1]) == "imagenet":
        for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
            # plain numbers, no constant tensors: nothing to copy to a device
            image[:, channel].mul_(1 / (255 * std)).sub_(mean / std)
        return image
    if kind == "unit":
        return image.mul_(1 / 255)
    image.sub_(image.mean(dim=(1, 2, 3), keepdim=True))
    # the norm of the centred image: several times faster than torch.std on a CPU
    std = torch.linalg.vector_norm(image, dim=(1, 2, 3), keepdim=True) / math.sqrt(image[0].numel())
    return image.div_(std.clamp_min_(MIN_STD))


def normalise(image: Tensor, kind: Normalise = "auto") -> Tensor:
    """Turn stored images into network input; training, validation and prediction all call this.

    Args:
        image: uint8 (B, H, W, C).
        kind: ``imagenet``: (v / 255 - mean) / std per channel with the ImageNet statistics. ``zscore``: zero mean and
            unit (population) variance per image, over all its pixels and channels; a constant image becomes zeros.
            ``unit``: v / 255, for volumes that were stretched to the whole range. ``auto``: imagenet for C = 3, else
            zscore.

    Returns:
        float32 (B, C, H, W), contiguous.

    Raises:
        ConfigError: for imagenet on other than three channels.
    """
    return standardise(to_planes(image).float(), kind)  # planes first: moving bytes is cheaper than moving floats


def recolour(image: Tensor, params: TransformParams) -> Tensor:
    """Change brightness b, contrast c and saturation s of float (B, C, H, W) in 0..255, clipped to that range.

    In this order: v <- b v;  v <- m + c (v - m), m the mean luma of the image;  v <- g + s (v - g), g the luma of the
    pixel. The three are linear, hence one matrix and one offset a sample. Saturation leaves grey images alone.
    """
    batch, channels, height, width = image.shape
    if channels == 3:
        luma = np.asarray(LUMA)
        grey = np.broadcast_to(luma, (3, 3))  # every output channel gets the luma
        mix = params.saturation[:, None, None] * (np.eye(3) - grey) + grey
    else:
        luma = np.full(channels, 1 / channels)
        mix = np.broadcast_to(np.eye(channels), (batch, channels, channels))
    gain = (params.brightness * params.contrast)[:, None, None] * mix
    lift = ((1 - params.contrast) * params.brightness)[:, None, None] * luma  # (B, 1, C), times the channel means
    host = send(np.concatenate([gain, lift], axis=1).astype(np.float32), image.device)  # (B, C + 1, C)
    flat = image.reshape(batch, channels, height * width)
    offset = host[:, channels:] @ flat.mean(dim=2, keepdim=True)  # (B, 1, 1)
    return torch.baddbmm(offset, host[:, :channels], flat).clamp_(0, 255).reshape(image.shape)


def flip_pixels(pixels: Tensor, params: TransformParams) -> Tensor:
    """Flip a batch (B, ..., H, W) exactly, by index, and return it; on a CPU this happens in place."""
    if pixels.device.type == "cpu":
        for b, (flip_x, flip_y) in enumerate(zip(params.flip_x.tolist(), params.flip_y.tolist(), strict=True)):
            dims = [dim for dim, flipped in ((-1, flip_x), (-2, flip_y)) if flipped]
            if dims:
                pixels[b] = pixels[b].flip(dims)
        return pixels
    for dim, flags in ((-1, params.flip_x), (-2, params.flip_y)):
        if flags.any():  # both versions and a choice on the device: indices would have to be waited for
            chosen = send(flags, pixels.device).reshape(-1, *(1,) * (pixels.ndim - 1))
            pixels = torch.where(chosen, pixels.flip(dim), pixels)
    return pixels


def move_pixels(image: Tensor, maps: Tensor | None, labels: Tensor | None, params: TransformParams) -> Warped:
    """Flip, rotate and scale on one sampling grid: image and maps bilinear, labels nearest.

    Args:
        image: float (B, C, H, W), normalised, so that 0 is its mean.
        maps: float (B, S, H, W) or None.
        labels: uint8 (B, K, H, W) class indices or None.
        params: What to do, from :func:`sample_transforms`.

    Returns:
        The moved tensors, with 0, 0 and 255 outside the image, and where inside is.
    """
    height, width = image.shape[-2:]
    inverse = np.linalg.inv(params.matrices())  # output -> input: where each output pixel comes from
    size = np.array([width, height], dtype=np.float64)
    theta = (inverse * size[None, None, :] / size[None, :, None]).astype(np.float32)  # px -> grid_sample's -1..1
    rows, columns = ((torch.arange(side, device=image.device) * 2 + 1) / side - 1 for side in (height, width))
    matrix = send(theta, image.device)[..., None]  # (B, 2, 2, 1)
    # a row and a column added up: what affine_grid multiplies out for every pixel
    to_x, to_y = ((line[:, 1] * rows)[:, :, None] + (line[:, 0] * columns)[:, None, :] for line in matrix.unbind(1))
    grid = torch.stack([to_x, to_y], dim=3)
    inside = (torch.maximum(to_x.abs(), to_y.abs()) <= 1 + 1e-6).unsqueeze(1)  # the tolerance keeps right angles whole

    floats = image if maps is None else torch.cat([image, maps], dim=1)
    # "border" and then a cut, rather than "zeros", which would darken the last half pixel inside
    mode = "nearest" if params.nearest else "bilinear"
    moved = F.grid_sample(floats, grid, mode=mode, padding_mode="border", align_corners=False).mul_(inside)
    moved_labels = None
    if labels is not None:
        nearest = F.grid_sample(
            labels.to(torch.float32), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        moved_labels = nearest.masked_fill_(~inside, IGNORE).to(torch.uint8)
    channels = image.shape[1]
    return Warped(moved[:, :channels], None if maps is None else moved[:, channels:], moved_labels, inside)


def move_points(
    x_px: FloatArray, y_px: FloatArray, params: TransformParams, size: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Move points (B, N) with the pixels; ``size`` is (H, W). Points may leave the image."""
    centre_x, centre_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    about = np.stack([x_px - centre_x, y_px - centre_y])  # (2, B, N)
    moved = np.einsum("bij,jbn->ibn", params.matrices(), about)
    return moved[0] + centre_x, moved[1] + centre_y


def send(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy a host array to ``device`` without waiting for the device.

    From pinned memory, which the allocator hands out again only when the copy is over; an ordinary ``.to`` would stop
    the host until the device has caught up.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
