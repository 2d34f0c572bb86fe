"""One run over several processes: ``torchrun`` starts them, Fabric's DDP averages their gradients.

A step is ``train.accumulate`` micro-batches, whoever computes them: process r of n takes r, r + n, ... So the outcome
does not depend on n but for rounding, and a run may be resumed by another number of processes. That holds for methods
whose step draws no random numbers of its own and whose networks do not normalise over the batch; the others train as
well, but not the same. Process 0 alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from gazeseg.config import TrainConfig
from gazeseg.console import console
from gazeseg.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run; one where ``torchrun`` started none."""

    rank: int = 0
    size: int = 1
    per_node: int = 1

    @classmethod
    def from_environment(cls) -> World:
        """Read what ``torchrun`` says."""
        if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
            return cls()
        return cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))

    @property
    def writes(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    def parts(self, accumulate: int) -> range:
        """Return the micro-batches of a step that are this process's."""
        return range(self.rank, accumulate, self.size)


def make_fabric(config: TrainConfig, device: torch.device, world: World) -> Fabric:
    """Return Fabric for this process, connected to the others.

    Raises:
        ConfigError: if the micro-batches of a step cannot be shared out evenly.
    """
    if world.size == 1:
        return Fabric(accelerator=device.type, devices=1, precision=config.precision)
    if config.accumulate % world.size:
        more = -(-config.accumulate // world.size) * world.size
        raise ConfigError(
            f"train.accumulate {config.accumulate} micro-batches a step cannot be shared by {world.size} processes; "
            f"set --train.accumulate {more} (a step sees train.batch_size x train.accumulate images)"
        )
    console.quiet = not world.writes
    fabric = Fabric(
        accelerator=device.type,
        devices=world.per_node,
        num_nodes=world.size // world.per_node,
        precision=config.precision,
        # a method may leave parts without gradient in some steps, e.g. a branch during its ramp-up; its buffers follow
        # from the weights, which are the same everywhere
        strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False),
    )
    fabric.launch()
    return fabric


def first_alone(fabric: Fabric, work: Callable[[], T]) -> T:
    """Let process 0 do its part before the others do theirs: what it caches on disk they then only read."""
    if not fabric.is_global_zero:
        fabric.barrier()
    done = work()
    if fabric.is_global_zero:
        fabric.barrier()
    return done
