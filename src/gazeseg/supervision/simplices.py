"""Where the pixels of an image lie on the permutohedral lattice: simplices, weights, vertices and their neighbours.

Source: Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010, for
five dimensions (x, y, r, g, b). Lattice points are the integer points of the plane ``sum(e) = 0`` in six dimensions
whose coordinates are all congruent modulo six. A simplex is named by the nearest point with coordinates divisible by
six and the order of the differences to it; a vertex by its first five coordinates. Either name is packed into 63 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from gazeseg.types import Float32Array, UInt8Array

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

RANK_BITS: Final = 15  # lowest bits of a simplex' key: five ranks of three bits; the sixth follows from their sum
KEY_BITS: Final = 63


def kernel(function: Function) -> Function:
    """Compile to machine code without the GIL, and keep the result on disk where a folder for it can be written.

    numba keeps it beside the source, else in the user's cache folder.
    """
    try:
        return cast(Function, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:  # neither folder is writable: each process compiles for itself
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


@kernel
def _read_row(image: UInt8Array, row: int, levels: Float32Array, features: Float32Array) -> None:
    """Write the scaled colours of a row to ``features`` (3, W); ``levels`` (3, 256) holds those of each grey level."""
    for x in range(image.shape[1]):
        features[0, x] = levels[0, image[row, x, 0]]
        features[1, x] = levels[1, image[row, x, 1]]
        features[2, x] = levels[2, image[row, x, 2]]


@kernel
def _embed(
    features: Float32Array,  # (4, W) scaled r, g, b, x of the pixels of a row
    feature_y: np.float32,
    low: Int64Array,  # (5,) smallest value of each coordinate, in units of six
    shift: Int64Array,  # (5,) position of each coordinate in the key
    keys: Int64Array,  # (W,) out: the simplex
    weights: Float32Array,  # (6, W) out: barycentric weights
) -> None:
    """Locate the pixels of a row. Branch-free and on contiguous rows, so that it runs in vector registers."""
    sixth = np.float32(1 / 6)
    six = np.float32(6)
    one = np.float32(1)
    magic = np.float32(12582912)  # 1.5 * 2^23: adding and taking it away rounds to the nearest integer, ties to even
    low0, low1, low2, low3, low4 = low[0], low[1], low[2], low[3], low[4]
    shift0, shift1, shift2, shift3, shift4 = shift[0], shift[1], shift[2], shift[3], shift[4]
    red, green, blue, column = features[0], features[1], features[2], features[3]
    weight0, weight1, weight2 = weights[0], weights[1], weights[2]
    weight3, weight4, weight5 = weights[3], weights[4], weights[5]
    for i in range(len(keys)):
        # onto the plane sum(e) = 0 of six dimensions
        f = blue[i]
        e5 = np.float32(0) - np.float32(5) * f
        s = f
        f = green[i]
        e4 = s - np.float32(4) * f
        s = s + f
        f = red[i]
        e3 = s - np.float32(3) * f
        s = s + f
        e2 = s - np.float32(2) * feature_y
        s = s + feature_y
        f = column[i]
        e1 = s - f
        e0 = s + f
        # nearest point whose coordinates are multiples of six
        n0 = (e0 * sixth + magic) - magic
        n1 = (e1 * sixth + magic) - magic
        n2 = (e2 * sixth + magic) - magic
        n3 = (e3 * sixth + magic) - magic
        n4 = (e4 * sixth + magic) - magic
        n5 = (e5 * sixth + magic) - magic
        excess = np.int32(n0 + n1 + n2 + n3 + n4 + n5)
        d0 = e0 - n0 * six
        d1 = e1 - n1 * six
        d2 = e2 - n2 * six
        d3 = e3 - n3 * six
        d4 = e4 - n4 * six
        d5 = e5 - n5 * six
        # rank of each difference, largest first; on a tie the later coordinate comes first
        c01, c02, c03 = np.int32(d0 < d1), np.int32(d0 < d2), np.int32(d0 < d3)
        c04, c05, c12 = np.int32(d0 < d4), np.int32(d0 < d5), np.int32(d1 < d2)
        c13, c14, c15 = np.int32(d1 < d3), np.int32(d1 < d4), np.int32(d1 < d5)
        c23, c24, c25 = np.int32(d2 < d3), np.int32(d2 < d4), np.int32(d2 < d5)
        c34, c35, c45 = np.int32(d3 < d4), np.int32(d3 < d5), np.int32(d4 < d5)
        r0 = excess + c01 + c02 + c03 + c04 + c05
        r1 = excess + 1 - c01 + c12 + c13 + c14 + c15
        r2 = excess + 2 - c02 - c12 + c23 + c24 + c25
        r3 = excess + 3 - c03 - c13 - c23 + c34 + c35
        r4 = excess + 4 - c04 - c14 - c24 - c34 + c45
        r5 = excess + 5 - c05 - c15 - c25 - c35 - c45
        # a rank outside 0..5 moves that coordinate by six, which puts the point back on the plane
        w0 = np.int32(r0 < 0) - np.int32(r0 > 5)
        w1 = np.int32(r1 < 0) - np.int32(r1 > 5)
        w2 = np.int32(r2 < 0) - np.int32(r2 > 5)
        w3 = np.int32(r3 < 0) - np.int32(r3 > 5)
        w4 = np.int32(r4 < 0) - np.int32(r4 > 5)
        w5 = np.int32(r5 < 0) - np.int32(r5 > 5)
        n0 = n0 + np.float32(w0)
        n1 = n1 + np.float32(w1)
        n2 = n2 + np.float32(w2)
        n3 = n3 + np.float32(w3)
        n4 = n4 + np.float32(w4)
        n5 = n5 + np.float32(w5)
        keys[i] = (
            (np.int64(np.int32(n0)) - low0) << shift0
            | (np.int64(np.int32(n1)) - low1) << shift1
            | (np.int64(np.int32(n2)) - low2) << shift2
            | (np.int64(np.int32(n3)) - low3) << shift3
            | (np.int64(np.int32(n4)) - low4) << shift4
            | np.int64(
                (r0 + 6 * w0)
                | (r1 + 6 * w1) << np.int32(3)
                | (r2 + 6 * w2) << np.int32(6)
                | (r3 + 6 * w3) << np.int32(9)
                | (r4 + 6 * w4) << np.int32(12)
            )
        )
        # barycentric weights are the gaps between the differences in sorted order (a network of twelve exchanges)
        v0 = (e0 - n0 * six) * sixth
        v1 = (e1 - n1 * six) * sixth
        v2 = (e2 - n2 * six) * sixth
        v3 = (e3 - n3 * six) * sixth
        v4 = (e4 - n4 * six) * sixth
        v5 = (e5 - n5 * six) * sixth
        v0, v5 = max(v0, v5), min(v0, v5)
        v1, v3 = max(v1, v3), min(v1, v3)
        v2, v4 = max(v2, v4), min(v2, v4)
        v1, v2 = max(v1, v2), min(v1, v2)
        v3, v4 = max(v3, v4), min(v3, v4)
        v0, v3 = max(v0, v3), min(v0, v3)
        v2, v5 = max(v2, v5), min(v2, v5)
        v0, v1 = max(v0, v1), min(v0, v1)
        v2, v3 = max(v2, v3), min(v2, v3)
        v4, v5 = max(v4, v5), min(v4, v5)
        v1, v2 = max(v1, v2), min(v1, v2)
        v3, v4 = max(v3, v4), min(v3, v4)
        weight0[i] = v5 + (one - v0)
        weight1[i] = v4 - v5
        weight2[i] = v3 - v4
        weight3[i] = v2 - v3
        weight4[i] = v1 - v2
        weight5[i] = v0 - v1


@kernel
def _slot(table: Int64Array, key: np.int64) -> np.int64:
    """Where ``key`` stands in an open-addressed table, or the empty place (-1) where it belongs."""
    mask = len(table) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64((mixed >> np.uint64(29)) & np.uint64(mask))
    while table[at] != key and table[at] != -1:
        at = (at + 1) & mask
    return at


@kernel
def _grown(keys: Int64Array, count: int, size: int) -> tuple[Int64Array, Int32Array]:
    """A table of ``size`` places that holds the first ``count`` keys and their indices."""
    table = np.full(size, -1, np.int64)
    values = np.empty(size, np.int32)
    for i in range(count):
        at = _slot(table, keys[i])
        table[at] = keys[i]
        values[at] = i
    return table, values


@kernel
def locate(
    image: UInt8Array,  # (H, W, 3)
    levels: Float32Array,  # (3, 256) scaled colour feature of each grey level
    columns: Float32Array,  # (W,) scaled x feature
    rows: Float32Array,  # (H,) scaled y feature
    low: Int64Array,
    shift: Int64Array,
    simplex: Int32Array,  # (H, W) out: index of each pixel's simplex, in order of appearance
    weights: Float32Array,  # (H, 6, W) out
) -> Int64Array:
    """Find simplex and weights of every pixel; returns the keys of the simplices."""
    height, width = simplex.shape
    features = np.empty((4, width), np.float32)
    features[3] = columns
    row_keys = np.empty(width, np.int64)
    keys = np.empty(height * width, np.int64)
    count = 0
    table, values = _grown(keys, 0, 1 << 16)
    for row in range(height):
        _read_row(image, row, levels, features)
        _embed(features, rows[row], low, shift, row_keys, weights[row])
        last_key, last = np.int64(-1), np.int32(-1)
        for x in range(width):
            key = row_keys[x]
            if key != last_key:
                last_key = key
                at = _slot(table, key)
                if table[at] == -1:
                    if 2 * count >= len(table):
                        table, values = _grown(keys, count, 4 * len(table))
                        at = _slot(table, key)
                    table[at] = key
                    values[at] = count
                    keys[count] = key
                    count += 1
                last = values[at]
            simplex[row, x] = last
    return keys[:count].copy()


@kernel
def find_vertices(simplex_keys: Int64Array, shift: Int64Array, vertices: Int32Array) -> Int32Array:
    """Fill ``vertices`` (S, 6) with vertex indices and return the neighbours (6, M, 2); M stands for "none"."""
    count = 0
    capacity = 1 << 15
    keys = np.empty(6 * len(simplex_keys), np.int64)
    table, values = _grown(keys, 0, capacity)
    units = np.zeros(6, np.int64)
    for i in range(5):
        units[i] = np.int64(1) << shift[i]
    ranks = np.empty(6, np.int64)
    for s in range(len(simplex_keys)):
        key = simplex_keys[s]
        total = 0
        for i in range(5):
            ranks[i] = (key >> (3 * i)) & 7
            total += ranks[i]
        ranks[5] = 15 - total
        vertex = key >> RANK_BITS << RANK_BITS
        for k in range(6):
            # vertex k adds k to every coordinate, less six where the rank is among the last k
            if k:
                for i in range(6):
                    if ranks[i] == 6 - k:
                        vertex -= units[i]
            at = _slot(table, vertex + k)
            if table[at] == -1:
                if 2 * count >= len(table):
                    table, values = _grown(keys, count, 4 * len(table))
                    at = _slot(table, vertex + k)
                table[at] = vertex + k
                values[at] = count
                keys[count] = vertex + k
                count += 1
            vertices[s, k] = values[at]
    neighbours = np.full((6, count, 2), count, np.int32)
    everything = units.sum()
    for v in range(count):
        key = keys[v]
        k = key & 7
        for j in range(6):
            # one step back along direction j: every coordinate -1, coordinate j +5
            near = key + units[j] - 1 if k else key + units[j] + 5 - everything
            at = _slot(table, near)
            if table[at] != -1:
                neighbours[j, v, 0] = values[at]
                neighbours[j, values[at], 1] = v
    return neighbours
