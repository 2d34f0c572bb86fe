"""What methods share that learn and predict with one network."""

from __future__ import annotations

from pydantic import BaseModel
from torch import Tensor

from gazeseg.errors import ConfigError
from gazeseg.losses import probabilities
from gazeseg.methods.base import Method, Spec


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

    def __init__(self, config: BaseModel, spec: Spec) -> None:
        super().__init__(config, spec)
        self.network = spec.build()

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W)."""
        return probabilities(self.network(images), self.num_classes)
