"""Perception heads: what a decoder looks at, at several scales, and features refined by it.

The Multi-scale Gaze Perception of our HG-DTGL-style reconstruction: from the abstract of arXiv 2604.10754 it is known
that a network's multi-scale perception is extracted; the heads, their widths and the gates are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.nets.base import SegmentationNet, crop


class PerceptionHead(nn.Module):
    r"""Map features (B, C, h, w) to a perception logit z (B, 1, h, w) and to :math:`F (1 + \gamma \sigma(z))`.

    The gate :math:`\gamma` is one number and starts at ``gamma``: 0 leaves the network as it was.

    Args:
        channels: C.
        hidden: Channels between the two convolutions.
        gamma: Start of the gate; None: no refinement, and no gate to learn.
    """

    def __init__(self, channels: int, *, hidden: int, gamma: float | None) -> None:
        super().__init__()
        self.perceive = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1, bias=False),  # the norm brings the bias
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 1, 1),
        )
        self.gamma = None if gamma is None else nn.Parameter(torch.tensor(float(gamma)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined features and the logit."""
        logit: Tensor = self.perceive(features)
        if self.gamma is None:
            return features, logit
        return features * (1 + self.gamma * torch.sigmoid(logit)), logit


class PerceivingNet(nn.Module):
    """A network with perception heads at its bottleneck and decoder stages, and one map that fuses theirs.

    Args:
        network: The network whose stages are looked at.
        hidden: Channels of a head.
        places: How many of the places get a head, deepest first: bottleneck, then decoder stages.
        gamma: See :class:`PerceptionHead`.
        seed: Seed of the initial weights; the global random state is left as it was.
    """

    def __init__(self, network: SegmentationNet, *, hidden: int, places: int, gamma: float | None, seed: int) -> None:
        super().__init__()
        self.network = network
        widths = (network.encoder_widths[-1], *network.decoder_widths)[:places]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.heads = nn.ModuleList(PerceptionHead(width, hidden=hidden, gamma=gamma) for width in widths)
            self.fuse = nn.Conv2d(len(widths), 1, 1)
        nn.init.constant_(self.fuse.weight, 1 / len(widths))
        nn.init.zeros_(self.fuse.bias)  # type: ignore[arg-type]  # the stub has it optional

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, 1, H, W) for two classes, else (B, K, H, W)."""
        logits, _, _ = self._decoded(images)
        return logits

    def perceive(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, and the perception logits (B, 1, h, w) deepest first, the fused one at full size last."""
        logits, found, frame = self._decoded(images)
        grown = [F.interpolate(logit, frame, mode="bilinear", align_corners=False) for logit in found]
        fused: Tensor = crop(self.fuse(torch.cat(grown, dim=1)), images.shape[-2:])
        return logits, [*found, fused]

    def _decoded(self, images: Tensor) -> tuple[Tensor, list[Tensor], list[int]]:
        """Return the logits, those of perception deepest first, and the sides (H, W) that the poolings need."""
        found: list[Tensor] = []

        def refine(stage: int, features: Tensor) -> Tensor:
            if stage + 1 >= len(self.heads):
                return features
            refined: Tensor
            refined, logit = self.heads[stage + 1](features)
            found.append(logit)
            return refined

        maps = self.network.encode(images)
        frame = [side * 2 ** (len(maps) - 1) for side in maps[-1].shape[-2:]]
        maps[-1] = refine(-1, maps[-1])
        logits: Tensor = self.network.head(self.network.decode(maps, images.shape[-2:], refine))
        return logits, found, frame
