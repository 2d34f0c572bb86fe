"""Local pixel propagation on a CPU, in sweeps over blocks of pixels.

The maths is that of :mod:`gazeseg.losses.propagation`. Its form in tensor operations makes a map of all pixels for
every shift of the window; here a block of pixels and its window stay in the processor's cache from the similarities to
the result, and the weights are computed again in the backward pass rather than kept.

An image is laid out flat, N pixels: a margin, the rows with zeros after each, a margin. Zeros and margins are as long
as the window reaches, so that a shift of the window is a distance between flat pixels wherever the pixel lies.
``offsets`` (window,) are these distances in row-major order; they mirror each other around the centre. Maps of pairs
are (half, N): the centre and the window below it, each pair at the pixel that comes first.

Each image is the work of one thread, in one order of sums: the result is the same, bit for bit, for any number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.losses.neighbourhood import TINY, Neighbourhood
from gazeseg.supervision.mean_field import exp_negative
from gazeseg.supervision.simplices import Int64Array, kernel

Array = npt.NDArray[Any]  # float32 or float64

BLOCK: Final = 1024  # pixels of a sweep at a time, few enough for their windows to stay in cache
NEVER: Final = -80.0  # score of a neighbour that takes no part: exp(-80) is nothing beside the exp(0) of the highest


@dataclass(frozen=True, slots=True)
class _Flat:
    """How images of one size are laid out, and the window on them."""

    height: int
    width: int
    stride: int  # from one row to the next
    offsets: Int64Array  # (window,)
    border: Array  # (N,) what is added to the score of a neighbour that lies there
    temperature: Any  # in the precision of the features, as scalars are all that keeps a kernel in it

    @property
    def margin(self) -> int:
        return int(self.offsets[-1])

    def lay(self, image: Array) -> Array:
        """Return (C, H, W) as (C, N)."""
        flat = np.zeros((len(image), len(self.border)), image.dtype)
        self.rows(flat)[:] = image
        return flat

    def rows(self, flat: Array) -> Array:
        """Return the view (C, H, W) of (C, N)."""
        inner = flat[:, self.margin : self.margin + self.height * self.stride]
        return inner.reshape(len(flat), self.height, self.stride)[..., : self.width]


def _flat(around: Neighbourhood, height: int, width: int, dtype: np.dtype[Any]) -> _Flat:
    stride = width + around.reach_px
    offsets = np.array([dy * stride + dx for dy, dx in around.window()], np.int64)
    size = height * stride + 2 * offsets[-1]
    border = np.zeros(size, dtype)
    layout = _Flat(height, width, stride, offsets, border, dtype.type(around.temperature))
    if around.pad == "exclude":
        border[:] = NEVER
        layout.rows(border[None])[:] = 0
    return layout


def forward(features: Array, weight: Array, around: Neighbourhood, threads: int) -> tuple[Array, Array, Array | None]:
    """Propagate ``weight @ features``.

    Args:
        features: (B, F, H, W), contiguous, float32 or float64.
        weight: (K, F) of the same precision.
        around: The window and the similarity.
        threads: How many images are worked on at a time.

    Returns:
        The result (B, K, H, W), the similarities (B, half, N), and for the cosine one over the length of each vector
        (B, N).
    """
    batch, _, height, width = features.shape
    layout = _flat(around, height, width, features.dtype)
    size = len(layout.border)
    out = np.empty((batch, len(weight), height, width), features.dtype)
    similarity = np.zeros((batch, len(layout.offsets) // 2 + 1, size), features.dtype)
    inverse = np.empty((batch, size), features.dtype) if around.similarity == "cosine" else None

    def propagate(image: int) -> None:
        flat = layout.lay(features[image])
        _correlate(flat, layout.offsets, similarity[image])
        if inverse is not None:
            np.divide(1, np.sqrt(similarity[image, 0]).clip(min=TINY), out=inverse[image])
            _normalise(similarity[image], inverse[image], layout.offsets)
        mixed = np.zeros((len(weight), size), features.dtype)
        values = np.einsum("kf,fn->kn", weight, flat)
        _mix(values, similarity[image], layout.border, layout.offsets, layout.temperature, mixed)
        out[image] = layout.rows(mixed)

    _each(propagate, batch, threads)
    return out, similarity, inverse


def backward(
    features: Array,
    weight: Array,
    similarity: Array,
    inverse: Array | None,
    grad: Array,
    around: Neighbourhood,
    threads: int,
) -> tuple[Array, Array]:
    """Hand the gradient ``grad`` (B, K, H, W) of :func:`forward` back to features and weight.

    The other arguments are those of the forward pass and what it returned.
    """
    batch, _, height, width = features.shape
    layout = _flat(around, height, width, features.dtype)
    size = len(layout.border)
    grad_features = np.empty_like(features)
    grad_weight = np.empty((batch, *weight.shape), features.dtype)

    def hand_back(image: int) -> None:
        flat = layout.lay(features[image])
        values = np.einsum("kf,fn->kn", weight, flat)
        grad_values = np.zeros_like(values)
        pairs = np.zeros_like(similarity[image])
        _share(
            layout.lay(grad[image]),
            values,
            similarity[image],
            layout.border,
            layout.offsets,
            layout.temperature,
            grad_values,
            pairs,
        )
        pairs *= similarity[image] > 0
        if inverse is None:
            own = 2 * pairs[0]
        else:
            own = np.zeros(size, features.dtype)
            _turn(pairs, similarity[image], inverse[image], layout.offsets, own)
            has_direction = inverse[image] < 1 / features.dtype.type(TINY)  # else its length does not cancel
            own = np.where(has_direction, -own, 2 * pairs[0]) * np.square(inverse[image])
        pulled = np.einsum("kf,kn->fn", weight, grad_values)
        _pull(flat, pairs, own, layout.offsets, pulled)
        grad_features[image] = layout.rows(pulled)
        grad_weight[image] = np.einsum("kn,fn->kf", grad_values, flat)

    _each(hand_back, batch, threads)
    return grad_features, grad_weight.sum(axis=0)


def _each(work: Callable[[int], None], count: int, threads: int) -> None:
    """Do the work of each image; the kernels and NumPy run without the GIL."""
    if min(count, threads) <= 1:
        for image in range(count):
            work(image)
        return
    with ThreadPoolExecutor(min(count, threads)) as pool:
        for _ in pool.map(work, range(count)):
            pass


@kernel
def _correlate(flat: Array, offsets: Int64Array, products: Array) -> None:
    """Add f(p) . f(p + offset) to ``products`` (half, N)."""
    channels, size = flat.shape
    quads = channels // 4 * 4
    centre = len(offsets) // 2
    end = size - offsets[-1]
    for start in range(offsets[-1], end, BLOCK):
        stop = min(start + BLOCK, end)
        for f in range(0, quads, 4):  # four channels at once: the sum is read and written a quarter as often
            a0, a1 = flat[f, start:stop], flat[f + 1, start:stop]
            a2, a3 = flat[f + 2, start:stop], flat[f + 3, start:stop]
            for j in range(centre + 1):
                first, last = start + offsets[centre + j], stop + offsets[centre + j]
                b0, b1 = flat[f, first:last], flat[f + 1, first:last]
                b2, b3 = flat[f + 2, first:last], flat[f + 3, first:last]
                total = products[j, start:stop]
                for x in range(len(total)):
                    total[x] += (a0[x] * b0[x] + a1[x] * b1[x]) + (a2[x] * b2[x] + a3[x] * b3[x])
        for f in range(quads, channels):
            a0 = flat[f, start:stop]
            for j in range(centre + 1):
                b0, total = flat[f, start + offsets[centre + j] : stop + offsets[centre + j]], products[j, start:stop]
                for x in range(len(total)):
                    total[x] += a0[x] * b0[x]


@kernel
def _normalise(similarity: Array, inverse: Array, offsets: Int64Array) -> None:
    """Turn dot products into cosines, in place."""
    centre = len(offsets) // 2
    for j in range(centre + 1):
        alike, later = similarity[j], inverse[offsets[centre + j] :]
        for x in range(len(later)):
            alike[x] = alike[x] * inverse[x] * later[x]


@kernel
def _weigh(
    similarity: Array,  # (half, N)
    border: Array,  # (N,)
    offsets: Int64Array,
    temperature: Any,
    start: int,
    size: int,
    weights: Array,  # (window, BLOCK) out
) -> None:
    """Write the softmax over the window of the ``size`` pixels from ``start`` on."""
    zero, one = border.dtype.type(0), border.dtype.type(1)
    centre = len(offsets) // 2
    highest, total = np.zeros(size, border.dtype), np.zeros(size, border.dtype)
    for entry in range(len(offsets)):
        there = start + offsets[entry]
        earlier = min(start, there)
        alike, lower = similarity[abs(entry - centre), earlier : earlier + size], border[there : there + size]
        score = weights[entry, :size]
        for x in range(size):
            score[x] = max(alike[x], zero) / temperature + lower[x]
            highest[x] = max(highest[x], score[x])
    for entry in range(len(offsets)):
        score = weights[entry, :size]
        if score.itemsize == 4:
            for x in range(size):
                score[x] = exp_negative(np.float32(highest[x] - score[x]))
        else:
            for x in range(size):
                score[x] = math.exp(score[x] - highest[x])
        for x in range(size):
            total[x] += score[x]
    for x in range(size):
        total[x] = one / total[x]
    for entry in range(len(offsets)):
        weight = weights[entry, :size]
        for x in range(size):
            weight[x] *= total[x]


@kernel
def _mix(
    values: Array,  # (K, N)
    similarity: Array,  # (half, N)
    border: Array,  # (N,)
    offsets: Int64Array,
    temperature: Any,
    mixed: Array,  # (K, N) added to
) -> None:
    """Add the weighted mean of the values in the window of each pixel."""
    weights = np.empty((len(offsets), BLOCK), values.dtype)
    end = len(border) - offsets[-1]
    for start in range(offsets[-1], end, BLOCK):
        size = min(BLOCK, end - start)
        _weigh(similarity, border, offsets, temperature, start, size, weights)
        for entry in range(len(offsets)):
            there = start + offsets[entry]
            weight = weights[entry, :size]
            for k in range(len(values)):
                mean, value = mixed[k, start : start + size], values[k, there : there + size]
                for x in range(size):
                    mean[x] += weight[x] * value[x]


@kernel
def _share(
    grad: Array,  # (K, N)
    values: Array,  # (K, N)
    similarity: Array,  # (half, N)
    border: Array,  # (N,)
    offsets: Int64Array,
    temperature: Any,
    grad_values: Array,  # (K, N) added to
    pairs: Array,  # (half, N) added to: the gradient of the similarities, before relu
) -> None:
    """Hand the gradient back to the values and, through the softmax, to the similarities."""
    weights = np.empty((len(offsets), BLOCK), values.dtype)
    through = np.empty((len(offsets), BLOCK), values.dtype)
    centre = len(offsets) // 2
    end = len(border) - offsets[-1]
    for start in range(offsets[-1], end, BLOCK):
        size = min(BLOCK, end - start)
        _weigh(similarity, border, offsets, temperature, start, size, weights)
        mean = np.zeros(size, values.dtype)
        for entry in range(len(offsets)):
            there = start + offsets[entry]
            weight, gain = weights[entry, :size], through[entry, :size]
            gain[:] = 0
            for k in range(len(values)):
                slope, value = grad[k, start : start + size], values[k, there : there + size]
                back = grad_values[k, there : there + size]
                for x in range(size):
                    gain[x] += slope[x] * value[x]
                for x in range(size):
                    back[x] += weight[x] * slope[x]
            for x in range(size):
                mean[x] += weight[x] * gain[x]
        for entry in range(len(offsets)):
            earlier = min(start, start + offsets[entry])
            weight, gain = weights[entry, :size], through[entry, :size]
            pair = pairs[abs(entry - centre), earlier : earlier + size]  # the two directions of a pair meet
            for x in range(size):
                pair[x] += weight[x] * (gain[x] - mean[x]) / temperature


@kernel
def _turn(pairs: Array, similarity: Array, inverse: Array, offsets: Int64Array, own: Array) -> None:
    """Go from the cosines to the features: scale ``pairs`` in place, and add what shortens a pixel to ``own`` (N,)."""
    centre = len(offsets) // 2
    for j in range(1, centre + 1):
        offset = offsets[centre + j]
        pair, alike, own_later, later = pairs[j], similarity[j], own[offset:], inverse[offset:]
        for x in range(len(later)):
            own[x] += pair[x] * alike[x]
        for x in range(len(later)):
            own_later[x] += pair[x] * alike[x]
        for x in range(len(later)):
            pair[x] *= inverse[x] * later[x]


@kernel
def _pull(flat: Array, pairs: Array, own: Array, offsets: Int64Array, pulled: Array) -> None:
    """Add to ``pulled`` (F, N): own(p) f(p), and each pair times the features of its other pixel."""
    centre = len(offsets) // 2
    end = len(own) - offsets[-1]
    for start in range(offsets[-1], end, BLOCK):
        stop = min(start + BLOCK, end)
        for f in range(len(flat)):
            total, here, itself = pulled[f, start:stop], flat[f, start:stop], own[start:stop]
            for x in range(len(total)):
                total[x] += itself[x] * here[x]
            for j in range(1, centre + 1):
                offset = offsets[centre + j]
                ahead, later = pairs[j, start:stop], flat[f, start + offset : stop + offset]
                behind, earlier = pairs[j, start - offset : stop - offset], flat[f, start - offset : stop - offset]
                for x in range(len(total)):
                    total[x] += ahead[x] * later[x] + behind[x] * earlier[x]
