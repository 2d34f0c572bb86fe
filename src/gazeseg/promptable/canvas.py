"""The square that SAM-like models see: an image scaled onto it, prompts moved along, masks cut out again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gazeseg.supervision.prompts import Prompts
from gazeseg.types import Float32Array, UInt8Array

CHUNK = 16  # prompts decoded at once: bounds the memory, not the result


@dataclass(frozen=True, slots=True)
class Embedding:
    """An encoded image: what the model's encoder gave, and where the image lies on the square, at its top left."""

    features: Any
    side: int  # px of the square
    inner: tuple[int, int]  # (h, w) of the image on the square


def scaled_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (h, w) with the longer side ``side`` and the proportions kept, at least one pixel.

    Examples:
        >>> scaled_size((300, 400), 256)
        (192, 256)
    """
    scale = side / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def resized_rgb(image: UInt8Array, size: tuple[int, int]) -> Float32Array:
    """Resize (H, W, 1) or (H, W, 3) uint8 to (h, w, 3) float, 0..255, antialiased; grey is copied to three channels."""
    colours = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    small = Image.fromarray(colours).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32)


def on_square(pixels: Float32Array, side: int, device: torch.device) -> Tensor:
    """Put (h, w, 3) on the top left of zeros (1, 3, side, side)."""
    square = torch.zeros(1, 3, side, side)
    square[0, :, : pixels.shape[0], : pixels.shape[1]] = torch.from_numpy(pixels).permute(2, 0, 1)
    return square.to(device)


def moved(prompts: Prompts, embedding: Embedding, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield boxes (p, 4), points (p, N, 2) and labels (p, N) in pixels of the square, in chunks.

    A pixel centre x of the image goes to (x + .5) scale - .5.
    """
    height, width = prompts.image_size
    scale = np.array([embedding.inner[1] / width, embedding.inner[0] / height])
    boxes = (prompts.boxes.reshape(-1, 2, 2) + 0.5) * scale - 0.5
    points = (prompts.points + 0.5) * scale - 0.5
    for start in range(0, len(prompts), CHUNK):
        part = slice(start, start + CHUNK)
        yield (
            torch.as_tensor(boxes[part].reshape(-1, 4), dtype=torch.float32, device=device),
            torch.as_tensor(points[part], dtype=torch.float32, device=device),
            torch.as_tensor(prompts.labels[part], device=device),
        )


def probabilities(logits: Tensor, embedding: Embedding) -> Float32Array:
    """Turn logits (p, h', w') over the whole square into probabilities (p, h, w) over the image on it."""
    if logits.shape[-1] != embedding.side:
        logits = F.interpolate(logits[:, None], (embedding.side,) * 2, mode="bilinear", align_corners=False)[:, 0]
    inner: Float32Array = logits[:, : embedding.inner[0], : embedding.inner[1]].float().sigmoid().cpu().numpy()
    return inner
