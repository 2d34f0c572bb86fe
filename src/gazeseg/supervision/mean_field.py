"""Mean-field inference of the two-label dense CRF on a permutohedral lattice.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS 2011, with
one bilateral kernel K, symmetric normalisation ``n = 1 / sqrt(K 1)`` and Potts compatibility. Two labels need a single
channel: with ``s = 2 q - 1 = tanh(z / 2)`` for foreground probability q and log-odds z, one parallel update is

    z = u + compat * n * K(n * s)        u: unary log-odds; s starts at tanh(u / 2)

Each update reads the image once: slice, logistic and the next splat share one sweep over the sorted pixels.
"""

from __future__ import annotations

import numpy as np

from gazeseg.supervision.permutohedral import (
    BLOCK,
    SLICE_GAIN,
    Lattice,
    block_end,
    blur,
    slice_block,
    splat_block,
)
from gazeseg.supervision.simplices import Int32Array, kernel
from gazeseg.types import Float32Array

_TINY = 1e-20  # keeps the normalisation of a pixel without mass finite; the value of the published code


@kernel
def exp_negative(z: np.float32) -> np.float32:
    """``exp(-z)`` to a relative 2e-7, from arithmetic alone so that a loop over it runs in vector registers."""
    z = min(max(-z, np.float32(-80)), np.float32(80))
    magic = np.float32(12582912)  # rounds to the nearest integer, see _embed_row
    power = (z * np.float32(1.4426950408889634) + magic) - magic
    # ln 2 in two parts: the first has few digits, so that its product with a small integer is exact
    f = (z - power * np.float32(0.693145751953125)) - power * np.float32(1.42860682030941723212e-6)
    series = np.float32(1 / 720) + f * np.float32(1 / 5040)
    series = np.float32(1 / 120) + f * series
    series = np.float32(1 / 24) + f * series
    series = np.float32(1 / 6) + f * series
    series = np.float32(1 / 2) + f * series
    series = np.float32(1) + f * (np.float32(1) + f * series)
    return series * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


@kernel
def _tanh_half(z: np.float32) -> np.float32:
    e = exp_negative(z)
    return (np.float32(1) - e) / (np.float32(1) + e)


@kernel
def _largest(start: Int32Array) -> int:
    """Pixels of the longest stretch that a sweep treats at once."""
    largest = BLOCK
    for s in range(len(start) - 1):
        largest = max(largest, start[s + 1] - start[s])
    return largest


@kernel
def _sweep_first(
    norm: Float32Array,  # (M + 1,) blurred splat of ones
    vertices: Int32Array,
    start: Int32Array,
    weights: Float32Array,
    logits: Float32Array,  # (P,)
    scale: Float32Array,  # (P,) out: n
    splatted: Float32Array,  # (M + 1,) zeros in; out: splat of n tanh(u / 2)
) -> None:
    """Normalise every source and splat the starting point."""
    buffer = np.empty(_largest(start), np.float32)
    gain, tiny = np.float32(SLICE_GAIN), np.float32(_TINY)
    first = 0
    while first < len(start) - 1:
        last = block_end(start, first)
        begin, size = start[first], start[last] - start[first]
        slice_block(norm, vertices, start, weights, first, last, buffer)
        for i in range(size):
            n = np.float32(1) / np.sqrt(gain * buffer[i] + tiny)
            scale[begin + i] = n
            buffer[i] = n * _tanh_half(logits[begin + i])
        splat_block(buffer, vertices, start, weights, first, last, splatted)
        first = last


@kernel
def _sweep(
    blurred: Float32Array,  # (M + 1,) of the iteration before
    vertices: Int32Array,
    start: Int32Array,
    weights: Float32Array,
    logits: Float32Array,  # (P,)
    scale: Float32Array,  # (P,)
    compat: float,
    splatted: Float32Array,  # (M + 1,) zeros in; out: splat of n tanh(z / 2)
) -> None:
    """One mean-field update of every source, splatted at once."""
    buffer = np.empty(_largest(start), np.float32)
    gain = np.float32(compat * SLICE_GAIN)
    first = 0
    while first < len(start) - 1:
        last = block_end(start, first)
        begin, size = start[first], start[last] - start[first]
        slice_block(blurred, vertices, start, weights, first, last, buffer)
        for i in range(size):
            n = scale[begin + i]
            buffer[i] = n * _tanh_half(logits[begin + i] + gain * n * buffer[i])
        splat_block(buffer, vertices, start, weights, first, last, splatted)
        first = last


@kernel
def _sweep_last(
    blurred: Float32Array,
    vertices: Int32Array,
    start: Int32Array,
    weights: Float32Array,
    logits: Float32Array,  # (P,)
    scale: Float32Array,  # (P,)
    compat: float,
    pixels: Int32Array,  # (P,)
    probability: Float32Array,  # (H * W,) out
) -> None:
    """The last update, put back into the order of the image."""
    buffer = np.empty(_largest(start), np.float32)
    gain = np.float32(compat * SLICE_GAIN)
    first = 0
    while first < len(start) - 1:
        last = block_end(start, first)
        begin, size = start[first], start[last] - start[first]
        slice_block(blurred, vertices, start, weights, first, last, buffer)
        for i in range(size):
            z = logits[begin + i] + gain * scale[begin + i] * buffer[i]
            buffer[i] = np.float32(1) / (np.float32(1) + exp_negative(z))
        for i in range(size):
            probability[pixels[begin + i]] = buffer[i]
        first = last


@kernel
def _combine(unary: Float32Array, message: Float32Array, norm: Float32Array, compat: float, out: Float32Array) -> None:
    """The last update at every pixel of the image, from sliced ``K(n s)`` and ``K 1`` (flat arrays)."""
    gain, tiny = np.float32(compat), np.float32(_TINY)
    for i in range(len(out)):
        z = unary[i] + gain * message[i] / np.sqrt(norm[i] + tiny)
        out[i] = np.float32(1) / (np.float32(1) + exp_negative(z))


def mean_field(lattice: Lattice, unary: Float32Array, *, compat: float, iterations: int) -> Float32Array:
    """Foreground probability after ``iterations`` parallel updates.

    Where the lattice has fewer sources than pixels, the iterations run on the sources and the last one on all pixels.

    Args:
        lattice: of the image.
        unary: (H, W) float32 log-odds of foreground.
        compat: Potts weight.
        iterations: at least 1.

    Returns:
        (H, W) float32 in [0, 1].
    """
    sorted_pixels = (lattice.vertices, lattice.start, lattice.weights)
    logits = unary.reshape(-1)[lattice.pixels]
    scale = np.empty_like(logits)
    norm = lattice.spread(np.ones_like(logits))
    values, spare = np.zeros((2, len(norm)), np.float32)
    _sweep_first(norm, *sorted_pixels, logits, scale, values)
    blur(values, spare, lattice.neighbours)
    for _ in range(iterations - 1):
        spare[:] = 0
        _sweep(values, *sorted_pixels, logits, scale, compat, spare)
        values, spare = spare, values
        blur(values, spare, lattice.neighbours)
    probability = np.empty(unary.size, np.float32)
    if len(lattice.pixels) == unary.size:
        _sweep_last(values, *sorted_pixels, logits, scale, compat, lattice.pixels, probability)
    else:
        message, mass = lattice.slice(np.stack([values, norm], axis=1)).reshape(2, -1)
        _combine(unary.reshape(-1), message, mass, compat, probability)
    return probability.reshape(unary.shape)
