"""GazeMedSeg: one network for each of several nested gaze masks, held together by cross-level consistency.

Zhong et al., "Weakly-supervised Medical Image Segmentation with Gaze Annotations", MICCAI 2024, arXiv 2407.07406; code
GitHub med-air/GazeMedSeg at 12d0259. The paper and the released code differ: ``profile`` chooses, and each difference
is a key of its own.
"""

from __future__ import annotations

import copy
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from gazeseg.config import Section
from gazeseg.errors import ConfigError
from gazeseg.losses import (
    Neighbourhood,
    cross_level_consistency,
    partial_cross_entropy,
    probabilities,
    propagate_logits,
)
from gazeseg.methods.base import Method, Reference, Spec, StepOutput, required
from gazeseg.nets import SegmentationNet
from gazeseg.types import Batch


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("the window needs a centre, so its side must be odd")
    return value


class PropagationConfig(Section):
    """Local pixel propagation; ``None`` takes the value of the profile."""

    similarity: Literal["cosine", "dot"] | None = None  # paper: cosine, its Eq. 1; released: the raw dot product
    pad: Literal["exclude", "zero"] | None = None  # paper: exclude (our choice); released: zero vectors take part
    kernel: Annotated[int, AfterValidator(_odd)] = Field(5, ge=1)  # released; the paper's figure draws 3
    dilation: int = Field(2, ge=1)  # released; the paper's figure draws 1
    temperature: float = Field(1.0, gt=0)


class GazeMedSegConfig(Section):
    """``None`` takes the value of the profile."""

    profile: Literal["paper", "released"] = "paper"
    init: Literal["independent", "deepcopy"] | None = None  # paper: independent; released: all levels start as one copy
    lpp: PropagationConfig = PropagationConfig()
    consistency: Literal["prop", "pure"] = "prop"  # compare the propagated predictions, or the plain ones
    consistency_weight: float = Field(3.0, ge=0)
    inference: Literal["mean_logit", "mean_prob"] = "mean_logit"  # mean_prob survives one collapsed level; ours

    def resolved(self) -> GazeMedSegConfig:
        """Return a copy in which the profile has filled every open key."""
        paper = self.profile == "paper"
        lpp = self.lpp.model_copy(
            update={
                "similarity": self.lpp.similarity or ("cosine" if paper else "dot"),
                "pad": self.lpp.pad or ("exclude" if paper else "zero"),
            }
        )
        return self.model_copy(update={"init": self.init or ("independent" if paper else "deepcopy"), "lpp": lpp})


class GazeMedSeg(Method):
    r"""Learn from m nested pseudo-masks :math:`y_i` with m networks that see the same image.

    .. math:: L = \sum_i \mathrm{CE}(z_i, y_i) + 3 \sum_i L^{\mathrm{cons}}_i

    where :math:`L^{\mathrm{cons}}_i \in [-1, 0]` rewards agreement of network i, after local pixel propagation of its
    features, with the fixed predictions of its peers. The total is therefore negative in a healthy run, down to -3 m;
    the log holds both terms apart. Prediction averages the logits, without propagation.
    """

    name = "gazemedseg"
    summary = "learn from nested gaze masks, one network a level, with cross-level consistency"
    Config = GazeMedSegConfig
    needs = frozenset({"pseudo"})
    reference = Reference(
        title="Weakly-supervised Medical Image Segmentation with Gaze Annotations",
        venue="MICCAI 2024",
        url="https://arxiv.org/abs/2407.07406",
        status="paper",
    )

    config: GazeMedSegConfig

    def __init__(self, config: GazeMedSegConfig, spec: Spec) -> None:
        config = config.resolved()
        super().__init__(config, spec)
        if spec.levels < 1:
            raise ConfigError(f"gazemedseg needs at least one level, got {spec.levels}; set pseudo.thresholds")
        first = spec.build()
        if config.consistency == "prop" and first.head.kernel_size != (1, 1):
            raise ConfigError(
                f"gazemedseg propagates logits, which needs a pointwise classifier, and that of {first.name} is not; "
                "choose another network.name or set method.consistency to pure"
            )
        others = [
            copy.deepcopy(first) if config.init == "deepcopy" else spec.build(level) for level in range(1, spec.levels)
        ]
        self.networks = nn.ModuleList([first, *others])
        self.around = Neighbourhood(
            similarity=config.lpp.similarity or "cosine",
            pad=config.lpp.pad or "exclude",
            kernel=config.lpp.kernel,
            dilation=config.lpp.dilation,
            temperature=config.lpp.temperature,
        )

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare each level's prediction with its pseudo-mask and with its peers.

        Raises:
            ConfigError: if the batch has another number of levels than there are networks.
        """
        target = required(batch, "pseudo")  # (B, L, H, W)
        if target.shape[1] != len(self.networks):
            raise ConfigError(f"the batch has {target.shape[1]} pseudo-mask levels, but {len(self.networks)} networks")
        features = [network.features(batch.image) for network in self._levels()]
        logits = [network.head(maps) for network, maps in zip(self._levels(), features, strict=True)]
        seg = torch.stack([partial_cross_entropy(level, target[:, i]) for i, level in enumerate(logits)])
        losses = {"seg": seg.sum()}
        logs = {f"seg/{i}": value for i, value in enumerate(seg.detach())}
        if len(logits) > 1 and self.config.consistency_weight > 0:
            propagated = None
            if self.config.consistency == "prop":
                propagated = [
                    propagate_logits(maps, network.head.weight, network.head.bias, self.around)
                    for network, maps in zip(self._levels(), features, strict=True)
                ]
            agreement = cross_level_consistency(logits, self.num_classes, propagated=propagated)
            losses["consistency"] = self.config.consistency_weight * agreement.sum()
            logs |= {f"consistency/{i}": value for i, value in enumerate(agreement.detach())}
        return StepOutput(losses, logs)

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W), the levels averaged as ``inference`` says."""
        logits = torch.stack([network(images) for network in self._levels()])
        if self.config.inference == "mean_logit":
            return probabilities(logits.mean(dim=0), self.num_classes)
        return torch.stack([probabilities(level, self.num_classes) for level in logits]).mean(dim=0)

    def predict_levels(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the probabilities of each level, (L, B, K, H, W)."""
        return torch.stack([probabilities(network(images), self.num_classes) for network in self._levels()])

    def predict_members(self, images: Tensor) -> Tensor:
        """Map images to the probabilities of the levels, (L, B, K, H, W)."""
        return self.predict_levels(images)

    def _levels(self) -> list[SegmentationNet]:
        return [network for network in self.networks if isinstance(network, SegmentationNet)]
