"""How long a step of training takes on this machine, before any run has begun."""

from __future__ import annotations

import dataclasses
import time

import torch

from gazeseg.methods.contract import make_batch
from gazeseg.train.plan import Plan
from gazeseg.train.trainer import cpu_threads


def seconds_per_step(plan: Plan, threads: int) -> float:
    """Return the seconds of one iteration on random numbers, forward and backward, after one that warms up.

    What reading the data takes is left out: with a cache that is a small part of a step.

    Args:
        plan: The run; its method is used up.
        threads: Of PyTorch, where the configuration names none.
    """
    config, method, device = plan.config, plan.method, plan.device
    size, needs = config.data.size, method.needs
    batch = make_batch(
        needs,
        in_channels=plan.dataset.info.channels,
        num_classes=method.num_classes,
        size=(size[0], size[1]),
        batch_size=config.train.batch_size,
        levels=len(plan.thresholds),
    )
    if batch.text is not None and method.text_dim is not None:
        batch = dataclasses.replace(batch, text=torch.randn(*batch.text.shape[:2], method.text_dim))
    batch = batch.to(device)
    layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
    batch = dataclasses.replace(batch, image=batch.image.contiguous(memory_format=layout))
    method.to(device, memory_format=layout)  # type: ignore[call-overload]  # the stub omits memory_format beside device
    method.train()
    last = config.train.iterations - 1  # every ramp has ended, every part of the method is at work
    began = 0.0
    with cpu_threads(config.train.threads or threads):
        for _ in range(2):
            began = _now(device)
            losses = method.training_step(batch, last).losses
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]  # PyTorch's own
            method.zero_grad()
        return (_now(device) - began) * config.train.accumulate


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
