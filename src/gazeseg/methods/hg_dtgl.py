"""HG-DTGL-style learning with gaze as a second teacher: a RECONSTRUCTION from the abstract; the formulas are ours.

Ge, Wang, Liu, Lu, Xia, Jiang, Xu, Zhu, Zhang, Liu, Chen, Li & He, "Human Gaze-based Dual Teacher Guidance Learning for
Semi-Supervised Medical Image Segmentation", Neural Networks 2025, arXiv 2604.10754. No code was published and the text
has not been checked. Known are a mean teacher, mixing guided by gaze (GazeMix), heads that expose the network's
perception at several scales (MGP) and a loss that aligns it with gaze; everything below is our reading on top of BCP,
so that each part can be judged as an increment over :mod:`gazeseg.methods.bcp`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from gazeseg.config import Section
from gazeseg.errors import ConfigError
from gazeseg.losses.gaze import Kind, gaze_loss
from gazeseg.methods.base import Layer, Reference, Spec, required
from gazeseg.methods.bcp import Bcp, BcpConfig, Pairs
from gazeseg.nets import SegmentationNet
from gazeseg.nets.gaze_perception import PerceivingNet
from gazeseg.supervision.components import touching
from gazeseg.supervision.regions import BoolArray, BoxRule, gaze_box, main_region, random_box
from gazeseg.types import Batch, Float32Array, UInt8Array

SIDE = 256  # px; lengths of GazeMix are for images of this side and scale with the shorter one
TINY = 1e-6  # spread of a perception map that is flat


class GazeMixConfig(Section):
    """Which region of an image is pasted; lengths in px of a side of 256."""

    enabled: bool = True  # false: BCP's random box, one for the whole batch
    tau: float = Field(0.2, gt=0, lt=1)  # of the map's maximum: looked at
    mass: float = Field(0.9, gt=0, le=1)  # share of that heat inside the box
    margin: int = Field(16, ge=0)
    smin: int = Field(64, ge=1)
    smax: int = Field(192, ge=1)
    jitter: int = Field(8, ge=0)
    region: Literal["union", "foreground", "background", "random"] = "union"  # whose gaze the box covers
    mask: Literal["box", "heatmap_threshold"] = "box"
    per_pair: bool = True  # a box for each pair; false: that of the first pair for all
    prune_pseudo: bool = False  # delete components of pseudo-labels that nobody looked at


class MgpConfig(Section):
    """The perception heads."""

    enabled: bool = True
    channels: int = Field(16, ge=1)
    places: int = Field(5, ge=1)  # bottleneck and decoder stages, deepest first
    refine: bool = True  # let perception gate the features; false: the loss alone acts
    gamma_init: float = 0.0  # 0: the plain network at the start


class HgDtglConfig(BcpConfig):
    """Every value beyond BCP's is our choice; the paper's are not known."""

    gazemix: GazeMixConfig = GazeMixConfig()
    mgp: MgpConfig = MgpConfig()
    gaze_loss: Kind = "kl_cc"
    lambda_g: float = Field(0.1, ge=0)


class HgDtgl(Bcp):
    r"""BCP whose boxes follow the gaze on both images of a pair, and whose decoder is pulled to look there.

    .. math:: L = L_{in} + L_{out} + \lambda_g L_{gaze}

    Gaze is an input of training alone: images without it take part as in BCP, and ``predict`` sees the image.
    Reconstruction: see the module.
    """

    name = "hg_dtgl"
    summary = "few masks, and gaze on all images as a second teacher (reconstruction from the abstract)"
    Config = HgDtglConfig
    needs = frozenset({"mask", "labelled", "gaze_map"})
    reference = Reference(
        title="Human Gaze-based Dual Teacher Guidance Learning for Semi-Supervised Medical Image Segmentation",
        venue="Neural Networks 2025",
        url="https://arxiv.org/abs/2604.10754",
        status="reconstruction",
    )

    config: HgDtglConfig

    def __init__(self, config: HgDtglConfig, spec: Spec) -> None:
        if config.gazemix.smin > config.gazemix.smax:
            raise ConfigError(f"method.gazemix.smin {config.gazemix.smin} is above smax {config.gazemix.smax}")
        super().__init__(config, spec)

    def student(self, network: SegmentationNet, seed: int) -> nn.Module:
        """Return the network with its perception heads."""
        config: HgDtglConfig = self.config
        if not config.mgp.enabled:
            return network
        gamma = config.mgp.gamma_init if config.mgp.refine else None
        return PerceivingNet(network, hidden=config.mgp.channels, places=config.mgp.places, gamma=gamma, seed=seed)

    def explain(self, batch: Batch) -> tuple[Layer, ...]:
        """Return the prediction and, with perception heads, what each looks at; beside it the gaze, if there is any."""
        layers = list(super().explain(batch))
        gaze = required(batch, "gaze_map")[0, 0]
        if gaze.any():
            layers.append(Layer("prediction", "gaze", gaze, "target"))
        if isinstance(self.network, PerceivingNet):
            _, maps = self.network.perceive(batch.image)
            names = ["bottleneck", *(f"stage {k}" for k in range(len(maps) - 2)), "fused"]
            for name, logit in zip(names, maps, strict=True):
                values = torch.sigmoid(logit[0, 0])
                values = (values - values.min()) / (values.max() - values.min()).clamp_min(TINY)
                layers.append(Layer("perception", name, values, "attention"))
        return tuple(layers)

    def _learn(
        self, batch: Batch, mask: Tensor, pairs: Pairs, *, front: float, back: float, passes: int
    ) -> dict[str, Tensor]:
        """Add the gaze loss on the mixed images; a mixed image counts where both of its sides were looked at."""
        weight = self.config.lambda_g / passes
        if not isinstance(self.network, PerceivingNet) or weight == 0:
            return super()._learn(batch, mask, pairs, front=front, back=back, passes=passes)
        gaze = required(batch, "gaze_map")
        seen = gaze.amax(dim=(1, 2, 3)) > 0
        logits, perception = self.network.perceive(pairs.mix(batch.image))
        aligned = gaze_loss(
            perception, pairs.mix(gaze), seen[pairs.front] & seen[pairs.back], kind=self.config.gaze_loss
        )
        segmented = self._mixed_loss(logits, mask, pairs, front=front, back=back)
        return {"seg": segmented, "gaze": weight * aligned}

    @property
    def _one_box(self) -> bool:
        return not self.config.gazemix.enabled

    def _regions(self, batch: Batch, front: Tensor, back: Tensor, rng: np.random.Generator) -> Tensor:
        """Return GazeMix's region of each pair, (n, H, W) bool."""
        mix, size = self.config.gazemix, (batch.image.shape[-2], batch.image.shape[-1])
        if not mix.enabled:
            return super()._regions(batch, front, back, rng)
        count = len(front) if mix.per_pair else 1
        sides = {"union": (front, back), "foreground": (front,), "background": (back,), "random": ()}[mix.region]
        maps = [required(batch, "gaze_map")[rows[:count], 0].float().cpu().numpy() for rows in sides]
        found = [self._region([heat[k] for heat in maps], size, rng) for k in range(count)]
        pasted = torch.from_numpy(np.stack(found)).to(batch.image.device)
        return pasted.expand(len(front), -1, -1) if count == 1 else pasted

    def _region(self, maps: list[Float32Array], size: tuple[int, int], rng: np.random.Generator) -> BoolArray:
        mix, scale = self.config.gazemix, min(size) / SIDE
        looked = [heat for heat in maps if heat.max() > 0]
        if looked and mix.mask == "heatmap_threshold":
            shape: BoolArray = np.any([main_region(heat, mix.tau, mix.mass) for heat in looked], axis=0)
            return shape
        margin, smallest, largest, jitter = (
            round(length * scale) for length in (mix.margin, mix.smin, mix.smax, mix.jitter)
        )
        rule = BoxRule(mix.tau, mix.mass, margin, max(1, smallest), max(1, largest), jitter)
        top, left, bottom, right = gaze_box(looked, rule, rng) if looked else random_box(size, rng)
        region = np.zeros(size, np.bool_)
        region[top:bottom, left:right] = True
        return region

    def _pruned(self, label: UInt8Array, batch: Batch, unlabelled: Tensor) -> UInt8Array:
        """Delete the components that lie apart from the gaze of their image, where it has any."""
        mix = self.config.gazemix
        if not mix.prune_pseudo:
            return label
        heats = required(batch, "gaze_map")[unlabelled, 0].float().cpu().numpy()
        return np.stack(
            [
                touching(one, main_region(heat, mix.tau, mix.mass)) if heat.max() > 0 else one
                for one, heat in zip(label, heats, strict=True)
            ]
        )
