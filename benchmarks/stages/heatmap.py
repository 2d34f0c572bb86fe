"""Heatmap: a dense Gaussian filter on the 768 x 768 canvas against the rank-N product."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from ledger import Row, time_pair
from scipy.ndimage import gaussian_filter

from gazeseg.supervision.heatmap import CANVAS, square768
from gazeseg.types import Fixations

SIZE = (530, 621)  # median image and median number of fixations of the recorded Kvasir-SEG gaze
FIXATIONS = 25
SIGMA_PX = 70.0
GOAL = 100
TOLERANCE = 1e-6


def fixations(size: tuple[int, int]) -> Fixations:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, FIXATIONS))
    duration = rng.uniform(80, 900, FIXATIONS)
    return Fixations(x * size[1] - 0.5, y * size[0] - 0.5, np.arange(FIXATIONS) * 1e3, duration, size, "benchmark")


def dense_canvas(fix: Fixations) -> np.ndarray:
    """The published way up to the resize: scatter, filter, stretch."""
    canvas = np.zeros((CANVAS, CANVAS))
    height, width = fix.image_size
    for x, y, duration in zip(fix.x_px, fix.y_px, fix.duration_ms, strict=True):
        column = int(np.clip(np.round((x + 0.5) / width * CANVAS) - 1, 0, CANVAS - 1))
        row = int(np.clip(np.round((y + 0.5) / height * CANVAS) - 1, 0, CANVAS - 1))
        canvas[row, column] += duration
    canvas = gaussian_filter(canvas, SIGMA_PX)
    return (canvas - canvas.min()) / (canvas.max() - canvas.min())


def dense_map(fix: Fixations) -> np.ndarray:
    """The published way to the end: the bicubic resize by PyTorch."""
    canvas = torch.from_numpy(dense_canvas(fix))[None, None]
    resized = torch.nn.functional.interpolate(canvas, fix.image_size, mode="bicubic")
    return resized.clamp(0, 1).numpy()[0, 0]


def rows() -> list[Row]:
    out = []
    square = fixations((CANVAS, CANVAS))  # the resize is the identity there: the filter alone against ours
    for name, fix, published in (
        ("heatmap, 768 x 768 canvas", square, dense_canvas),
        (f"heatmap, full size {SIZE[0]} x {SIZE[1]}", fixations(SIZE), dense_map),
    ):
        slow, fast = time_pair(partial(published, fix), partial(square768, fix, SIGMA_PX), inner=20)
        error = float(np.abs(published(fix) - square768(fix, SIGMA_PX).values).max())
        met = slow >= GOAL * fast and error <= TOLERANCE
        out.append(Row(name, slow, fast, f"max diff {error:.1e}", f">= {GOAL}x at <= {TOLERANCE:g}", met))
    return out
