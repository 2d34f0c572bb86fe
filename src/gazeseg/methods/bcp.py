"""BCP: paste labelled into unlabelled images and the other way round, and learn from the mixed labels.

Bai, Chen, Li, Shen, Li & Wang, "Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation", CVPR 2023,
arXiv 2305.00673; schedules and formulas of the released code, GitHub DeepMed-Lab-ECNU/BCP at 7879f98.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gazeseg.config import Section
from gazeseg.losses.regions import mixed_loss
from gazeseg.methods.base import Reference, StepOutput, required
from gazeseg.methods.teacher_student import TeacherStudent, both_parts, parts
from gazeseg.supervision.components import largest_components
from gazeseg.supervision.regions import Box, random_box
from gazeseg.types import Batch, UInt8Array


class BcpConfig(Section):
    """Defaults are the released ones."""

    pretrain_iterations: int = Field(0, ge=0)  # copy-paste among labelled cases first; published: 10,000, own run
    ema_decay: float = Field(0.99, ge=0, lt=1)
    pseudo_weight: float = Field(0.5, ge=0)  # of pixels that the teacher labelled
    teacher_mode: Literal["train", "eval"] = "train"  # released: dropout and batch statistics stay active
    largest_component: bool = True  # of each class of a pseudo-label
    masked_background_dice: bool = True  # false: as before October 2023, which the published numbers very likely used


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which cases are mixed: ``front`` (n,) is pasted into ``back`` (n,) where ``pasted`` (n, H, W) is True."""

    front: Tensor
    back: Tensor
    pasted: Tensor

    def mix(self, values: Tensor) -> Tensor:
        """Mix maps (B, ..., H, W) into (n, ..., H, W)."""
        where = self.pasted.reshape(len(self.pasted), *(1,) * (values.ndim - 3), *self.pasted.shape[1:])
        return torch.where(where, values[self.front], values[self.back])


class Bcp(TeacherStudent):
    r"""Learn from images that are half labelled, half pseudo-labelled by the EMA teacher.

    .. math:: L = \ell(x_l M + x_u (1 - M)) + \ell(x_u M + x_l (1 - M))

    with :math:`\ell = \frac12 [w_B (\mathrm{Dice} + \mathrm{CE})_{1 - M} + w_F (\mathrm{Dice} + \mathrm{CE})_M]`,
    weight 1 on true and .5 on pseudo-labels, each region over its own area, and M one box of two thirds of each side.
    Before that the student learns from labelled images pasted into each other. The published way are two runs: the
    first with ``pretrain_iterations`` as long as it lasts, the second with ``train.init_from`` and 0 of them.
    """

    name = "bcp"
    summary = "paste labelled and unlabelled images into each other; a teacher labels the rest"
    Config = BcpConfig
    needs = frozenset({"mask", "labelled"})
    reference = Reference(
        title="Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation",
        venue="CVPR 2023",
        url="https://arxiv.org/abs/2305.00673",
        status="baseline",
    )

    config: BcpConfig

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Learn from mixed images: of labelled cases in the first iterations, of both kinds after."""
        if step < self.config.pretrain_iterations:
            return self._pretrain(batch, step)
        labelled, unlabelled = both_parts(batch)
        mask = self._believed(batch, unlabelled)
        inward, outward = self._pairs(batch, labelled, unlabelled, self.rng(step))
        weight = self.config.pseudo_weight
        one = self._learn(batch, mask, inward, front=1.0, back=weight, passes=2)
        other = self._learn(batch, mask, outward, front=weight, back=1.0, passes=2)
        losses = {f"{name}_in": term for name, term in one.items()}
        losses |= {f"{name}_out": term for name, term in other.items()}
        return StepOutput(losses, {"pseudo_foreground": (mask[unlabelled] > 0).float().mean()})

    def after_step(self, step: int) -> None:
        """Move the teacher, running statistics included; at the end of the pre-training it becomes the student."""
        if step < self.config.pretrain_iterations:
            if step + 1 == self.config.pretrain_iterations:
                self.copy_to_teacher()
            return
        self.follow(self.config.ema_decay, buffers=True)

    def _pretrain(self, batch: Batch, step: int) -> StepOutput:
        labelled, _ = parts(batch)
        half = max(1, len(labelled) // 2)
        front, back = labelled[:half], labelled[-half:]
        pairs = Pairs(front, back, self._regions(batch, front, back, self.rng(step)))
        return StepOutput(self._learn(batch, required(batch, "mask"), pairs, front=1.0, back=1.0, passes=1))

    def _pairs(
        self, batch: Batch, labelled: Tensor, unlabelled: Tensor, rng: np.random.Generator
    ) -> tuple[Pairs, Pairs]:
        """Return labelled into unlabelled, and unlabelled into labelled; each uses one half of either kind."""
        half = max(1, min(len(labelled), len(unlabelled)) // 2)
        into = (labelled[:half], unlabelled[:half])
        out_of = (unlabelled[-half:], labelled[-half:])
        first = self._regions(batch, *into, rng)
        second = first if self._one_box else self._regions(batch, *out_of, rng)
        return Pairs(*into, first), Pairs(*out_of, second)

    @property
    def _one_box(self) -> bool:
        """Whether both sets of pairs are mixed by one box."""
        return True

    def _regions(self, batch: Batch, front: Tensor, back: Tensor, rng: np.random.Generator) -> Tensor:
        """Return where each of ``front`` (n,) is pasted into its ``back`` (n,): one box for all, (n, H, W) bool."""
        height, width = batch.image.shape[-2:]
        return boxes_to_masks([random_box((height, width), rng)] * len(front), (height, width), batch.image.device)

    def _believed(self, batch: Batch, unlabelled: Tensor) -> Tensor:
        """Return the labels (B, H, W): true ones where the case is labelled, the teacher's elsewhere."""
        label = most_probable(self.teach(batch.image[unlabelled], self.config.teacher_mode))
        host = self._pruned(label.cpu().numpy(), batch, unlabelled)
        if self.config.largest_component:
            host = largest_components(host, self.num_classes)
        label = torch.from_numpy(host).to(label.device).long()
        return required(batch, "mask").index_copy(0, unlabelled, label)

    def _pruned(self, label: UInt8Array, batch: Batch, unlabelled: Tensor) -> UInt8Array:
        """Return the teacher's labels (U, H, W) of the unlabelled cases, corrected by what else is known."""
        return label

    def _learn(
        self, batch: Batch, mask: Tensor, pairs: Pairs, *, front: float, back: float, passes: int
    ) -> dict[str, Tensor]:
        """Return the terms of one set of mixed images, in a forward pass of its own as in the released code.

        Args:
            batch: All cases.
            mask: (B, H, W) their labels.
            pairs: How they are mixed.
            front: Weight of what is pasted.
            back: Weight of what is pasted into.
            passes: How many such sets make up the step.
        """
        return {"seg": self._mixed_loss(self.network(pairs.mix(batch.image)), mask, pairs, front=front, back=back)}

    def _mixed_loss(self, logits: Tensor, mask: Tensor, pairs: Pairs, *, front: float, back: float) -> Tensor:
        return mixed_loss(
            logits,
            foreground=mask[pairs.front],
            background=mask[pairs.back],
            pasted=pairs.pasted,
            foreground_weight=front,
            background_weight=back,
            num_classes=self.num_classes,
            masked_background=self.config.masked_background_dice,
        )


def most_probable(values: Tensor) -> Tensor:
    """Return the class (B, H, W) uint8 of most of (B, K, H, W), the first of equals.

    What ``argmax`` gives, some times faster on a CPU, where that walks from class to class at every pixel.
    """
    best, label = values[:, 0], torch.zeros_like(values[:, 0], dtype=torch.uint8)
    for index in range(1, values.shape[1]):
        label = label.masked_fill_(values[:, index] > best, index)
        best = torch.maximum(best, values[:, index])
    return label


def boxes_to_masks(boxes: Sequence[Box], size: tuple[int, int], device: torch.device) -> Tensor:
    """Draw boxes as (n, H, W) bool."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool, device=device)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return masks
