r"""Local pixel propagation: each pixel takes a similarity-weighted mean of its neighbours.

Zhong et al., MICCAI 2024, arXiv 2407.07406, Eq. 1, in front of the classifier ``W f + b``:

.. math:: \tilde f(u) = \sum_{v \in N(u)} \mathrm{softmax}_v(\mathrm{relu}(\mathrm{sim}(f(u), f(v))) / T)\, f(v)

Published code gathers all neighbours of all channels, 25 copies of the features for a 5x5 window. Two facts make that
needless. The weights sum to one, so propagating and classifying commute: it suffices to propagate ``W f``, one channel
in the binary case. And ``sim(u, v) = sim(v, u)``, so half of the shifts determine the other half. What is kept for the
backward pass is the features, which the classifier keeps anyway, the 13 maps of similarities, and on an accelerator the
25 of weights. On a CPU the sweeps of :mod:`gazeseg.losses.propagation_cpu` do the work, elsewhere tensor operations.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from gazeseg.losses.neighbourhood import TINY, Neighbourhood

BLOCK_BYTES = 64_000_000  # of features worked on at a time, large enough to keep an accelerator busy


def propagate_logits(features: Tensor, weight: Tensor, bias: Tensor | None, around: Neighbourhood) -> Tensor:
    """Return the logits of the propagated features, exact to rounding; computed in float32 at least.

    Args:
        features: (B, F, H, W).
        weight: (K, F, 1, 1) of the pointwise classifier.
        bias: (K,) of the classifier.
        around: The window and the similarity.

    Returns:
        (B, K, H, W), with gradients to features, weight and bias.
    """
    with torch.autocast(features.device.type, enabled=False):
        wide = torch.float64 if features.dtype == torch.float64 else torch.float32
        form = _OnCpu if features.device.type == "cpu" else _ByShifts
        out: Tensor = form.apply(features, weight[..., 0, 0].to(wide), around)  # type: ignore[no-untyped-call]  # torch
        return out if bias is None else out + bias.to(wide).view(1, -1, 1, 1)


class _OnCpu(torch.autograd.Function):
    """Propagate ``weight @ features``, which are on a CPU; features (B, F, H, W), weight (K, F)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, around: Neighbourhood) -> Tensor:
        from gazeseg.losses import propagation_cpu  # numba costs seconds to import, and other devices never come here

        out, similarity, inverse = propagation_cpu.forward(
            features.to(weight.dtype).contiguous().numpy(),
            weight.contiguous().numpy(),
            around,
            torch.get_num_threads(),
        )
        ctx.around = around
        ctx.save_for_backward(
            features, weight, torch.from_numpy(similarity), None if inverse is None else torch.from_numpy(inverse)
        )
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        from gazeseg.losses import propagation_cpu

        features, weight, similarity, inverse = ctx.saved_tensors
        grad_features, grad_weight = propagation_cpu.backward(
            features.to(weight.dtype).contiguous().numpy(),
            weight.contiguous().numpy(),
            similarity.numpy(),
            None if inverse is None else inverse.numpy(),
            grad_out.contiguous().numpy(),
            ctx.around,
            torch.get_num_threads(),
        )
        return torch.from_numpy(grad_features).to(features.dtype), torch.from_numpy(grad_weight), None


class _ByShifts(torch.autograd.Function):
    """Propagate ``weight @ features`` on any device; features (B, F, H, W), weight (K, F).

    Pixels are numbered along rows, n = H W of them, so that a shift is an offset; ``outside`` marks the pairs that only
    the numbering brings together. Maps of pairs are (B, half, n): the centre and the window below it, each at the pixel
    that comes first.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, around: Neighbourhood) -> Tensor:
        height, width = features.shape[-2:]
        flat = _flatten(features, weight.dtype)
        values = weight.expand(len(flat), -1, -1).bmm(flat)  # (B, K, n); a broadcast @ would copy flat
        offsets = around.offsets(height, width)
        outside = _outside(around, height, width, flat.device)
        similarity = _correlate(flat, offsets).masked_fill_(outside[:, len(offsets) - 1 :], 0.0)
        inverse = None
        if around.similarity == "cosine":
            inverse = similarity[:, :1].sqrt().clamp(min=TINY).reciprocal()  # f(p) . f(p) comes first
            similarity = similarity * inverse * _read(inverse, offsets)
        weights = _weights(similarity, outside, around, offsets)
        ctx.around = around
        ctx.save_for_backward(features, weight, values, similarity, weights, inverse)
        return (weights[:, None] * _window(values, offsets)).sum(dim=2).view(-1, weight.shape[0], height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        features, weight, values, similarity, weights, inverse = ctx.saved_tensors
        offsets = ctx.around.offsets(*features.shape[-2:])
        last = len(offsets) - 1  # the centre of the whole window
        grad = grad_out.flatten(-2)  # (B, K, n)
        pixels = grad.shape[-1]

        # to the values: every neighbour hands back its share
        shares = weights[:, None] * grad[:, :, None]  # (B, K, window, n)
        grad_values = shares[:, :, last].clone()
        for index, offset in enumerate(offsets[1:], start=1):
            grad_values[..., offset:] += shares[:, :, last + index, : pixels - offset]
            grad_values[..., : pixels - offset] += shares[:, :, last - index, offset:]

        # to the similarities: softmax, then the two directions of a pair together, then relu
        through = (grad[:, :, None] * _window(values, offsets)).sum(dim=1)
        mean = (weights * through).sum(dim=1, keepdim=True)
        directed = weights * (through - mean) / ctx.around.temperature
        pairs = directed[:, last:].clone()
        for index, offset in enumerate(offsets[1:], start=1):
            pairs[:, index, : pixels - offset] += directed[:, last - index, offset:]
        pairs = torch.where(similarity > 0, pairs, 0.0)

        # to the features: a pair pulls each of its pixels towards the other; own is what a pixel adds by itself
        if inverse is None:
            own = 2 * pairs[:, :1]
        else:
            turning = pairs * similarity
            total = turning[:, 1:].sum(dim=1, keepdim=True)
            for index, offset in enumerate(offsets[1:], start=1):
                total[..., offset:] += turning[:, index : index + 1, : pixels - offset]
            own = torch.where(inverse < 1 / TINY, -total, 2 * pairs[:, :1]) * inverse * inverse  # f(p)'s length cancels
            pairs = pairs * inverse * _read(inverse, offsets)
        flat = _flatten(features, weight.dtype)
        grad_weight = grad_values.bmm(flat.mT).sum(dim=0)
        grad_features = _pull(weight.T.expand(len(flat), -1, -1).bmm(grad_values), flat, pairs, own, offsets)
        return grad_features.view(features.shape).to(features.dtype), grad_weight, None


def _flatten(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (B, F, n), contiguous; no copy where the features are so already."""
    return features.to(dtype).contiguous().flatten(2)


def _blocks(flat: Tensor) -> Iterator[slice]:
    """Yield the channels that are worked on at a time."""
    batch, channels, pixels = flat.shape
    step = max(1, BLOCK_BYTES // (batch * pixels * flat.element_size()))
    for start in range(0, channels, step):
        yield slice(start, start + step)


def _correlate(flat: Tensor, offsets: list[int]) -> Tensor:
    """Return f(p) . f(p + offset), (B, offsets, n), zero where p + offset is past the last pixel."""
    batch, _, pixels = flat.shape
    products = flat.new_zeros(batch, len(offsets), pixels)
    for channels in _blocks(flat):
        block = flat[:, channels]
        for index, offset in enumerate(offsets):
            part = (block[..., : pixels - offset] * block[..., offset:]).sum(dim=1)
            products[:, index, : pixels - offset] += part
    return products


def _pull(total: Tensor, flat: Tensor, pairs: Tensor, own: Tensor, offsets: list[int]) -> Tensor:
    """Add to ``total`` (B, F, n), in place: own(p) f(p), and each pair times the features of its other pixel."""
    pixels = flat.shape[-1]
    for channels in _blocks(flat):
        block, part = flat[:, channels], total[:, channels]
        part.addcmul_(own, block)
        for index, offset in enumerate(offsets[1:], start=1):
            pair = pairs[:, index, None, : pixels - offset]
            part[..., : pixels - offset].addcmul_(pair, block[..., offset:])
            part[..., offset:].addcmul_(pair, block[..., : pixels - offset])
    return total


def _weights(similarity: Tensor, outside: Tensor, around: Neighbourhood, offsets: list[int]) -> Tensor:
    """Return the weights of the window, (B, kernel^2, n), zero outside the image.

    With ``zero`` the rest of the weight falls on the zero vectors around the image, which add nothing to the mean.
    """
    # by symmetry the similarity of p to p - d is that of p - d to its neighbour at + d
    scores = torch.stack([*_back(similarity, offsets), *similarity.unbind(dim=1)], dim=1)
    scores = scores.clamp_(min=0).div_(around.temperature)
    if around.pad == "exclude":
        return scores.masked_fill_(outside, -torch.inf).softmax(dim=1)
    return scores.softmax(dim=1).masked_fill_(outside, 0.0)


@functools.lru_cache(maxsize=8)
def _outside(around: Neighbourhood, height: int, width: int, device: torch.device) -> Tensor:
    """Return where the pixel of the window is outside the image, (1, kernel^2, height * width) bool."""
    y = torch.arange(height, device=device)[:, None]
    x = torch.arange(width, device=device)[None, :]
    fits = [(y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width) for dy, dx in around.window()]
    return ~torch.stack(fits).flatten(1)[None]


def _back(half: Tensor, offsets: list[int]) -> list[Tensor]:
    """Return the maps (B, n) of the pairs with the pixel that comes later, the window above the centre in its order."""
    pixels = half.shape[-1]
    return [
        F.pad(half[:, index, : pixels - offset], (offset, 0)) for index, offset in reversed([*enumerate(offsets)][1:])
    ]


def _read(one: Tensor, offsets: list[int]) -> Tensor:
    """Return one map (B, 1, n) read at p + offset, zero past the last pixel; (B, offsets, n)."""
    return torch.cat([F.pad(one[..., offset:], (0, offset)) for offset in offsets], dim=1)


def _window(values: Tensor, offsets: list[int]) -> Tensor:
    """Return the values (B, K, n) at the pixels of the window, (B, K, kernel^2, n); arbitrary outside the image."""
    pixels = values.shape[-1]
    above = [F.pad(values[..., : pixels - offset], (offset, 0)) for offset in offsets[:0:-1]]
    below = [F.pad(values[..., offset:], (0, offset)) for offset in offsets]
    return torch.stack(above + below, dim=2)
