"""Gaze-prompted masks and a student that does not copy their faults.

Ours. The target is the probability that ``gazeseg masks --refine prompt`` wrote (``pseudo.source`` takes another soft
map), ignored where it is neither sure foreground nor sure background. Against what is wrong in it: an average of the
student's own past (mean teacher, Tarvainen and Valpola, NeurIPS 2017), which it follows under strong augmentation and
which may doubt a pixel of the target; the quality of the case, known without any truth; and gaze itself. Each
ingredient is one key, 0 turns it off.
"""

from __future__ import annotations

import copy
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from gazeseg.config import Section
from gazeseg.errors import ConfigError
from gazeseg.losses import confident_consistency, probabilities, ramp_up
from gazeseg.losses.soft import missing_dwell, soft_cross_entropy, soft_target_dice
from gazeseg.methods.base import Layer, Method, Reference, Spec, StepOutput, required
from gazeseg.types import IGNORE, Batch

VIEWS = 2  # stream of random numbers below the run's seed; the loader has 0 and 1
LARGEST_HOLE = 0.4  # of each side, at strength 1


def _scales(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or not all(0.25 <= value <= 2 for value in values):
        raise ValueError("scales must be one or more numbers from 0.25 to 2")
    return values


class GazePromptConfig(Section):
    """Every ingredient is one key."""

    ce_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)
    tau_f: float = Field(0.7, gt=0, lt=1)  # foreground from here; the band down to tau_b is ignored
    tau_b: float = Field(0.3, gt=0, lt=1)
    target: Literal["soft", "hard"] = "soft"  # the probability itself, or the class of its side
    quality_power: float = Field(1.0, ge=0)  # a case weighs its quality to this power; 0: all weigh the same
    ema_decay: float = Field(0.99, ge=0, lt=1)  # of the teacher; 0: it is the student as it stands
    consistency_weight: float = Field(0.5, ge=0)  # of following the teacher where both are confident
    strong: float = Field(0.5, ge=0, le=1)  # strength of the recolouring and the hole in the student's view
    distrust: float = Field(0.5, ge=0, le=1)  # weight that a pixel loses where the teacher contradicts its target
    gaze_weight: float = Field(0.1, ge=0)  # of holding the dwell time
    gaze_share: float = Field(0.7, gt=0, le=1)  # that must be held
    scales: Annotated[tuple[float, ...], AfterValidator(_scales)] = (1.0,)  # of the input; one is drawn a step
    ramp_iterations: int = Field(500, ge=0)  # until the teacher's word has full weight
    inference: Literal["teacher", "student"] = "teacher"


class GazePrompt(Method):
    r"""Learn a network from soft masks, an average of its own past, and gaze.

    .. math:: L = \sum_b q_b \, (\mathrm{CE}_b + \mathrm{Dice}_b) + r(t) \, \lambda_c L_{cons} + \lambda_g L_{gaze}

    over pixels of weight :math:`1 - r(t) \, \delta \, |t - y|`, with y the target, t the teacher, :math:`\delta` the
    distrust, r a ramp and q the quality of a case over its mean in the batch. Training alone sees gaze; ``predict``
    takes images.
    """

    name = "gaze_prompt"
    summary = "learn from gaze-prompted soft masks, a mean teacher and the dwell time"
    Config = GazePromptConfig
    needs = frozenset({"pseudo", "soft", "quality", "gaze_map"})  # pseudo: 255 where there is nothing to learn from
    reference = Reference(
        title="Gaze-prompted masks with a mean-teacher student",
        venue="gazeseg",
        url="https://arxiv.org/abs/2304.12306",  # MedSAM, which draws the masks
        status="ours",
    )

    config: GazePromptConfig

    def __init__(self, config: GazePromptConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.num_classes != 2:
            raise ConfigError(
                f"gaze_prompt: gaze says where, not which of {spec.num_classes - 1} classes; use two classes"
            )
        if not config.tau_b < config.tau_f:
            raise ConfigError(f"method.tau_b {config.tau_b:g} must be below method.tau_f {config.tau_f:g}")
        self.student = spec.build()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> GazePrompt:
        """Switch the student; the teacher is never trained, so its batch statistics stay those that it was given."""
        super().train(mode)
        self.teacher.eval()
        return self

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare a strongly augmented view with the target, with the teacher's view and with gaze."""
        config, ramp = self.config, ramp_up(step, self.config.ramp_iterations)
        images, known, soft, gaze = self._scaled(batch, step)
        with torch.no_grad():
            believed = probabilities(self.teacher(images), self.num_classes)
        logits = self.student(self._strong_view(images, step))
        target, weight = self._target(known, soft, believed[:, 1], ramp)
        importance = self._importance(required(batch, "quality"))
        own = logits[:, 0]
        losses = {
            "ce": config.ce_weight * (importance * soft_cross_entropy(own, target, weight)).mean(),
            "dice": config.dice_weight * (importance * soft_target_dice(own, target, weight)).mean(),
        }
        logs = {"weight": weight.mean(), "importance/min": importance.min()}
        if config.consistency_weight > 0:
            loss, logs["confident"] = confident_consistency(logits, believed, both=False)
            losses["consistency"] = ramp * config.consistency_weight * loss
        if config.gaze_weight > 0:
            missing = missing_dwell(own.float().sigmoid(), gaze, config.gaze_share)
            losses["gaze"] = config.gaze_weight * missing.mean()
        return StepOutput(losses, logs)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Let the teacher follow the student, fast at first: a mean over its first steps, then an EMA."""
        decay = min(self.config.ema_decay, (step + 1) / (step + 10))
        decay = decay if self.config.ema_decay > 0 else 0.0
        for weight, learnt in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            weight.lerp_(learnt, 1 - decay)
        for own, other in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            own.copy_(other)

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, 2, H, W) of the teacher, or the student."""
        network = self.teacher if self.config.inference == "teacher" else self.student
        return probabilities(network(images), self.num_classes)

    def explain(self, batch: Batch) -> tuple[Layer, ...]:
        """Return both predictions, the target, where it is ignored and where the teacher contradicts it."""
        teacher = probabilities(self.teacher(batch.image), self.num_classes)[:, 1]
        student = probabilities(self.student(batch.image), self.num_classes)[:, 1]
        known, soft = required(batch, "pseudo")[:, 0] != IGNORE, required(batch, "soft")[:, 0]
        target, weight = self._target(known, soft, teacher, 1.0)
        return (
            Layer("networks", "teacher", teacher[0], "probability"),
            Layer("networks", "student", student[0], "probability"),
            Layer("networks", "teacher - student", (teacher - student)[0], "difference"),
            Layer("supervision", "soft target", target[0], "target"),
            Layer("supervision", "ignored", (weight[0] == 0).float(), "mask"),
            Layer("supervision", "weight of a pixel", weight[0], "attention"),
        )

    def _scaled(self, batch: Batch, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image (B, C, h, w), known pixels, soft map and heatmap (B, h, w), at a scale drawn for this step."""
        images, known = batch.image, required(batch, "pseudo")[:, 0] != IGNORE
        maps = torch.cat([required(batch, "soft"), required(batch, "gaze_map")], dim=1)
        scales = self.config.scales
        generator = torch.Generator().manual_seed(self._draw(step, 0))
        scale = scales[int(torch.randint(len(scales), (1,), generator=generator))]
        if scale != 1:
            size = [max(16, round(side * scale)) for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
            maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
            known = F.interpolate(known[:, None].float(), size, mode="nearest")[:, 0] > 0
        return images, known, maps[:, 0], maps[:, 1]

    def _strong_view(self, images: Tensor, step: int) -> Tensor:
        """Change gain and offset of each channel and punch a hole of the channel's mean; nothing moves."""
        strength = self.config.strong
        if strength == 0:
            return images
        count, channels, height, width = images.shape
        generator = torch.Generator().manual_seed(self._draw(step, 1))  # on the CPU: the same views on any device
        draws = torch.rand(count, 2, channels, 1, 1, generator=generator).to(images.device) - 0.5
        view = images * (1 + strength * draws[:, 0]) + strength * draws[:, 1]
        sides = (torch.rand(count, 4, generator=generator) * torch.tensor([1, 1, strength, strength])).tolist()
        means = images.mean(dim=(2, 3), keepdim=True)
        for image, mean, (top, left, tall, broad) in zip(view, means, sides, strict=True):
            h, w = int(LARGEST_HOLE * tall * height), int(LARGEST_HOLE * broad * width)
            y, x = int(top * (height - h)), int(left * (width - w))
            image[:, y : y + h, x : x + w] = mean
        return view

    def _target(self, known: Tensor, soft: Tensor, believed: Tensor, ramp: float) -> tuple[Tensor, Tensor]:
        """Return the target and the weight of each pixel, both (B, H, W); 0 where it is unknown or unsure."""
        foreground = soft >= self.config.tau_f
        sure = known & (foreground | (soft <= self.config.tau_b))
        hard = foreground.to(soft.dtype)
        target = hard if self.config.target == "hard" else soft
        doubt = ramp * self.config.distrust * (believed - hard).abs()
        return target, torch.where(sure, 1 - doubt, 0.0)

    def _importance(self, quality: Tensor) -> Tensor:
        """Return (B,) weights of the cases, mean 1."""
        raised = quality.clamp(min=0) ** self.config.quality_power
        return raised / raised.mean().clamp(min=1e-6)

    def _draw(self, step: int, stream: int) -> int:
        """Return a seed of its own for a step and a stream."""
        return (self.seed * 1_000_003 + step) * 8 + VIEWS + stream
