"""A method and a loader small enough to train in milliseconds."""

import time
from pathlib import Path

import torch
from torch import nn

from gazeseg.config import NetworkConfig, Section, TrainConfig
from gazeseg.methods.base import Method, Reference, Spec, StepOutput
from gazeseg.train.runfolder import RunFolder
from gazeseg.types import Batch


class Tiny(Method):
    """Two convolutions with dropout and batch norm, tied to a second name, and an EMA copy of the first."""

    name = "tiny"
    summary = "for tests"
    needs = frozenset({"mask"})
    reference = Reference("", "", "", "ours")

    def __init__(self, seed: int = 0) -> None:
        super().__init__(Section(), Spec(NetworkConfig(), in_channels=1, num_classes=2, levels=1, seed=seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
            self.head = nn.Conv2d(4, 1, 1)
        self.tied = self.head  # the same tensors under a second name
        self.register_buffer("ema", self.first[0].weight.detach().clone())
        self.steps: list[int] = []
        self.poison: int | None = None
        self.scale = 1.0

    def training_step(self, batch, step):
        self.steps.append(step)
        logits = self.tied(self.first(batch.image))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.mask.float())
        if step == self.poison:
            loss = loss * float("nan")
        return StepOutput({"bce": loss * self.scale, "l2": 1e-3 * logits.square().mean()}, {"mean": logits.mean()})

    def after_step(self, step):
        self.ema.lerp_(self.first[0].weight, 0.1)

    def predict(self, images):
        p = torch.sigmoid(self.head(self.first(images)))
        return torch.cat([1 - p, p], dim=1)


class TinyLoader:
    """Batches from (seed, step) alone."""

    def __init__(self, size: int = 12, batch_size: int = 4, wait_s: float = 0.0) -> None:
        self.size, self.batch_size, self.wait_s = size, batch_size, wait_s
        self.asked: list[int] = []

    def batch(self, step: int) -> Batch:
        time.sleep(self.wait_s)
        self.asked.append(step)
        generator = torch.Generator().manual_seed(1000 + step)
        image = torch.randn(self.batch_size, 1, self.size, self.size, generator=generator)
        ids = tuple(str(i) for i in range(self.batch_size))
        return Batch(ids=ids, image=image, mask=(image[:, 0] > 0.3).long())


CONFIG = TrainConfig(
    iterations=60, batch_size=4, lr=0.05, lr_min=1e-3, optimizer="adamw", threads=1, device="cpu",
    checkpoint_every=7, log_every=5, validate_every=20, select="validation",
)  # fmt: skip


def validation_dice(method: Method) -> float:
    """A stand-in for the validation: not monotonic over the run, so that best and last differ."""
    batch = TinyLoader().batch(10_000)
    prediction = method.predict(batch.image).argmax(1)
    overlap = 2 * (prediction & batch.mask).sum() / (prediction.sum() + batch.mask.sum()).clamp(min=1)
    return float(overlap)


def train_tiny(out: Path, *, resume: bool, wait_s: float = 0.0) -> Tiny:
    from gazeseg.train.trainer import fit

    out.mkdir(exist_ok=True)
    method = Tiny()
    fit(
        method,
        TinyLoader(wait_s=wait_s),
        config=CONFIG,
        folder=RunFolder(out),
        validate=lambda: validation_dice(method),
        resume=resume,
    )
    return method
