"""GradTrack-style supervision of a decoder by gaze tracks: a RECONSTRUCTION, not checked against the paper.

Wang, Ye, Chen and Xia, "Enjoying Information Dividend: Gaze Track-based Medical Weakly Supervised Segmentation", MICCAI
2025, LNCS 15969, pp. 202-212, arXiv 2505.22230. No code was published. Known are the inputs (fixation points, durations
and temporal order), the two parts (gaze track maps, track attention) and that maps of reverse-truncated tracks
supervise the decoder's stages; the formulas, widths and weights are our choices, each a key with a default.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from gazeseg.config import Section
from gazeseg.errors import ConfigError
from gazeseg.losses import partial_cross_entropy, probabilities
from gazeseg.losses.track import entropy, pooled, soft_cross_entropy, squared_error, track_maps
from gazeseg.methods.base import Layer, Reference, Spec, StepOutput, required
from gazeseg.methods.single import SingleNetwork, require_level
from gazeseg.nets.base import crop
from gazeseg.nets.track_attention import AttentionLadder
from gazeseg.supervision.track import End, Ladder, Mode, Preset, preset
from gazeseg.types import IGNORE, Batch

MOST_LEVELS = 4  # one map a stage of the U-Net that the gaze benchmarks use


def _shares(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or not all(0 < value <= 1 for value in values):
        raise ValueError("shares must be one or more numbers above 0 and at most 1")
    return values


class TracksConfig(Section):
    """How the track is cut, a map a decoder stage; ``None`` takes the value of the preset."""

    preset: Preset = "R1"  # our reading of "reverse-truncated"; see gazeseg.supervision.track.preset
    levels: int | None = Field(None, ge=1, le=MOST_LEVELS)  # K; None: one a decoder stage, at most 4
    stages: Literal["finest", "deepest"] = "finest"  # where K is below the number of decoder stages; ours
    keep: End | None = None  # the end of the track that stays
    rhos: Annotated[tuple[float, ...], AfterValidator(_shares)] | None = None  # shares that stay, deepest stage first
    n_min: int = Field(3, ge=1)  # never fewer fixations, or all


class TrackMapsConfig(Section):
    """How a track is drawn."""

    mode: Mode = "dist"  # kde: the heatmap of GazeMedSeg of the truncated track
    sigma: float = Field(70 / 768, gt=0)  # share of the side: GazeMedSeg's width on Kvasir-SEG; 50 / 768 on NCI-ISBI
    duration_gamma: float = Field(0.5, ge=0)  # exponent of the durations, 0: equal; dist only


class TrackAttentionConfig(Section):
    """The attention at the decoder stages."""

    enabled: bool = True  # off: the plain network on the pseudo-mask
    reduction: int = Field(4, ge=1)  # hidden channels: max(8, channels / reduction)
    bias: float = -2.0  # attention logit at the start: sigmoid .12, about the share of a map
    loss: Literal["bce_soft", "mse"] = "bce_soft"


class GradTrackConfig(Section):
    """Every value is our choice; the paper's are not known."""

    level: int = Field(0, ge=0)  # index into pseudo.thresholds
    tracks: TracksConfig = TracksConfig()
    maps: TrackMapsConfig = TrackMapsConfig()
    ta: TrackAttentionConfig = TrackAttentionConfig()
    lambda_att: float = Field(1.0, ge=0)
    stage_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None  # deepest first; None: 1/K each

    def resolved(self, stages: int) -> GradTrackConfig:
        """Return a copy without open keys, for a decoder of so many stages.

        Raises:
            ConfigError: if the numbers of levels, shares, weights and stages do not fit.
        """
        tracks = self.tracks
        levels = tracks.levels or (len(tracks.rhos) if tracks.rhos else min(stages, MOST_LEVELS))
        if levels > stages:
            raise ConfigError(
                f"method.tracks asks for {levels} levels, but the network has {stages} decoder stages; "
                f"set method.tracks.levels to {stages} or less"
            )
        keep, rhos = preset(tracks.preset, levels)
        rhos = tracks.rhos or rhos
        weights = self.stage_weights or (1 / levels,) * levels
        for key, values in (("tracks.rhos", rhos), ("stage_weights", weights)):
            if len(values) != levels:
                raise ConfigError(f"method.{key} has {len(values)} values for {levels} levels; give one a level")
        filled = tracks.model_copy(update={"levels": levels, "keep": tracks.keep or keep, "rhos": rhos})
        return self.model_copy(update={"tracks": filled, "stage_weights": weights})


class GradTrack(SingleNetwork):
    r"""Learn from one gaze mask, and pull an attention at each decoder stage to a map of the truncated gaze track.

    .. math:: L = \mathrm{CE}(z, P) + \lambda \sum_s w_s \, \mathrm{BCE}(a_s, t_s)

    with :math:`P` one pseudo-mask of the whole track, :math:`a_s` the attention of stage s and :math:`t_s` the map of
    the track cut to its share :math:`\rho_s`, averaged over the cells of the stage. Images without gaze contribute
    nothing. The cross-entropy against a soft target does not reach 0; ``att_excess`` in the log is what lies above its
    floor. Prediction uses the image alone.
    """

    name = "gradtrack"
    summary = "learn from one gaze mask and supervise the decoder by truncated gaze tracks (reconstruction)"
    Config = GradTrackConfig
    needs = frozenset({"pseudo", "track", "track_length"})
    reference = Reference(
        title="Enjoying Information Dividend: Gaze Track-based Medical Weakly Supervised Segmentation",
        venue="MICCAI 2025",
        url="https://arxiv.org/abs/2505.22230",
        status="reconstruction",
    )

    config: GradTrackConfig

    def __init__(self, config: GradTrackConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        require_level(config.level, spec.levels)
        widths = self.network.decoder_widths
        self.config = config = config.resolved(len(widths))
        self.ladder = Ladder(
            keep=config.tracks.keep or "last",
            rhos=config.tracks.rhos or (),
            n_min=config.tracks.n_min,
            mode=config.maps.mode,
            sigma=config.maps.sigma,
            gamma=config.maps.duration_gamma,
        )
        used = len(self.ladder.rhos) if config.ta.enabled else 0
        first = len(widths) - used if config.tracks.stages == "finest" else 0
        self.attention = AttentionLadder(
            widths,
            tuple(range(first, first + used)),
            reduction=config.ta.reduction,
            bias=config.ta.bias,
            seed=spec.seed,
        )

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Compare the prediction with the pseudo-mask, and each attention with the map of its stage."""
        mask = required(batch, "pseudo")[:, self.config.level]
        logits, attention = self._forward(batch.image)
        losses = {"seg": partial_cross_entropy(logits, mask)}
        logs = _foreground(logits.detach(), mask)
        if attention and self.config.lambda_att > 0:
            seen = required(batch, "track_length") > 0
            compare = soft_cross_entropy if self.config.ta.loss == "bce_soft" else squared_error
            terms, floors = [], []
            for logit, target in zip(attention, self._targets(batch, attention), strict=True):
                terms.append(compare(logit, target, seen))
                floors.append(
                    entropy(target, seen) if self.config.ta.loss == "bce_soft" else torch.zeros_like(terms[0])
                )
            weights = self.config.stage_weights or ()
            loss = torch.stack([w * term for w, term in zip(weights, terms, strict=True)]).sum()
            floor = torch.stack([w * value for w, value in zip(weights, floors, strict=True)]).sum()
            losses["att"] = self.config.lambda_att * loss
            logs |= {f"att/{stage}": term.detach() for stage, term in zip(self.attention.stages, terms, strict=True)}
            logs["att_excess"] = loss.detach() - floor
        return StepOutput(losses, logs)

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to probabilities (B, K, H, W)."""
        return probabilities(self._forward(images)[0], self.num_classes)

    def explain(self, batch: Batch) -> tuple[Layer, ...]:
        """Return the prediction, and for each stage its attention; with gaze, its target and their difference too."""
        logits, attention = self._forward(batch.image)
        foreground = 1 - probabilities(logits, self.num_classes)[0, 0]
        layers = [Layer("prediction", "probability", foreground, "probability")]
        targets = self._targets(batch, attention)
        gazed = bool(required(batch, "track_length")[0] > 0)
        for stage, share, logit, target in zip(
            self.attention.stages, self.ladder.rhos, attention, targets, strict=False
        ):
            row = f"stage {stage}"
            height, width = logit.shape[-2:]
            shown = self._cells(torch.sigmoid(logit), stage, batch.image)
            layers.append(Layer(row, f"attention, {height} x {width}", shown, "attention"))
            if gazed:
                wanted = self._cells(target, stage, batch.image)
                part = "the whole track" if share == 1 else f"{self.ladder.keep} {share:.0%} of the track"
                layers.append(Layer(row, f"target: {part}", wanted, "target"))
                layers.append(Layer(row, "attention - target", shown - wanted, "difference"))
        return tuple(layers)

    def _forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and the attention logit of each stage that has one, deepest first."""
        attention: list[Tensor] = []
        features = self.network.decode(self.network.encode(images), images.shape[-2:], self.attention.refine(attention))
        return self.network.head(features), attention

    def _targets(self, batch: Batch, attention: list[Tensor]) -> list[Tensor]:
        """Return the map of each stage at the size of its attention, (B, 1, h, w)."""
        height, width = batch.image.shape[-2:]
        maps = track_maps(required(batch, "track"), required(batch, "track_length"), (height, width), self.ladder)
        return [
            pooled(target, logit.shape[-2:], self._stride(stage))
            for stage, target, logit in zip(self.attention.stages, torch.split(maps, 1, dim=1), attention, strict=True)
        ]

    def _stride(self, stage: int) -> int:
        """Pixels a cell: 1 at the last decoder stage, twice as many at each one before."""
        return int(2 ** (len(self.network.decoder_widths) - 1 - stage))

    def _cells(self, values: Tensor, stage: int, image: Tensor) -> Tensor:
        """Blow the cells of a stage (1, 1, h, w) up to the image (H, W)."""
        pixels = F.interpolate(values, scale_factor=self._stride(stage), mode="nearest")
        return crop(pixels, image.shape[-2:])[0, 0]


def _foreground(logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return the share of the labelled pixels that is foreground, predicted and in the target."""
    predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1) > 0
    labelled = mask != IGNORE
    count = labelled.sum().clamp_min(1)
    return {
        "foreground": (predicted & labelled).sum() / count,
        "foreground_target": ((mask > 0) & labelled).sum() / count,
    }
