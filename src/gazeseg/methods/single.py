"""What methods share that learn and predict with one network."""

from __future__ import annotations

from pydantic import BaseModel
from torch import Tensor

from gazeseg.config import NetworkConfig
from gazeseg.errors import ConfigError
from gazeseg.losses import probabilities
from gazeseg.methods.base import Method
from gazeseg.nets import build_network


def require_level(level: int, levels: int) -> None:
    """Refuse a ``method.level`` that is none of the pseudo-mask levels.

    Raises:
        ConfigError: if ``level`` is not below ``levels``.
    """
    if level >= levels:
        raise ConfigError(
            f"method.level is {level}, but there are {levels} levels (numbered from 0); "
            "lower it or add thresholds to pseudo.thresholds"
        )


class SingleNetwork(Method):
    """A method with the network of the run, ``self.network``, which is all that ``predict`` asks."""

    def __init__(
        self, config: BaseModel, *, network: NetworkConfig, in_channels: int, num_classes: int, levels: int, seed: int
    ) -> None:
        super().__init__(
            config, network=network, in_channels=in_channels, num_classes=num_classes, levels=levels, seed=seed
        )
        self.network = build_network(network, in_channels=in_channels, num_classes=num_classes, seed=seed)

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W)."""
        return probabilities(self.network(images), self.num_classes)
