"""FGI: a teacher that reads a description beside the image, and a student that sees the image alone.

"From Gaze to Insight", IEEE TMI 2025, arXiv 2504.11368; code GitHub jingkunchen/FGI at 5dd2c5e. Gaze says where, text
says why. The paper and the released code differ: ``profile`` chooses, and each difference is a key of its own. What the
paper's public description leaves open is our choice and marked so. Not reproduced from the released code: side branches
that mirror the student's encoder (its heads sit on the encoder itself here), two optimisers (one over both networks
makes the same steps), fixed sizes of image and text, and the choice of a checkpoint on the test split.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from gazeseg.config import NetworkConfig
from gazeseg.errors import ConfigError
from gazeseg.losses import (
    angular_consistency,
    broad_target,
    confident_consistency,
    draw_mix,
    most_probable,
    narrow_target,
    partial_cross_entropy,
    probabilities,
    ramp_up,
    random_blocks,
    ring,
)
from gazeseg.methods.base import Layer, Method, Reference, Spec, StepOutput, required
from gazeseg.methods.fgi_config import FGIConfig
from gazeseg.nets import SegmentationNet
from gazeseg.nets.text_fusion import MultiScaleFusion
from gazeseg.text.schema import FIELDS
from gazeseg.types import IGNORE, Batch

VIEWS = 2  # stream of random numbers below the run's seed; the loader has 0 and 1


class FGI(Method):
    r"""Learn a student on the broad gaze mask, guided by a teacher on the narrow one that also reads text.

    .. math:: L = L_{pCE}(teacher) + L_{CE}(student) + r(t) (0.1 \, L_{AFC} + L_{CWC})

    The teacher learns where the nested pseudo-masks agree. The student learns from the broadest of them on a view in
    which random blocks hide where both networks disagree (DARM), aligns its encoder with the teacher's fused maps on
    that view (AFC), and believes the teacher on a CutMix view where both are confident (CWC).
    """

    name = "fgi"
    summary = "a teacher reads gaze and text, an image-only student follows it"
    Config = FGIConfig
    needs = frozenset({"pseudo", "text"})
    reference = Reference(
        title="From Gaze to Insight",
        venue="IEEE TMI 2025",
        url="https://arxiv.org/abs/2504.11368",
        status="paper",
    )

    config: FGIConfig

    def __init__(self, config: FGIConfig, spec: Spec) -> None:
        config = config.resolved()
        super().__init__(config, spec)
        if spec.levels < 1:
            raise ConfigError(f"fgi needs at least one level, got {spec.levels}; set pseudo.thresholds")
        if config.channels == "two_channels" and spec.num_classes > 2:
            raise ConfigError(f"method.channels two_channels is for two classes, got {spec.num_classes}; set one_logit")
        if config.mutual and config.training == "two_stage":
            raise ConfigError("method.mutual teaches the teacher, which two_stage freezes; set mutual false")
        if not config.text.enabled:
            self.needs = frozenset({"pseudo"})  # type: ignore[misc]  # this run alone: no embeddings are asked for
        network = spec.network
        big = network.model_copy(update={"features": config.teacher.features or network.features})
        self.teacher = dataclasses.replace(spec, network=big).build()
        widths = config.student.features or _student_widths(network, self.teacher)
        small = network.model_copy(update={"features": widths})
        self.student = dataclasses.replace(spec, network=small).build(1)
        if len(self.student.encoder_widths) != len(self.teacher.encoder_widths):
            raise ConfigError(
                f"method.teacher.features give {len(self.teacher.encoder_widths)} encoder stages, but those of the "
                f"student {len(self.student.encoder_widths)}; give both networks as many"
            )
        self.fusion: MultiScaleFusion | None = None
        self.heads: nn.ModuleList | None = None  # of the student, for AFC alone: no part of what predicts
        with torch.random.fork_rng(devices=[]):
            # the CPU's generator alone: torch.manual_seed would touch GPUs as well
            torch.default_generator.manual_seed(spec.seed + 2)
            if config.text.enabled:
                self.text_dim = config.text.dim
                self.fusion = MultiScaleFusion(
                    self.teacher.encoder_widths,
                    text_dim=config.text.dim,
                    heads=config.fusion.heads,
                    position_grid=config.fusion.position_grid,
                    form=config.fusion.form or "gated",
                    lambda_init=config.fusion.lambda_init,
                )
            if config.afc.weight:
                pairs = zip(self.student.encoder_widths[1:], self.teacher.encoder_widths[1:], strict=True)
                self.heads = nn.ModuleList(
                    _afc_head(own, other, relu=bool(config.afc.head_relu)) for own, other in pairs
                )
            if config.channels == "two_channels":
                for net in (self.teacher, self.student):
                    net.head = nn.Conv2d(net.head.in_channels, 2, 1)

    def training_step(self, batch: Batch, step: int) -> StepOutput:
        """Teach the teacher with the narrow mask, the student with the broad one and with the teacher."""
        config = self.config
        pseudo = required(batch, "pseudo")
        if self.fusion is not None:
            required(batch, "text")  # an image without text has length 0; a batch without is a mistake
        first = config.teacher_iterations if config.training == "two_stage" else 0
        frozen = 0 < first <= step
        if first:
            for part in (self.teacher, self.fusion or self.teacher):
                part.train(not frozen)  # batch norm too stays as it was learnt
        with torch.set_grad_enabled(not frozen):
            guide, compared = self._teach(batch.image, batch)
        losses: dict[str, Tensor] = {}
        logs: dict[str, Tensor] = {}
        if not frozen:
            narrow = narrow_target(pseudo, background=config.teacher.background or "outside_bc")
            losses["teacher"] = partial_cross_entropy(self._supervised(guide), narrow)
            if self.fusion is not None:
                logs |= {f"lambda/{i}": gate for i, gate in enumerate(self.fusion.gates(), start=1)}
        if step >= first:
            ramp = ramp_up(step - first, config.ramp.iterations, zero_first=bool(config.ramp.zero_first))
            followed = self._follow(batch, guide, compared, step, ramp)
            losses, logs = losses | followed.losses, logs | followed.logs
        return StepOutput(losses, logs)

    def predict(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the student's probabilities (B, K, H, W)."""
        return probabilities(self._supervised(self.student(images)), self.num_classes)

    def predict_teacher(self, batch: Batch) -> Tensor:
        """Map images and text, which may be absent, to the teacher's probabilities (B, K, H, W)."""
        return probabilities(self._supervised(self._teach(batch.image, batch)[0]), self.num_classes)

    def predict_members(self, images: Tensor) -> Tensor:
        """Map images to the probabilities of student and teacher, the latter without text, (2, B, K, H, W)."""
        unread = Batch(("",) * len(images), images)
        return torch.stack([self.predict(images), self.predict_teacher(unread)])

    def text_attention(self, batch: Batch) -> list[Tensor]:
        """Return how much each pixel looks at each token, (B, T, h, w) a scale, finest first, mean over the heads.

        Zero for an image without text; no scale at all without fusion, or for a batch without text.
        """
        if self.fusion is None or batch.text is None:
            return []
        return self.fusion.attention(self.teacher.encode(batch.image), batch.text, batch.text_length)

    def explain(self, batch: Batch) -> tuple[Layer, ...]:
        """Return both predictions, where they differ and what would be hidden there, and where each text field attends.

        An attention is the share of a pixel's attention that the words of a field get. ``batch.text_fields`` says which
        word belongs to which field; without it, and for an image without text, no attention is shown.
        """
        guide, own = self.predict_teacher(batch), self.predict(batch.image)
        layers = [
            Layer("networks", "student, which predicts", 1 - own[0, 0], "probability"),
            Layer("networks", "teacher", 1 - guide[0, 0], "probability"),
            Layer("networks", "teacher - student", own[0, 0] - guide[0, 0], "difference"),
        ]
        if self.config.darm.rho > 0:
            generator = torch.Generator(batch.image.device).manual_seed(self.seed)
            hidden = self._hidden(self._disagreement(batch, guide, own), generator)
            layers.append(Layer("networks", "hidden by DARM", hidden[0, 0].float(), "mask"))
        pseudo = required(batch, "pseudo")
        narrow, broad = narrow_target(pseudo)[0], broad_target(pseudo)[0]
        for title, target in (("narrow mask, for the teacher", narrow), ("broad mask, for the student", broad)):
            layers.append(Layer("gaze masks", title, ((target > 0) & (target != IGNORE)).float(), "mask"))
        fields = batch.text_fields
        if fields is not None:
            for scale, attention in enumerate(self.text_attention(batch), start=1):
                for index, name in enumerate(FIELDS):
                    words = fields[0] == index
                    if words.any():
                        shown = attention[0][words].sum(dim=0)
                        layers.append(Layer(f"attention, scale {scale}", name.replace("_", " "), shown, "attention"))
        return tuple(layers)

    def _teach(self, images: Tensor, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return the teacher's logits (B, 1 or K, H, W) and its maps below the first, fused with the batch's text."""
        maps = self.teacher.encode(images)
        compared = maps[1:]
        if self.fusion is not None and batch.text is not None:
            maps, compared = self.fusion(maps, batch.text, batch.text_length)
        logits: Tensor = self.teacher.head(self.teacher.decode(maps, images.shape[-2:]))
        return logits, compared

    def _follow(self, batch: Batch, guide: Tensor, compared: list[Tensor], step: int, ramp: float) -> StepOutput:
        """Return the terms of the student, and of the teacher where the student guides it in turn.

        The views of the student go through it together: its group norm treats each image alone.

        Args:
            batch: Image, pseudo-masks and text.
            guide: The teacher's logits.
            compared: The teacher's maps, one a scale.
            step: Iteration, from 0.
            ramp: Factor of both consistencies.
        """
        config, images, count = self.config, batch.image, len(batch.image)
        rng = np.random.default_rng([self.seed, VIEWS, step])  # of the step alone: a resumed run draws the same
        generator = torch.Generator(images.device).manual_seed(int(rng.integers(2**62)))
        belief = self._belief(guide.detach())
        hides = config.darm.rho > 0
        own = self._own_belief(images)
        broad = broad_target(required(batch, "pseudo"))
        masked, target, logs = self._mask(batch, broad, belief, own, generator) if hides else (images, broad, {})
        views, mix = [masked], None
        if config.cutmix.enabled and config.cwc.weight > 0:
            size = (images.shape[2], images.shape[3])
            mix = draw_mix(count, size, alpha=config.cutmix.alpha, rng=rng, generator=generator)
            noise = torch.rand(images.shape, generator=generator, device=images.device).sub_(0.5)
            views.append(mix.paste(images).add_(noise, alpha=2 * config.cutmix.noise))

        maps = self.student.encode(torch.cat(views) if mix is not None else masked)
        logits = self.student.head(self.student.decode(maps, images.shape[-2:]))
        losses = {"student": partial_cross_entropy(self._supervised(logits[:count]), target)}
        if not hides or own is not None:  # of the plain images, which predict will see
            plain = self._belief(logits[:count].detach()) if own is None else own
            labelled = broad != IGNORE
            logs["foreground"] = ((most_probable(plain)[1] > 0) & labelled).sum() / labelled.sum().clamp(min=1)
            logs["foreground_target"] = ((broad > 0) & labelled).sum() / labelled.sum().clamp(min=1)
        if self.heads is not None and config.afc.weight:
            aligned = [head(x[:count]) for head, x in zip(self.heads, maps[1:], strict=True)]
            afc = angular_consistency(aligned, compared)
            losses["afc"] = ramp * config.afc.weight * afc
            logs["afc"] = afc.detach()
        if config.cwc.weight > 0:
            cwc, share = self._agree(logits[-count:], belief if mix is None else mix.paste(belief))
            losses["cwc"] = ramp * config.cwc.weight * cwc
            logs |= {"cwc": cwc.detach(), "cwc/confident": share}
        if config.cwc.weight > 0 and config.mutual and own is not None:
            if mix is not None and config.cutmix.teacher:
                guide, own = self._teach(views[-1], batch)[0], mix.paste(own)
            mutual, _ = self._agree(guide, own)
            losses["mutual"] = ramp * config.cwc.weight * mutual
        return StepOutput(losses, logs)

    def _mask(
        self, batch: Batch, target: Tensor, belief: Tensor, own: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the images and broad targets with random blocks of the disagreement hidden, and what to log."""
        differs = self._disagreement(batch, belief, own)
        hidden = self._hidden(differs, generator)
        touched = torch.rand(len(hidden), generator=generator, device=hidden.device) < (self.config.darm.share or 1.0)
        hidden &= touched[:, None, None, None]  # a student that sees no plain image learns to find the blocks
        images = batch.image.masked_fill(hidden, 0.0)  # 0 is the mean of normalised images
        fill = IGNORE if self.config.darm.label_fill == "ignore" else 0
        target = target.masked_fill(hidden[:, 0] & (target != IGNORE), fill)
        return images, target, {"darm/differs": differs.float().mean(), "darm/hidden": hidden.float().mean()}

    def _hidden(self, differs: Tensor, generator: torch.Generator) -> Tensor:
        darm = self.config.darm
        return random_blocks(
            differs,
            rho=darm.rho,
            generator=generator,
            budget=darm.budget or "image",
            max_area=darm.max_area,
            clip=darm.clip_to_disagreement,
        )

    def _disagreement(self, batch: Batch, belief: Tensor, own: Tensor | None) -> Tensor:
        """Return (B, 1, H, W) True where teacher and student, or the nested pseudo-masks, differ."""
        if own is None or self.config.darm.disagreement == "pseudo_xor":
            return ring(required(batch, "pseudo"))[:, None]
        if self.config.darm.disagreement == "delta":
            return (belief - own).abs().amax(dim=1, keepdim=True) > self.config.darm.delta
        return (most_probable(belief)[1] != most_probable(own)[1])[:, None]

    def _own_belief(self, images: Tensor) -> Tensor | None:
        """Return the student's probabilities on the plain images, without gradient; None where nothing needs them."""
        darm = self.config.darm
        if not self.config.mutual and (darm.rho == 0 or darm.disagreement == "pseudo_xor"):
            return None
        with torch.no_grad():
            return self._belief(self.student(images))

    def _agree(self, logits: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        cwc = self.config.cwc
        return confident_consistency(
            self._relative(logits),
            belief,
            tau_pos=cwc.tau_pos,
            tau_neg=cwc.tau_neg,
            both=cwc.region == "both",
            weighted=bool(cwc.weighted),
        )

    def _belief(self, logits: Tensor) -> Tensor:
        """Return the probabilities (B, K, H, W) that the networks compare."""
        return probabilities(self._relative(logits), self.num_classes)

    def _supervised(self, logits: Tensor) -> Tensor:
        """Return the logits that masks teach: with two channels the second alone, as released."""
        return logits[:, 1:] if self.config.channels == "two_channels" else logits

    def _relative(self, logits: Tensor) -> Tensor:
        """Return the logits that the networks compare: with two channels their softmax, as released."""
        return logits[:, 1:] - logits[:, :1] if self.config.channels == "two_channels" else logits


def _student_widths(network: NetworkConfig, teacher: SegmentationNet) -> tuple[int, ...] | None:
    """Return half the teacher's widths for basic_unet, with as many features as its first stage has, as published.

    Other networks are small as they are: the student is then the very network that other methods train.
    """
    if network.name != "basic_unet":
        return network.features
    halves = tuple(width // 2 for width in teacher.encoder_widths)
    return (*halves, halves[0])


def _afc_head(own: int, other: int, *, relu: bool) -> nn.Module:
    """Return the map from the student's channels to the teacher's."""
    head = nn.Conv2d(own, other, 1)
    return nn.Sequential(head, nn.ReLU()) if relu else head
