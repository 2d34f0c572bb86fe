"""Mean teacher on few labelled cases: the predictions of student and teacher on unlabelled images must agree.

Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780, as SSL4MIS trains it on
ACDC (GitHub HiLab-git/SSL4MIS at 06df604).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gazeseg.config import Section
from gazeseg.losses import probabilities
from gazeseg.losses.confident import ramp_up
from gazeseg.methods.base import Reference, StepOutput, required
from gazeseg.methods.teacher_student import TeacherStudent, both_parts, supervised
from gazeseg.types import Batch


class MeanTeacherConfig(Section):
    """Defaults are SSL4MIS's for 30,000 iterations."""

    ema_decay: float = Field(0.99, ge=0, lt=1)  # reached by a warm-up: min(1 - 1 / (t + 1), .99)
    consistency: float = Field(0.1, ge=0)  # weight at the end of the ramp
    ramp_iterations: int = Field(30_000, ge=0)
    ramp_every: int = Field(150, ge=1)  # the ramp rises in steps of so many iterations
    start: int = Field(1000, ge=0)  # no consistency before it
    noise: float = Field(0.1, ge=0)  # sd of the noise on the teacher's images
    noise_clip: float = Field(0.2, gt=0)
    teacher_mode: Literal["train", "eval"] = "train"  # released: dropout and batch statistics stay active


def consistency_weight(step: int, config: MeanTeacherConfig) -> float:
    """Return the weight of the consistency at iteration ``step`` (from 0).

    Examples:
        >>> [round(consistency_weight(step, MeanTeacherConfig()), 4) for step in (999, 1000, 15_000, 30_000)]
        [0.0, 0.0009, 0.0287, 0.1]
    """
    if step < config.start:
        return 0.0
    return config.consistency * ramp_up(step // config.ramp_every * config.ramp_every, config.ramp_iterations)


def warm_decay(step: int, decay: float) -> float:
    """Return min(1 - 1 / (t + 1), decay): the teacher follows fast while the student still learns the basics."""
    return min(1 - 1 / (step + 1), decay)


class MeanTeacher(TeacherStudent):
    r"""Learn from masks where there are any, and from agreement with the EMA teacher everywhere else.

    .. math:: L = \tfrac12 (\mathrm{CE} + \mathrm{Dice}) + w(t) \, \lVert s(x_u) - t(x_u + n) \rVert^2

    with the softmax outputs s and t, noise n and :math:`w(t) = .1 \exp(-5 (1 - t/T)^2)`, 0 before iteration 1000.
    """

    name = "mean_teacher"
    summary = "learn from few masks, and agree with an averaged teacher on the images without"
    Config = MeanTeacherConfig
    needs = frozenset({"mask", "labelled"})
    reference = Reference(
        title="Mean teachers are better role models",
        venue="NeurIPS 2017",
        url="https://arxiv.org/abs/1703.01780",
        status="baseline",
    )

    config: MeanTeacherConfig

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare the student with the masks of the labelled cases, and with the teacher on the others."""
        labelled, unlabelled = both_parts(batch)
        logits = self.network(batch.image)
        losses = supervised(logits[labelled], required(batch, "mask")[labelled], self.num_classes)
        weight = consistency_weight(step, self.config)
        if weight > 0:
            student = probabilities(logits[unlabelled], self.num_classes)
            losses["consistency"] = weight * self.disagreement(student, batch.image[unlabelled], step)
        return StepOutput(losses, {"consistency_weight": torch.tensor(weight)})

    def after_step(self, step: int) -> None:
        """Move the teacher's parameters; its running statistics are its own."""
        self.follow(warm_decay(step, self.config.ema_decay), buffers=False)

    def disagreement(self, student: Tensor, images: Tensor, step: int) -> Tensor:
        """Return the mean squared difference of the student's probabilities to the teacher's on noisy images."""
        noise = self.noise(images, self.generator(step, images.device))
        return (student - self.teach(images + noise, self.config.teacher_mode)).square().mean()

    def noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw clipped Gaussian noise of the shape of the images."""
        drawn = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return (self.config.noise * drawn).clamp_(-self.config.noise_clip, self.config.noise_clip)
