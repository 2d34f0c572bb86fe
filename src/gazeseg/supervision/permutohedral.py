"""Bilateral filtering of a colour image on a permutohedral lattice.

The lattice (Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010)
approximates ``K[p, q] = exp(-|f_p - f_q|^2 / 2)`` for features ``f = (x/sx, y/sy, r/s, g/s, b/s)``: each pixel falls in
a simplex with six vertices, *splats* its value to them with barycentric weights, the vertex values are *blurred* along
the six lattice directions, and every pixel *slices* its value back. Scaling, rounding, order of the blur and float32
arithmetic are those of Kraehenbuehl and Koltun's dense CRF, so that its results are met to rounding error.

What makes it fast here: neighbouring pixels of an image share simplices (about seven pixels each on endoscopy frames),
so pixels are sorted by simplex. Six vertex values are then gathered once a simplex, and the work per pixel is a sweep
over contiguous weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gazeseg.errors import ConfigError
from gazeseg.supervision.simplices import (
    KEY_BITS,
    RANK_BITS,
    Int32Array,
    find_vertices,
    kernel,
    locate,
)
from gazeseg.types import Float32Array, UInt8Array

BLOCK: Final = 2048  # pixels of one stretch of a sweep, few enough for its values and weights to stay in cache
SLICE_GAIN: Final = 1 / (1 + 2**-5)  # of slicing after a blur in five dimensions, as in the published lattice


@kernel
def _sort_pixels(
    simplex: Int32Array,  # (H, W)
    row_weights: Float32Array,  # (H, 6, W)
    stride: int,
    start: Int32Array,  # (S + 1,) out: first pixel of each simplex
    pixels: Int32Array,  # (P,) out: flat pixel index in order of the simplices
    weights: Float32Array,  # (P, 6) out
) -> None:
    """Bring the pixels of the ``stride`` grid, with their weights, into the order of their simplices."""
    height, width = simplex.shape
    start[:] = 0
    for row in range(0, height, stride):
        for x in range(0, width, stride):
            start[simplex[row, x] + 1] += 1
    for s in range(len(start) - 1):
        start[s + 1] += start[s]
    place = start.copy()
    for row in range(0, height, stride):
        for x in range(0, width, stride):
            s = simplex[row, x]
            p = place[s]
            place[s] = p + 1
            pixels[p] = row * width + x
            for k in range(6):
                weights[p, k] = row_weights[row, k, x]


@kernel
def blur(values: Float32Array, spare: Float32Array, neighbours: Int32Array) -> None:
    """Blur (M + 1,) vertex values in place with (1/2, 1, 1/2) along the six directions; the last entry stays zero."""
    count = len(values) - 1
    half = np.float32(0.5)
    spare[count] = 0
    for pair in range(3):
        for v in range(count):
            near = values[neighbours[2 * pair, v, 0]] + values[neighbours[2 * pair, v, 1]]
            spare[v] = values[v] + half * near
        for v in range(count):
            near = spare[neighbours[2 * pair + 1, v, 0]] + spare[neighbours[2 * pair + 1, v, 1]]
            values[v] = spare[v] + half * near


@kernel
def block_end(start: Int32Array, first: int) -> int:
    """One past the last simplex of the stretch from ``first`` whose pixels fit in a block (at least one simplex)."""
    last = first + 1
    while last + 1 < len(start) and start[last + 1] - start[first] <= BLOCK:
        last += 1
    return last


@kernel
def slice_block(
    values: Float32Array,
    vertices: Int32Array,
    start: Int32Array,
    weights: Float32Array,
    first: int,
    last: int,
    out: Float32Array,
) -> None:
    """Interpolate vertex values at the pixels of simplices ``first`` to ``last``; ``out`` begins with the first one."""
    base = start[first]
    for s in range(first, last):
        begin, end = start[s], start[s + 1]
        if begin == end:
            continue
        v0, v1, v2 = values[vertices[s, 0]], values[vertices[s, 1]], values[vertices[s, 2]]
        v3, v4, v5 = values[vertices[s, 3]], values[vertices[s, 4]], values[vertices[s, 5]]
        for p in range(begin, end):
            out[p - base] = (
                weights[p, 0] * v0
                + weights[p, 1] * v1
                + weights[p, 2] * v2
                + (weights[p, 3] * v3 + weights[p, 4] * v4 + weights[p, 5] * v5)
            )


@kernel
def splat_block(
    inputs: Float32Array,
    vertices: Int32Array,
    start: Int32Array,
    weights: Float32Array,
    first: int,
    last: int,
    values: Float32Array,
) -> None:
    """Add pixel values to the vertices of their simplices: the transpose of :func:`slice_block`."""
    base = start[first]
    for s in range(first, last):
        begin, end = start[s], start[s + 1]
        if begin == end:
            continue
        v0 = v1 = v2 = v3 = v4 = v5 = np.float32(0)
        for p in range(begin, end):
            value = inputs[p - base]
            v0 += weights[p, 0] * value
            v1 += weights[p, 1] * value
            v2 += weights[p, 2] * value
            v3 += weights[p, 3] * value
            v4 += weights[p, 4] * value
            v5 += weights[p, 5] * value
        values[vertices[s, 0]] += v0
        values[vertices[s, 1]] += v1
        values[vertices[s, 2]] += v2
        values[vertices[s, 3]] += v3
        values[vertices[s, 4]] += v4
        values[vertices[s, 5]] += v5


@kernel
def _slice_all(
    simplex: Int32Array,  # (H, W)
    vertices: Int32Array,  # (S, 6)
    row_weights: Float32Array,  # (H, 6, W)
    values: Float32Array,  # (M + 1, C)
    out: Float32Array,  # (C, H, W)
) -> None:
    """Interpolate vertex values at every pixel, whether it was splatted or not."""
    height, width = simplex.shape
    gain = np.float32(SLICE_GAIN)
    for row in range(height):
        for x in range(width):
            s = simplex[row, x]
            for c in range(values.shape[1]):
                total = np.float32(0)
                for k in range(6):
                    total += row_weights[row, k, x] * values[vertices[s, k], c]
                out[c, row, x] = gain * total


@dataclass(frozen=True, slots=True)
class Lattice:
    """The lattice of one image. Build it with :func:`build_lattice`.

    H and W are the image's, S simplices hold pixels, M vertices exist, P pixels on the grid of ``stride`` are sources.
    """

    simplex: Int32Array  # (H, W) index of each pixel's simplex
    row_weights: Float32Array  # (H, 6, W) barycentric weights of each pixel
    vertices: Int32Array  # (S, 6) vertex indices of each simplex
    neighbours: Int32Array  # (6, M, 2) the vertices one step back and forth along each direction; M stands for none
    start: Int32Array  # (S + 1,) first source of each simplex
    pixels: Int32Array  # (P,) flat index of each source, in order of the simplices
    weights: Float32Array  # (P, 6) their barycentric weights

    def filter(self, values: Float32Array) -> Float32Array:
        """Return ``sum_q K[p, q] values[q]`` for every pixel p, without normalisation; q runs over the sources.

        Args:
            values: (H, W) float32.
        """
        inputs = np.ascontiguousarray(values, np.float32).reshape(-1)[self.pixels]
        filtered: Float32Array = self.slice(self.spread(inputs)[:, None])[0]
        return filtered

    def spread(self, inputs: Float32Array) -> Float32Array:
        """Splat values (P,) of the sources and blur: vertex values (M + 1,), the last of them zero."""
        values = np.zeros(self.neighbours.shape[1] + 1, np.float32)
        splat_block(inputs, self.vertices, self.start, self.weights, 0, len(self.start) - 1, values)
        blur(values, np.empty_like(values), self.neighbours)
        return values

    def slice(self, values: Float32Array) -> Float32Array:
        """Interpolate blurred vertex values (M + 1, C) at every pixel: (C, H, W)."""
        out = np.empty((values.shape[1], *self.simplex.shape), np.float32)
        _slice_all(self.simplex, self.vertices, self.row_weights, values, out)
        return out


def build_lattice(
    image: UInt8Array, *, sx_px: float, sy_px: float, srgb: float, stride: int = 1, with_origin: bool = False
) -> Lattice:
    """Locate the pixels of an image on the permutohedral lattice.

    Args:
        image: (H, W, 3) uint8.
        sx_px: standard deviation along x, in pixels of ``image``.
        sy_px: the same along y.
        srgb: standard deviation of each colour channel, in grey levels of 0..255.
        stride: only every ``stride``-th row and column are sources; all pixels can be sliced.
        with_origin: let the vertices around a black pixel at (0, 0) exist. A blur passes only through vertices that do.

    Raises:
        ConfigError: if the widths are so small that a lattice point has no 63-bit name.
    """
    height, width = image.shape[:2]
    # standard deviation of the blur in lattice units, and the scale that makes the embedding an isometry
    scale = (np.sqrt(2 / 3) * 6 / np.sqrt([2, 6, 12, 20, 30])).astype(np.float32)
    columns = np.arange(width, dtype=np.float32) / np.float32(sx_px) * scale[0]
    rows = np.arange(height, dtype=np.float32) / np.float32(sy_px) * scale[1]
    levels = np.arange(256, dtype=np.float32) / np.float32(srgb) * scale[2:, None]
    top = np.array([columns[-1], rows[-1], *(255 / srgb * scale[2:])], np.float64)
    # coordinate i is the sum of the scaled features from i on, less i times the one before it
    highest = np.array([top[i:].sum() for i in range(5)])
    lowest = np.array([-i * top[i - 1] if i else 0.0 for i in range(5)])
    low = np.floor(lowest / 6).astype(np.int64) - 4  # room for rounding, for a corrected rank, a vertex and a neighbour
    high = np.ceil(highest / 6).astype(np.int64) + 4
    bits = np.array([int(span).bit_length() for span in high - low], np.int64)
    if bits.sum() + RANK_BITS > KEY_BITS:
        raise ConfigError(
            f"crf.sxy and crf.srgb are too small for an image of {height} x {width} px, got "
            f"{min(sx_px, sy_px):g} px and {srgb:g} grey levels; raise the smaller one"
        )
    shift = RANK_BITS + np.concatenate([[0], np.cumsum(bits)[:-1]])
    simplex = np.empty((height, width), np.int32)
    row_weights = np.empty((height, 6, width), np.float32)
    keys = locate(np.ascontiguousarray(image), levels, columns, rows, low, shift, simplex, row_weights)
    if with_origin:
        ranks = sum(rank << 3 * rank for rank in range(5))  # all differences are zero: ranks in order
        keys = np.append(keys, (-low << shift).sum() + ranks)
    vertices = np.empty((len(keys), 6), np.int32)
    neighbours = find_vertices(keys, shift, vertices)
    sources = -(-height // stride) * -(-width // stride)
    start = np.empty(len(keys) + 1, np.int32)
    pixels = np.empty(sources, np.int32)
    weights = np.empty((sources, 6), np.float32)
    _sort_pixels(simplex, row_weights, stride, start, pixels, weights)
    return Lattice(simplex, row_weights, vertices, neighbours, start, pixels, weights)
