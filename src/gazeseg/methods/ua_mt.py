"""Uncertainty-aware mean teacher: agree with the teacher only where it is sure.

Yu, Wang, Li, Fu & Heng, "Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation",
MICCAI 2019, arXiv 1907.07034, as SSL4MIS trains it on ACDC (GitHub HiLab-git/SSL4MIS at 06df604).
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from gazeseg.losses.confident import ramp_up
from gazeseg.methods.base import Reference
from gazeseg.methods.mean_teacher import MeanTeacher, MeanTeacherConfig

SMOOTH = 1e-6  # inside the logarithm of the entropy
EMPTY = 1e-16


class UaMtConfig(MeanTeacherConfig):
    """Defaults are SSL4MIS's."""

    start: int = Field(0, ge=0)
    passes: int = Field(8, ge=1)  # of the teacher under noise, for its uncertainty
    certain_first: float = Field(0.75, gt=0)  # most entropy that counts as sure, in ln 2, at the start ...
    certain_last: float = Field(1.0, gt=0)  # ... and at the end
    certain_iterations: int = Field(30_000, ge=0)  # a ramp-up from the one to the other


class UaMt(MeanTeacher):
    r"""Mean teacher whose consistency counts the pixels with :math:`H(\bar t) < (.75 + .25 r(t)) \ln 2` alone.

    :math:`\bar t` is the mean of 8 passes of the teacher under noise.
    """

    name = "ua_mt"
    summary = "mean teacher that believes the teacher only where its passes under noise are sure"
    Config = UaMtConfig
    needs = frozenset({"mask", "labelled"})
    reference = Reference(
        title="Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation",
        venue="MICCAI 2019",
        url="https://arxiv.org/abs/1907.07034",
        status="baseline",
    )

    config: UaMtConfig

    def disagreement(self, student: Tensor, images: Tensor, step: int) -> Tensor:
        """Return half the mean over the sure pixels of the squared differences, summed over classes."""
        generator, mode = self.generator(step, images.device), self.config.teacher_mode
        target = self.teach(images + self.noise(images, generator), mode)
        mean = torch.zeros_like(target)
        for _ in range(self.config.passes):
            mean += self.teach(images + self.noise(images, generator), mode) / self.config.passes
        entropy = -(mean * (mean + SMOOTH).log()).sum(dim=1, keepdim=True)
        sure = (entropy < self.threshold(step)).to(target.dtype)
        return ((student - target).square() * sure).sum() / (2 * sure.sum() + EMPTY)

    def threshold(self, step: int) -> float:
        """Return the most entropy, in nats, that counts as sure at iteration ``step``."""
        first, last = self.config.certain_first, self.config.certain_last
        return (first + (last - first) * ramp_up(step, self.config.certain_iterations)) * math.log(2)
