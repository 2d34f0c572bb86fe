r"""Text enters an image encoder: at every scale each pixel attends to the tokens of a description.

The teacher of FGI ("From Gaze to Insight", IEEE TMI 2025, arXiv 2504.11368). For a map :math:`X_s` (B, C, h, w) and the
token embeddings E (B, T, D):

.. math::
    Q = \phi(X_s) + P_s, \quad K = \psi_k(E), \quad V = \psi_v(E), \qquad
    X'_s = X_s + \lambda_s \, \mathrm{LN}(W^O \, \mathrm{MultiHead}(Q, K, V))

with learnable positions :math:`P_s` and one learnable weight :math:`\lambda_s` a scale. The number of heads, the start
of lambda and its place, and the norm behind the attention are our choices where the paper is silent; so is that the
projections phi and psi are those of the heads, with no second set after them, which could express no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazeseg.errors import ConfigError, DataError
from gazeseg.nets.pixel_attention import attend

POSITION_STD = 0.02  # of the first positions, as for the tokens of a vision transformer

Form = Literal["gated", "projected"]


def valid_tokens(text: Tensor, length: Tensor | None = None) -> Tensor:
    """Return (B, T) True where a token is text: its row is not zero, and it lies within ``length`` if that is given.

    Args:
        text: (B, T, D) embeddings, zero rows for padding.
        length: (B,) number of tokens.
    """
    valid = (text != 0).any(dim=-1)
    if length is None:
        return valid
    return valid & (torch.arange(text.shape[1], device=text.device) < length[:, None])


class TextFusion(nn.Module):
    r"""The fusion at one scale.

    Args:
        width: Channels C of the map.
        text_dim: D of the tokens.
        heads: Heads of the attention; must divide ``width``.
        grid: Side of the stored positions; maps of another size get them resized bicubically.
        form: ``gated``: :math:`X + \lambda \, LN(A)`. ``projected``, the released code: :math:`X + g(LN(X + P + A))`
            with a 1x1 convolution and a batch norm g, and no lambda.
        lambda_init: Start of lambda; ``gated`` only.

    Raises:
        ConfigError: if ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, *, text_dim: int, heads: int, grid: int, form: Form, lambda_init: float) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                f"method.fusion.heads {heads} does not divide the {width} channels of an encoder stage; "
                "change the heads or network.features"
            )
        self.heads = heads
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Linear(text_dim, width)
        self.value = nn.Linear(text_dim, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.position = nn.Parameter(POSITION_STD * torch.randn(1, width, grid, grid))
        self.gate = nn.Parameter(torch.tensor(lambda_init)) if form == "gated" else None
        projection = (nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)) if form == "projected" else ()
        self.project = nn.Sequential(*projection)

    def forward(self, maps: Tensor, text: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse; an image without a valid token keeps its map bit for bit.

        Args:
            maps: (B, C, h, w).
            text: (B, T, D).
            valid: (B, T) bool, see :func:`valid_tokens`.

        Returns:
            The fused map, and the map that the student's features are compared with, both (B, C, h, w): the same in
            the ``gated`` form, the projection alone in the ``projected`` one.
        """
        described = valid.any(dim=1).view(-1, 1, 1, 1)
        position = self._position(maps)
        query = (self.query(maps) + position).flatten(2)
        mixed = attend(query, self.key(text), self.value(text), valid, self.heads)  # (B, C, N)
        tokens: Tensor = self.out(mixed.transpose(1, 2))  # (B, N, C)
        if self.gate is not None:
            added = self.gate * _to_map(self.norm(tokens), maps)
            fused = torch.where(described, maps + added, maps)
            return fused, fused
        tokens = self.norm(tokens + (maps + position).flatten(2).transpose(1, 2))
        projected = torch.where(described, self.project(_to_map(tokens, maps)), 0.0)
        return maps + projected, projected

    def attention(self, maps: Tensor, text: Tensor, valid: Tensor) -> Tensor:
        """Return how much each pixel looks at each token, mean over the heads: (B, T, h, w), zero where no text is."""
        count, tokens = valid.shape
        query = (self.query(maps) + self._position(maps)).reshape(count, self.heads, -1, maps[0, 0].numel())
        key = self.key(text).reshape(count, tokens, self.heads, -1).transpose(1, 2)  # (B, heads, T, d)
        seen = valid | ~valid.any(dim=1, keepdim=True)
        scores = (key.float() @ query.float()) / query.shape[2] ** 0.5
        weights = scores.masked_fill(~seen[:, None, :, None], -torch.inf).softmax(dim=2).mean(dim=1)  # (B, T, N)
        shown: Tensor = (weights * valid[..., None]).view(count, tokens, *maps.shape[-2:])
        return shown

    def _position(self, maps: Tensor) -> Tensor:
        """Return the positions at the size of ``maps``, (1, C, h, w)."""
        if self.position.shape[-2:] == maps.shape[-2:]:
            return self.position
        return F.interpolate(self.position, size=maps.shape[-2:], mode="bicubic", align_corners=False)


class MultiScaleFusion(nn.Module):
    """One :class:`TextFusion` for every encoder stage but the first, which has full resolution.

    Args:
        widths: Channels of the encoder's maps, finest first, the first included.
        text_dim: D of the tokens.
        heads: Heads of each attention.
        position_grid: Image side in pixels for which positions are stored; stage s has ``position_grid / 2^s``.
        form: See :class:`TextFusion`.
        lambda_init: Start of each lambda.
    """

    def __init__(
        self, widths: Sequence[int], *, text_dim: int, heads: int, position_grid: int, form: Form, lambda_init: float
    ) -> None:
        super().__init__()
        self.text_dim = text_dim
        self.scales = nn.ModuleList(
            TextFusion(
                width,
                text_dim=text_dim,
                heads=heads,
                grid=max(1, position_grid >> stage),
                form=form,
                lambda_init=lambda_init,
            )
            for stage, width in enumerate(widths[1:], start=1)
        )

    def forward(
        self, maps: Sequence[Tensor], text: Tensor, length: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Fuse the maps of an encoder, finest first; the first is passed on.

        Returns:
            The maps for the decoder, one more than there are scales; and one map a scale to compare a student with.

        Raises:
            DataError: if the tokens have another dimension than the layers.
        """
        valid = self._valid(text, length)
        pairs = [scale(x, text, valid) for scale, x in zip(self.scales, maps[1:], strict=True)]
        return [maps[0], *(fused for fused, _ in pairs)], [compared for _, compared in pairs]

    def attention(self, maps: Sequence[Tensor], text: Tensor, length: Tensor | None = None) -> list[Tensor]:
        """Return one (B, T, h, w) a scale, see :meth:`TextFusion.attention`."""
        valid = self._valid(text, length)
        fusions = (scale for scale in self.scales if isinstance(scale, TextFusion))
        return [scale.attention(x, text, valid) for scale, x in zip(fusions, maps[1:], strict=True)]

    def gates(self) -> list[Tensor]:
        """Return a copy of lambda at each scale; nothing in the ``projected`` form."""
        gates = [scale.gate for scale in self.scales if isinstance(scale, TextFusion)]
        return [gate.detach().clone() for gate in gates if gate is not None]

    def _valid(self, text: Tensor, length: Tensor | None) -> Tensor:
        if text.ndim != 3 or text.shape[-1] != self.text_dim:
            raise DataError(
                f"text embeddings have shape {tuple(text.shape)}, but this method was built for (B, T, "
                f"{self.text_dim}); set --method.text.dim {text.shape[-1]} and train anew, or encode with another model"
            )
        return valid_tokens(text, length)


def _to_map(tokens: Tensor, maps: Tensor) -> Tensor:
    """Turn (B, N, C) into the shape of ``maps`` (B, C, h, w)."""
    return tokens.transpose(1, 2).reshape(maps.shape)
