"""Track attention: each decoder stage predicts where the reader would look, and leans towards it.

A reconstruction of the module of GradTrack (Wang et al., MICCAI 2025, arXiv 2505.22230), not checked against the paper:
its place at the decoder stages and the flow from deep to fine are stated or inferred, its form is our choice. The
attention is predicted from the features; gaze is only its target in training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.nets.base import Refine

GROUPS = 4
MIN_WIDTH = 8  # hidden channels of the thinnest stage


class TrackAttention(nn.Module):
    """One stage: features f and the attention logit of the stage below give an attention logit a and f (1 + sigmoid a).

    The gate lies between 1 and 2, so that it cannot erase features.

    Args:
        channels: Channels of f.
        reduction: The hidden convolution has max(8, channels / reduction) of them, rounded up to a multiple of 4.
        bias: Attention logit at the start of training, everywhere.
    """

    def __init__(self, channels: int, *, reduction: int, bias: float) -> None:
        super().__init__()
        hidden = max(MIN_WIDTH, GROUPS * -(-channels // (reduction * GROUPS)))
        self.mix = nn.Sequential(
            nn.Conv2d(channels + 1, hidden, 3, padding=1, bias=False),  # the norm brings the bias
            nn.GroupNorm(GROUPS, hidden),
            nn.LeakyReLU(0.1, inplace=True),
        )
        self.attend = nn.Conv2d(hidden, 1, 1)
        nn.init.zeros_(self.attend.weight)
        nn.init.constant_(self.attend.bias, bias)  # type: ignore[arg-type]  # the stub has it optional

    def forward(self, features: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map features (B, C, h, w) and the deeper stage's logit (B, 1, h', w') to refined features and a logit."""
        if below is None:
            prior = torch.zeros_like(features[:, :1])
        else:
            prior = F.interpolate(torch.sigmoid(below), features.shape[-2:], mode="bilinear", align_corners=False)
        attention: Tensor = self.attend(self.mix(torch.cat([features, prior], dim=1)))
        return features * (1 + torch.sigmoid(attention)), attention


class AttentionLadder(nn.Module):
    """Track attention at some stages of a decoder, each fed by the one below it.

    Args:
        widths: Channels after each decoder stage, deepest first.
        stages: Where attention sits, rising.
        reduction: As in :class:`TrackAttention`.
        bias: As in :class:`TrackAttention`.
        seed: Seed of the initial weights; the global random state is left as it was.
    """

    def __init__(
        self, widths: tuple[int, ...], stages: tuple[int, ...], *, reduction: int, bias: float, seed: int
    ) -> None:
        super().__init__()
        self.stages = stages
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.attention = nn.ModuleList(
                TrackAttention(widths[stage], reduction=reduction, bias=bias) for stage in stages
            )

    def refine(self, into: list[Tensor]) -> Refine:
        """Return the callback of ``SegmentationNet.decode`` for one pass; it appends each stage's logit to ``into``."""

        def callback(stage: int, features: Tensor) -> Tensor:
            if stage not in self.stages:
                return features
            refined: Tensor
            refined, attention = self.attention[self.stages.index(stage)](features, into[-1] if into else None)
            into.append(attention)
            return refined

        return callback
