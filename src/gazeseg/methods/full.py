"""Fully supervised segmentation, the bound that weak supervision is measured against."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gazeseg.config import NetworkConfig, Section
from gazeseg.losses import partial_cross_entropy, partial_dice_loss, probabilities
from gazeseg.methods.base import Method, Reference, StepOutput, required
from gazeseg.nets import build_network
from gazeseg.types import IGNORE, Batch


class FullConfig(Section):
    """Weights of the two loss terms."""

    ce_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)  # equal weights: nnU-Net's choice


class Full(Method):
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

    def __init__(
        self, config: FullConfig, *, network: NetworkConfig, in_channels: int, num_classes: int, levels: int, seed: int
    ) -> None:
        super().__init__(
            config, network=network, in_channels=in_channels, num_classes=num_classes, levels=levels, seed=seed
        )
        self.network = build_network(network, in_channels=in_channels, num_classes=num_classes, seed=seed)

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

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W)."""
        return probabilities(self.network(images), self.num_classes)
