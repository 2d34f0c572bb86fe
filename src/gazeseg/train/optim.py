"""Optimisers, and the learning rate as a pure function of the step: a resumed run has no schedule state to restore."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from gazeseg.config import TrainConfig
from gazeseg.errors import ConfigError

POLY_POWER = 0.9  # DeepLab, and the semi-supervised benchmarks after it
ONE_CYCLE_RISE = 0.3  # share of the run spent rising (Smith & Topin 2019, PyTorch's default)
ONE_CYCLE_START = 25.0  # the peak over the rate at the start, PyTorch's default


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainConfig, *, fused: bool) -> torch.optim.Optimizer:
    """Return the configured optimiser over the parameters that learn.

    Args:
        parameters: All parameters of the method; those without ``requires_grad`` are left out.
        config: The ``train`` section: optimizer, lr, momentum and nesterov (SGD only), weight_decay.
        fused: Update all parameters in one kernel; for CUDA.

    Raises:
        ConfigError: if nothing learns.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if not learning:
        raise ConfigError("the method has no parameter to learn; choose a method that trains a network")
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            learning,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov and config.momentum > 0,  # PyTorch refuses Nesterov without momentum
            fused=fused,
        )
    optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return optimizer(learning, lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def lr_at(step: int, config: TrainConfig) -> float:
    r"""Return the learning rate of iteration ``step`` (from 0).

    With :math:`t` the share of the steps after the warm-up that have passed, :math:`t \in [0, 1)`:

    - ``cosine``: :math:`lr_{min} + (lr - lr_{min}) (1 + \cos \pi t) / 2`, stepped every iteration
    - ``poly``: :math:`lr_{min} + (lr - lr_{min}) (1 - t)^{0.9}`
    - ``one_cycle``: a half cosine up from lr / 25 over the share ``warmup`` (.3 when that is 0), then a half cosine
      down to ``lr_min`` at the last iteration; momentum stays as it is
    - ``constant``: ``lr``

    The other three rise linearly to ``lr`` over the share ``warmup`` first.

    Examples:
        >>> config = TrainConfig(iterations=100, lr=1.0, lr_min=0.0)
        >>> [round(lr_at(step, config), 3) for step in (0, 50, 99)]
        [1.0, 0.5, 0.0]
    """
    total, peak, low = config.iterations, config.lr, config.lr_min
    if config.schedule == "one_cycle":
        top = (config.warmup or ONE_CYCLE_RISE) * total - 1  # the step of the peak
        if step < top:
            return _half_cosine(peak / ONE_CYCLE_START, peak, step / top)
        return _half_cosine(peak, low, (step - top) / max(total - 1 - top, 1))
    rise = round(config.warmup * total)
    if step < rise:
        return peak * (step + 1) / rise
    if config.schedule == "constant":
        return peak
    passed = (step - rise) / max(total - rise, 1)
    if config.schedule == "cosine":
        return _half_cosine(peak, low, passed)
    return low + (peak - low) * math.pow(1 - passed, POLY_POWER)


def _half_cosine(start: float, end: float, share: float) -> float:
    """Go from ``start`` to ``end`` along half a cosine period."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
