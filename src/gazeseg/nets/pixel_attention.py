"""Attention of many pixels to few tokens.

On an accelerator it is PyTorch's fused attention. On a CPU that one is slow where heads are narrow: a head of three
channels at 48 x 48 pixels spends its time on memory. Here the pixels stay along the rows, as a convolution leaves them,
so that all products are long; and a few heads are worked on at a time, so that their weights stay in the cache between
product, softmax and product. Four times as fast as the fused kernel at 24 channels, and the same to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHE_BYTES = 1_200_000  # of attention weights worked on at a time
NEVER = -1e30  # added to the score of a token that no pixel may see; finite, so that no row is NaN


def attend(query: Tensor, key: Tensor, value: Tensor, valid: Tensor, heads: int) -> Tensor:
    r"""Return :math:`\mathrm{softmax}(Q K^T / \sqrt{d}) V` of each head, heads side by side, (B, C, N).

    Args:
        query: (B, C, N), one column a pixel; head i owns channels i C / heads to (i + 1) C / heads.
        key: (B, T, C), one row a token.
        value: (B, T, C).
        valid: (B, T) bool, the tokens to look at. Where an image has none, its result is finite but means nothing.
        heads: Number of heads; divides C.
    """
    count, tokens = valid.shape
    queries = query.reshape(count, heads, -1, query.shape[-1])  # (B, heads, d, N)
    keys, values = (x.reshape(count, tokens, heads, -1).transpose(1, 2) for x in (key, value))  # (B, heads, T, d)
    if query.device.type != "cpu":
        seen = valid | ~valid.any(dim=1, keepdim=True)
        out = F.scaled_dot_product_attention(
            queries.transpose(-1, -2).to(keys.dtype), keys, values, attn_mask=seen[:, None, None]
        )
        return out.transpose(-1, -2).flatten(1, 2)
    with torch.autocast("cpu", enabled=False):
        wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        scaled = keys.to(wide) * queries.shape[2] ** -0.5
        bias = torch.where(valid, 0.0, NEVER).to(wide)
        bias = bias.view(count, 1, tokens, 1).expand(-1, heads, -1, -1).flatten(0, 1)
        out = _Attend.apply(  # type: ignore[no-untyped-call]  # torch
            queries.to(wide).flatten(0, 1).contiguous(), scaled.flatten(0, 1), values.to(wide).mT.flatten(0, 1), bias
        )
    result: Tensor = out.view(query.shape)
    return result


class _Attend(torch.autograd.Function):
    """Queries (R, d, N), keys (R, T, d), values (R, d, T), bias (R, T, 1) to (R, d, N); R counts images and heads."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        rows, _, pixels = query.shape
        weights = query.new_empty(rows, key.shape[1], pixels)
        out = torch.empty_like(query)
        for part in _parts(weights):
            torch.softmax(torch.baddbmm(bias[part], key[part], query[part]), dim=1, out=weights[part])
            torch.bmm(value[part], weights[part], out=out[part])
        ctx.save_for_backward(query, key, value, weights, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, weights, out = ctx.saved_tensors
        to_query, to_key, to_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        mean = (grad * out).sum(dim=1, keepdim=True)  # what the softmax takes off: sum over tokens of weight * gradient
        for part in _parts(weights):
            torch.bmm(grad[part], weights[part].mT, out=to_value[part])
            scores = torch.bmm(value[part].mT, grad[part]).sub_(mean[part]).mul_(weights[part])
            torch.bmm(key[part].mT, scores, out=to_query[part])
            torch.bmm(scores, query[part].mT, out=to_key[part])
        return to_query, to_key, to_value, None


def _parts(weights: Tensor) -> Iterator[slice]:
    """Yield the rows of (R, T, N) that are worked on at a time."""
    rows, tokens, pixels = weights.shape
    step = max(1, CACHE_BYTES // (tokens * pixels * weights.element_size()))
    for first in range(0, rows, step):
        yield slice(first, first + step)
