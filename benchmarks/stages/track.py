"""Track maps of a batch: every Gaussian of every map as an image, against rows and columns of nested tracks.

There is no published code. The plain way follows the formula: for each image and each truncated track a stack of full
Gaussians, one a fixation, and its maximum or weighted sum.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable

import torch
from ledger import Row, time_pair
from torch import Tensor

from gazeseg.config import NetworkConfig
from gazeseg.losses.track import track_maps
from gazeseg.methods import create
from gazeseg.methods.contract import make_batch
from gazeseg.methods.gradtrack import GradTrack
from gazeseg.supervision.track import TINY, Ladder, kept, preset
from gazeseg.types import Batch

BATCH = 8
LEVELS = 4
LONGEST = 99  # fixations of the longest track of Kvasir-SEG
SIZE = 224
GOAL_SHARE = 0.05
GOAL_ERROR = 1e-5


def plain(track: Tensor, length: Tensor, size: tuple[int, int], ladder: Ladder) -> Tensor:
    """Draw (B, K, H, W) maps the plain way."""
    v, u = ((torch.arange(side) + 0.5) / side for side in size)
    images = []
    for rows, count in zip(track, length.tolist(), strict=True):
        maps = []
        for rho in ladder.rhos:
            stays = kept(count, rho, ladder.n_min)
            part = rows[count - stays : count] if ladder.keep == "last" else rows[:stays]
            x, y = (part[:, 0] + 0.5) / size[1], (part[:, 1] + 0.5) / size[0]
            squared = (u[None, None] - x[:, None, None]) ** 2 + (v[None, :, None] - y[:, None, None]) ** 2
            bells = torch.exp(-squared / (2 * ladder.sigma**2))  # (N, H, W)
            duration = part[:, 3, None, None]
            if ladder.mode == "dist":
                values = ((duration / duration.max()) ** ladder.gamma * bells).amax(dim=0)
                maps.append(values / values.max())
            else:
                values = (duration / duration.sum() * bells).sum(dim=0)
                maps.append((values - values.min()) / (values.max() - values.min() + TINY))
        images.append(torch.stack(maps))
    return torch.stack(images)


def rows() -> list[Row]:
    torch.set_num_threads(1)
    step, batch = _step()
    whole_ms = statistics.median(_timed(step) for _ in range(3))
    found = []
    for mode in ("dist", "kde"):
        keep, rhos = preset("R1", LEVELS)
        ladder = Ladder(keep, rhos, n_min=3, mode=mode, sigma=70 / 768, gamma=0.5)
        stacked, ours = (
            functools.partial(form, batch.track, batch.track_length, (SIZE, SIZE), ladder)
            for form in (plain, track_maps)
        )
        difference = float((stacked() - ours()).abs().max())
        slow, fast = time_pair(stacked, ours, repeats=3, inner=5)
        share = fast / whole_ms
        found.append(
            Row(
                f"track maps {mode}, batch 8, K = 4, 99 fixations at 224",
                slow,
                fast,
                f"max diff {difference:.1e}; {share:.1%} of a small_unet step",
                f"<= {GOAL_SHARE:.0%} of a step at <= {GOAL_ERROR:g}",
                share <= GOAL_SHARE and difference <= GOAL_ERROR,
            )
        )
    return found


def _step() -> tuple[Callable[[], None], Batch]:
    """Return a training step of the smallest network, of which a fixed cost is the largest share, and its batch."""
    method = create(
        {"name": GradTrack.name},
        network=NetworkConfig(name="small_unet"),
        in_channels=3,
        num_classes=2,
        levels=1,
        seed=0,
    )
    batch = make_batch(method.needs, in_channels=3, num_classes=2, size=(SIZE, SIZE), batch_size=BATCH, levels=1)
    track = SIZE * torch.rand(BATCH, LONGEST, 4, generator=torch.Generator().manual_seed(0))
    batch = dataclasses.replace(
        batch, image=batch.image.contiguous(), track=track, track_length=torch.full((BATCH,), LONGEST)
    )
    optimizer = torch.optim.AdamW(method.parameters())

    def step() -> None:
        torch.stack(list(method.training_step(batch, 0).losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, batch


def _timed(step: Callable[[], None]) -> float:
    """CPU milliseconds of one call."""
    start = time.process_time()
    step()
    return (time.process_time() - start) * 1e3
