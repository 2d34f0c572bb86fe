"""Trainings that a test starts in processes of their own, as torchrun would."""

import contextlib
import os
from pathlib import Path

import tiny
import torch

from gazeseg.config import TrainConfig
from gazeseg.train.runfolder import RunFolder

KEYS = {"accumulate": 2, "batch_size": 4, "lr": 0.05, "lr_min": 1e-3, "log_every": 3, "device": "cpu", "threads": 1}


class Steady(tiny.Tiny):
    """Without batch norm and dropout, which depend on who computes what."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Sequential(self.first[0])


def train_part(out: Path, iterations: int, resume: bool = False) -> None:
    """Train up to ``iterations`` of 12; the process is one of those that the environment tells of."""
    from gazeseg.train.trainer import fit

    config = TrainConfig(iterations=12, checkpoint_every=iterations, optimizer="adamw", clip_norm=1.0, **KEYS)

    class Loader(tiny.TinyLoader):
        def batch(self, step):
            if step >= iterations * config.accumulate:
                raise InterruptedError
            return super().batch(step)

    with contextlib.suppress(InterruptedError):
        fit(Steady(), Loader(), config=config, folder=RunFolder(out), resume=resume)


def as_rank(rank: int, port: int, *arguments) -> None:
    """What torchrun tells its processes."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    train_part(*arguments)
