"""Fully supervised segmentation, the bound that weak supervision is measured against."""

from __future__ import annotations

import torch
from pydantic import Field

from gazeseg.config import Section
from gazeseg.losses import partial_cross_entropy, partial_dice_loss
from gazeseg.methods.base import Reference, StepOutput, required
from gazeseg.methods.single import SingleNetwork
from gazeseg.types import IGNORE, Batch


class FullConfig(Section):
    """Weights of the two loss terms."""

    ce_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)  # equal weights: nnU-Net's choice


class Full(SingleNetwork):
    """Cross-entropy and Dice on ground-truth masks.

    Where only some training cases are labelled, the masks of the others are not looked at.
    """

    name = "full"
    summary = "learn from ground-truth masks: cross-entropy + Dice"
    Config = FullConfig
    needs = frozenset({"mask"})
    reference = Reference(
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        venue="MICCAI 2015",
        url="https://arxiv.org/abs/1505.04597",
        status="baseline",
    )

    config: FullConfig

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare the prediction with ``batch.mask``."""
        target = required(batch, "mask")
        if batch.labelled is not None:
            target = torch.where(batch.labelled[:, None, None], target, IGNORE)
        logits = self.network(batch.image)
        return StepOutput(
            {
                "ce": self.config.ce_weight * partial_cross_entropy(logits, target),
                "dice": self.config.dice_weight * partial_dice_loss(logits, target),
            }
        )
