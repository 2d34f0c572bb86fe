"""Local pixel propagation of GazeMedSeg, forward and backward: two unfolds of all channels, against ours."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from ledger import Row, time_pair
from torch import Tensor

from gazeseg.losses.neighbourhood import Neighbourhood
from gazeseg.losses.propagation import propagate_logits

WIDE = (1, 128, 112, 112)  # one image at half of 224 px: the plain form at full size needs more memory than most have
SMALL = (8, 12, 96, 96)  # a training step of one network of the CPU configurations
GOAL_SPEED = {WIDE: 40.0, SMALL: 25.0}  # few channels: less for the published form to gather
GOAL_MEMORY = 20.0
GOAL_ERROR = 1e-10  # in float64

Form = Callable[[Tensor, Tensor, Tensor, Neighbourhood], Tensor]


def published(features: Tensor, weight: Tensor, bias: Tensor, around: Neighbourhood) -> Tensor:
    """Gather all neighbours of all channels, once for the similarity and once for the mean, then classify."""
    batch, _, height, width = features.shape
    window = {"kernel_size": around.kernel, "dilation": around.dilation, "padding": around.reach_px}

    def gather(maps: Tensor) -> Tensor:
        return F.unfold(maps, **window).view(batch, maps.shape[1], around.kernel**2, height, width)

    compared = F.normalize(features, dim=1) if around.similarity == "cosine" else features
    scores = (compared[:, :, None] * gather(compared)).sum(dim=1).relu() / around.temperature
    if around.pad == "exclude":
        outside = gather(torch.ones_like(features[:, :1]))[:, 0] == 0
        scores = scores.masked_fill(outside, -torch.inf)
    mixed = (scores.softmax(dim=1)[:, None] * gather(features)).sum(dim=2)
    return F.conv2d(mixed, weight, bias)


def _inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(1, shape[1], 1, 1, generator=generator, dtype=dtype, requires_grad=True)
    bias = torch.randn(1, generator=generator, dtype=dtype, requires_grad=True)
    return features, weight, bias


def _step(form: Form, inputs: tuple[Tensor, Tensor, Tensor], around: Neighbourhood) -> tuple[Tensor, ...]:
    out = form(*inputs, around)
    return (out, *torch.autograd.grad(out.square().sum(), inputs))


def saved_bytes(form: Form, inputs: tuple[Tensor, Tensor, Tensor], around: Neighbourhood) -> int:
    """Bytes that wait for the backward pass, each storage once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        form(*inputs, around)
    return sum(storages.values())


def _row(shape: tuple[int, ...], around: Neighbourhood) -> Row:
    exact = _inputs(shape, torch.float64)
    pairs = zip(_step(published, exact, around), _step(propagate_logits, exact, around), strict=True)
    error = max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)
    inputs = _inputs(shape, torch.float32)
    slow, fast = time_pair(
        lambda: _step(published, inputs, around), lambda: _step(propagate_logits, inputs, around), inner=5
    )
    memory = saved_bytes(published, inputs, around) / saved_bytes(propagate_logits, inputs, around)
    return Row(
        stage=f"local propagation {'x'.join(map(str, shape))}, {around.similarity}",
        published_ms=slow,
        ours_ms=fast,
        error=f"fp64 {error:.0e} relative; memory 1/{memory:.0f}",
        goal=f">= {GOAL_SPEED[shape]:.0f}x, memory <= 1/{GOAL_MEMORY:.0f}",
        met=slow / fast >= GOAL_SPEED[shape] and memory >= GOAL_MEMORY and error < GOAL_ERROR,
    )


def rows() -> list[Row]:
    torch.set_num_threads(1)
    dot = Neighbourhood(similarity="dot", pad="zero")
    return [_row(WIDE, Neighbourhood()), _row(WIDE, dot), _row(SMALL, Neighbourhood())]
