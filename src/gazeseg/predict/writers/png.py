"""Masks and maps as PNG: one file for an image, a folder with one file a frame for a volume."""

from __future__ import annotations

from pathlib import Path

from gazeseg.data.images import write_image, write_map
from gazeseg.predict.sources.base import Frames
from gazeseg.types import Float32Array, UInt8Array


def targets(stem: Path, frames: Frames) -> list[Path]:
    """Return the file of each frame."""
    if len(frames.images) == 1:
        return [stem.with_name(f"{stem.name}.png")]
    return [stem / f"{name}.png" for name in frames.names]


def write_masks(stem: Path, labels: UInt8Array, frames: Frames) -> list[Path]:
    """Write class indices (N, H, W), each upright as its frame was shown to the network; return the files."""
    files = targets(stem, frames)
    for path, mask in zip(files, labels, strict=True):
        write_image(path, mask)
    return files


def write_maps(stem: Path, values: Float32Array, frames: Frames) -> list[Path]:
    """Write maps (N, H, W) in [0, 1] as 16-bit grey, round(65535 v); return the files."""
    files = targets(stem, frames)
    for path, frame in zip(files, values, strict=True):
        # an interpolated probability may leave [0, 1] by rounding alone
        write_map(path, frame.clip(0, 1))
    return files
