"""One network on the sure pixels of the heatmap: much gaze is foreground, little is background, between is ignored."""

from __future__ import annotations

from pydantic import Field

from gazeseg.config import Section
from gazeseg.losses import partial_cross_entropy, partial_dice_loss
from gazeseg.methods.base import Reference, StepOutput, required
from gazeseg.methods.single import SingleNetwork
from gazeseg.types import Batch


class GazePartialConfig(Section):
    """Weights of the two loss terms."""

    ce_weight: float = Field(1.0, ge=0)  # alone, this is GNAN's first row
    dice_weight: float = Field(1.0, ge=0)  # ours: Dice on the same pixels counters the many background pixels


class GazePartial(SingleNetwork):
    """Partial cross-entropy + Dice on the ternary target; ``partial.tau_f`` and ``partial.tau_b`` draw it."""

    name = "gaze_partial"
    summary = "learn from the sure pixels of the heatmap: partial cross-entropy + Dice"
    Config = GazePartialConfig
    needs = frozenset({"weak"})
    reference = Reference(
        title="GNAN (partial cross-entropy row of its ablation, on the network of this run)",
        venue="MICCAI 2025",
        url="https://github.com/IPMI-NWU/GNAN",
        status="baseline",
    )

    config: GazePartialConfig

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare the prediction with the labelled pixels of ``batch.weak``."""
        target = required(batch, "weak")
        logits = self.network(batch.image)
        return StepOutput(
            {
                "ce": self.config.ce_weight * partial_cross_entropy(logits, target),
                "dice": self.config.dice_weight * partial_dice_loss(logits, target),
            }
        )
