"""One network on one gaze mask, the plainest use of gaze."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazeseg.config import Section
from gazeseg.losses import partial_cross_entropy, partial_dice_loss
from gazeseg.methods.base import Reference, Spec, StepOutput, required
from gazeseg.methods.single import SingleNetwork, require_level
from gazeseg.types import Batch


class GazeUNetConfig(Section):
    """Which pseudo-mask, and which loss."""

    level: int = Field(0, ge=0)  # index into pseudo.thresholds
    loss: Literal["bce", "bce_dice"] = "bce"  # the published baseline has no Dice term


class GazeUNet(SingleNetwork):
    """Cross-entropy on the gaze map cut at one threshold.

    With ``pseudo.source`` it is the baseline on the CRF map or on the plain heatmap.
    """

    name = "gaze_unet"
    summary = "learn from one gaze mask: cross-entropy, Dice on request"
    Config = GazeUNetConfig
    needs = frozenset({"pseudo"})
    reference = Reference(
        title="Weakly-supervised Medical Image Segmentation with Gaze Annotations (single-level baseline)",
        venue="MICCAI 2024",
        url="https://arxiv.org/abs/2407.07406",
        status="baseline",
    )

    config: GazeUNetConfig

    def __init__(self, config: GazeUNetConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        require_level(config.level, spec.levels)

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare the prediction with one level of ``batch.pseudo``."""
        target = required(batch, "pseudo")[:, self.config.level]
        logits = self.network(batch.image)
        losses = {"bce": partial_cross_entropy(logits, target)}
        if self.config.loss == "bce_dice":
            losses["dice"] = partial_dice_loss(logits, target)
        return StepOutput(losses)
