"""The protocol that every method follows. A new method is one file in this folder and one in ``tests/methods``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel
from torch import Tensor, nn

from gazeseg.config import NetworkConfig, Section, SoftSource
from gazeseg.errors import DataError
from gazeseg.nets import SegmentationNet, build_network
from gazeseg.types import Batch


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a method comes from; ``status`` says how far to trust the implementation."""

    title: str
    venue: str
    url: str
    status: Literal["paper", "reconstruction", "baseline", "ours"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a run asks a method to build.

    Attributes:
        network: Which network to learn.
        in_channels: Channels of the image, 1 or 3.
        num_classes: Classes including background, at least 2.
        levels: Number of nested pseudo-mask levels in ``Batch.pseudo``.
        seed: Seed of the initial weights.
    """

    network: NetworkConfig
    in_channels: int
    num_classes: int
    levels: int
    seed: int

    def build(self, number: int = 0) -> SegmentationNet:
        """Return the network with initial weights; those of ``number`` 0, 1, .. differ."""
        return build_network(
            self.network, in_channels=self.in_channels, num_classes=self.num_classes, seed=self.seed + number
        )


@dataclass(frozen=True, slots=True)
class StepOutput:
    """Weighted loss terms, which the trainer sums, and raw values for the log only."""

    losses: dict[str, Tensor]
    logs: dict[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """One map of an explanation, drawn over the image.

    Attributes:
        row: Line of the figure in which it stands; layers of one row follow each other.
        title: Short text above the panel.
        values: (h, w) of any size, stretched to the image; on any device. A probability, attention, target or mask lies
            in 0..1, a difference in -1..1; a mask holds 0 and 1.
        kind: How to draw it.
    """

    row: str
    title: str
    values: Tensor
    kind: Literal["probability", "attention", "target", "difference", "mask"]


def required(batch: Batch, name: str) -> Tensor:
    """Return a field of the batch that a method cannot do without.

    Raises:
        DataError: if the field is absent.
    """
    value = getattr(batch, name)
    if not isinstance(value, Tensor):
        raise DataError(f"the batch has no '{name}'; a method gets the fields that its `needs` names")
    return value


class Method(nn.Module):
    """A way of learning a segmentation network from a :class:`~gazeseg.types.Batch`.

    Gaze and text are training-time privileges: ``predict`` takes images only. Only the trainer calls ``backward``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[BaseModel]] = Section  # its fields are the keys under ``method:``
    needs: ClassVar[frozenset[str]]  # Batch fields beyond ids and image; the trainer loads nothing else
    source: ClassVar[SoftSource | None] = None  # the only ``pseudo.source`` that it learns from; None: any
    reference: ClassVar[Reference]

    config: BaseModel  # resolved: no key left to a profile
    text_dim: int | None = None  # numbers a token of ``Batch.text`` for which the method was built; None: any

    def __init__(self, config: BaseModel, spec: Spec) -> None:
        """Build the networks.

        Args:
            config: An instance of this class's ``Config``.
            spec: What the run asks for.

        Raises:
            ConfigError: if the method cannot do that.
        """
        super().__init__()
        self.config = config
        self.num_classes = spec.num_classes
        self.seed = spec.seed

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Return the loss terms of one batch at iteration ``step`` (from 0)."""
        raise NotImplementedError  # the protocol itself: every method overrides it

    def after_step(self, step: int) -> None:
        """Run after each optimiser step, e.g. for an EMA teacher; nothing by default."""

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with the weights of another run of this method and network, its ``state_dict``.

        Raises:
            RuntimeError: if they do not fit.
        """
        self.load_state_dict(weights)

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W) that sum to 1 over the K classes."""
        raise NotImplementedError  # the protocol itself: every method overrides it

    def predict_members(self, images: Tensor) -> Tensor:
        """Map images to the probabilities of each opinion within the method, (M, B, K, H, W).

        Where they differ, the method doubts. By default one, that of ``predict``.
        """
        return self.predict(images)[None]

    def explain(self, batch: Batch) -> tuple[Layer, ...]:
        """Return what there is to see of one case, a batch of one with every field that the method ``needs``.

        Called in evaluation mode without gradients. By default the foreground of ``predict``.
        """
        foreground = 1 - self.predict(batch.image)[0, 0]
        return (Layer("prediction", "probability", foreground, "probability"),)
