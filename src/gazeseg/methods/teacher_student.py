"""What the semi-supervised methods share: a student, its EMA teacher, and batches with and without labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gazeseg.config import Section
from gazeseg.errors import ConfigError
from gazeseg.losses import probabilities
from gazeseg.losses.regions import region_cross_entropy, region_dice
from gazeseg.methods.base import Method, Spec, required
from gazeseg.nets import SegmentationNet
from gazeseg.types import Batch


class TeacherStudent(Method):
    """A network that learns and its exponential moving average, which labels what has no mask.

    Prediction is the student's, as in the published protocol. Random numbers of a step depend on the seed and the step
    alone, so that a resumed run goes on as if never interrupted.
    """

    def __init__(self, config: Section, spec: Spec) -> None:
        super().__init__(config, spec)
        self.network = self.student(spec.build(), spec.seed)
        self.teacher = copy.deepcopy(self.network).requires_grad_(False)

    def student(self, network: SegmentationNet, seed: int) -> nn.Module:
        """Return what learns and what the teacher copies: maps images to logits; by default the plain network."""
        return network

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the student's probabilities (B, K, H, W)."""
        return probabilities(self.network(images), self.num_classes)

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Start student and teacher from the student of another run."""
        super().start_from(weights)
        self.copy_to_teacher()

    def copy_to_teacher(self) -> None:
        """Make the teacher the student's equal."""
        self.teacher.load_state_dict(self.network.state_dict())

    @torch.no_grad()
    def follow(self, decay: float, *, buffers: bool) -> None:
        r"""Move the teacher: :math:`\phi \leftarrow d \phi + (1 - d) \theta`.

        Args:
            decay: d.
            buffers: Treat floating buffers (running statistics) alike and copy integer ones; else leave buffers alone.
        """
        theirs_all: list[Tensor] = [*self.teacher.parameters(), *(self.teacher.buffers() if buffers else ())]
        ours_all: list[Tensor] = [*self.network.parameters(), *(self.network.buffers() if buffers else ())]
        moving, moved_to = [], []
        for theirs, ours in zip(theirs_all, ours_all, strict=True):
            if theirs.is_floating_point():
                moving.append(theirs)
                moved_to.append(ours)
            else:
                theirs.copy_(ours)
        torch._foreach_lerp_(moving, moved_to, 1 - decay)  # one call for some hundred small tensors

    def generator(self, step: int, device: torch.device) -> torch.Generator:
        """Return the source of random tensors of one step."""
        return torch.Generator(device).manual_seed(int(self.rng(step).integers(2**62)))

    def rng(self, step: int) -> np.random.Generator:
        """Return the source of random numbers of one step."""
        return np.random.default_rng([self.seed, step])

    def teach(self, images: Tensor, mode: Literal["train", "eval"]) -> Tensor:
        """Return the teacher's probabilities (B, K, H, W) without gradient."""
        was = self.teacher.training
        self.teacher.train(mode == "train")
        with torch.no_grad():
            values = probabilities(self.teacher(images), self.num_classes)
        self.teacher.train(was)
        return values


def parts(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the rows of the labelled and of the unlabelled cases of a batch."""
    count = len(batch.ids)
    if batch.labelled_first is not None:  # known without waiting for the device
        rows = torch.arange(count, device=batch.image.device)
        return rows[: batch.labelled_first], rows[batch.labelled_first :]
    flags = required(batch, "labelled")
    return flags.nonzero()[:, 0], (~flags).nonzero()[:, 0]


def both_parts(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the rows as :func:`parts`.

    Raises:
        ConfigError: if there is no labelled or no unlabelled case.
    """
    labelled, unlabelled = parts(batch)
    if not len(labelled) or not len(unlabelled):
        raise ConfigError(
            f"a batch of {len(batch.ids)} cases with {len(labelled)} labelled ones: this method compares labelled with "
            "unlabelled cases; set data.labelled_per_batch to half of train.batch_size"
        )
    return labelled, unlabelled


def supervised(logits: Tensor, mask: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Return the published .5 (CE + Dice) as two terms, over all pixels with a label."""
    dice = region_dice(probabilities(logits, num_classes), mask)
    return {"ce": 0.5 * region_cross_entropy(logits, mask), "dice": 0.5 * dice}
