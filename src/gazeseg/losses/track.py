"""Targets of track attention, drawn from a batch of fixations, and the loss against them.

The maps are those of :mod:`gazeseg.supervision.track` to 1e-5, for a whole batch at once, on its device and without
waiting for it. A Gaussian is the product of a row and a column. The density is therefore one matrix product a map; the
maximum has no such product, but truncated tracks are nested: walking from the end that stays, one running maximum
passes through every map of the ladder, so K maps cost as much as the longest of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gazeseg.supervision.track import TINY, Ladder, kept

FLOOR = torch.finfo(torch.float32).tiny  # an empty track divides zeros by this


@torch.no_grad()
def track_maps(track: Tensor, length: Tensor, size: tuple[int, int], ladder: Ladder) -> Tensor:
    """Draw the maps of the truncated tracks of a batch.

    Args:
        track: (B, N, 4) x_px, y_px, onset_s, duration_s in pixels of the image, zero-padded: ``Batch.track``.
        length: (B,) int64, the rows that count.
        size: (H, W) of the image and of the maps.
        ladder: How to cut and draw.

    Returns:
        (B, K, H, W) float32 in [0, 1], deepest stage first; zeros for an empty track.
    """
    with torch.autocast(track.device.type, enabled=False):  # half precision would show in the maps
        rows = _responses(track[..., 1].float(), size[0], ladder.sigma)
        columns = _responses(track[..., 0].float(), size[1], ladder.sigma)
        duration = track[..., 3].float()
        if ladder.mode == "kde":
            return _density(rows, columns, duration, length, ladder)
        weight = (duration / duration.amax(dim=1, keepdim=True).clamp_min(FLOOR)) ** ladder.gamma
        return _distance(weight[..., None] * rows, columns, length, ladder)


def pooled(maps: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Average maps (B, 1, H, W) over the cells of a decoder stage, (B, 1, h, w).

    A network pads an image at the bottom and right until its poolings fit; the maps are padded likewise, so that cell
    and pixels stay together.

    Args:
        maps: At image size.
        size: (h, w) of the stage.
        stride: Pixels a cell.
    """
    bottom, right = (max(0, cells * stride - side) for cells, side in zip(size, maps.shape[-2:], strict=True))
    if bottom or right:
        maps = F.pad(maps, (0, right, 0, bottom), mode="replicate")
    return F.adaptive_avg_pool2d(maps, (size[0], size[1]))


def soft_cross_entropy(logits: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Binary cross-entropy against a soft target: mean over pixels, then over the samples that have gaze.

    It does not reach 0; its floor is :func:`entropy` of the target.

    Args:
        logits: (B, 1, h, w).
        target: (B, 1, h, w) in [0, 1].
        seen: (B,) bool; a sample without gaze contributes nothing, a batch without gaze gives 0.
    """
    return _over_seen(F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none"), seen)


def squared_error(logits: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Mean of (sigmoid(logit) - target)^2; arguments and averages as :func:`soft_cross_entropy`."""
    return _over_seen((torch.sigmoid(logits.float()) - target).square(), seen)


def entropy(target: Tensor, seen: Tensor) -> Tensor:
    """Return -t log t - (1 - t) log(1 - t), averaged as :func:`soft_cross_entropy`: the value that it cannot beat."""
    return _over_seen(torch.special.entr(target) + torch.special.entr(1 - target), seen)


def _over_seen(values: Tensor, seen: Tensor) -> Tensor:
    share = seen / seen.sum().clamp_min(1)
    return (values.mean(dim=(1, 2, 3)) * share).sum()


def _responses(position_px: Tensor, extent: int, sigma: float) -> Tensor:
    """(B, N) -> (B, N, extent): 1-D Gaussians about each position, ``sigma`` a share of the extent."""
    pixels = torch.arange(extent, device=position_px.device)
    distance = (pixels - position_px[..., None]) / extent  # the half pixels of both cancel
    return torch.exp(distance.square_().mul_(-0.5 / sigma**2))


def _counts(length: Tensor, rho: float, n_min: int) -> Tensor:
    """(B,) how many fixations stay; in double precision, so that the ceiling is that of NumPy."""
    return torch.minimum((rho * length.double()).ceil().long().clamp_min(n_min), length)


def _density(rows: Tensor, columns: Tensor, duration: Tensor, length: Tensor, ladder: Ladder) -> Tensor:
    place = torch.arange(duration.shape[1], device=length.device)  # from the end that stays
    if ladder.keep == "last":
        place = length[:, None] - 1 - place
    counts = torch.stack([_counts(length, rho, ladder.n_min) for rho in ladder.rhos], dim=1)  # (B, K)
    stays = (place[..., None, :] >= 0) & (place[..., None, :] < counts[..., None])  # (B, K, N)
    share = duration[:, None] * stays
    share = share / share.sum(dim=2, keepdim=True).clamp_min(FLOOR)
    values = (share[..., None] * rows[:, None]).transpose(2, 3) @ columns[:, None]
    low = values.amin(dim=(2, 3), keepdim=True)
    return (values - low) / (values.amax(dim=(2, 3), keepdim=True) - low + TINY)


def _distance(rows: Tensor, columns: Tensor, length: Tensor, ladder: Ladder) -> Tensor:
    batch, most, height = rows.shape
    width = columns.shape[2]
    maps = rows.new_empty(batch, len(ladder.rhos), height, width)
    running = rows.new_zeros(batch, height, width)
    product = torch.empty_like(running)
    begin = torch.zeros_like(length)
    for stage, steps in _walk(most, ladder.rhos, ladder.n_min):
        end = _counts(length, ladder.rhos[stage], ladder.n_min)
        place = begin[:, None] + torch.arange(steps, device=length.device)  # (B, steps) from the end that stays
        index = (length[:, None] - 1 - place if ladder.keep == "last" else place).clamp(0, most - 1)[..., None]
        new_rows = rows.gather(1, index.expand(-1, -1, height)) * (place < end[:, None])[..., None]
        new_columns = columns.gather(1, index.expand(-1, -1, width))
        for step in range(steps):
            torch.mul(new_rows[:, step, :, None], new_columns[:, step, None, :], out=product)
            torch.maximum(running, product, out=running)
        torch.div(running, running.amax(dim=(1, 2), keepdim=True).clamp_min_(FLOOR), out=maps[:, stage])
        begin = end
    return maps


@functools.lru_cache(maxsize=512)  # one entry for each longest track of a batch
def _walk(most: int, rhos: tuple[float, ...], n_min: int) -> tuple[tuple[int, int], ...]:
    """Return the stages from the shortest track to the longest, each with the most fixations that it adds."""
    walk = []
    before = [0] * (most + 1)
    for stage in sorted(range(len(rhos)), key=rhos.__getitem__):
        counts = [kept(length, rhos[stage], n_min) for length in range(most + 1)]
        walk.append((stage, max(now - then for now, then in zip(counts, before, strict=True))))
        before = counts
    return tuple(walk)
