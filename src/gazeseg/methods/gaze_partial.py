"""One network on the sure pixels of the heatmap: much gaze is foreground, little is background, between is ignored."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from gazeseg.config import NetworkConfig, Section
from gazeseg.losses import partial_cross_entropy, partial_dice_loss, probabilities
from gazeseg.methods.base import Method, Reference, StepOutput, required
from gazeseg.nets import build_network
from gazeseg.types import Batch


class GazePartialConfig(Section):
    """Weights of the two loss terms."""

    ce_weight: float = Field(1.0, ge=0)  # alone, this is GNAN's first row
    dice_weight: float = Field(1.0, ge=0)  # ours: Dice on the same pixels counters the many background pixels


class GazePartial(Method):
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

    def __init__(
        self,
        config: GazePartialConfig,
        *,
        network: NetworkConfig,
        in_channels: int,
        num_classes: int,
        levels: int,
        seed: int,
    ) -> None:
        super().__init__(
            config, network=network, in_channels=in_channels, num_classes=num_classes, levels=levels, seed=seed
        )
        self.network = build_network(network, in_channels=in_channels, num_classes=num_classes, seed=seed)

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

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W)."""
        return probabilities(self.network(images), self.num_classes)
