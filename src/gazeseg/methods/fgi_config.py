"""The configuration of :mod:`gazeseg.methods.fgi`: every difference between paper and released code is a key.

``None`` takes the value of the profile. Defaults that the paper's public description leaves open are ours and say so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazeseg.config import Section


class TeacherConfig(Section):
    """The network that reads text; ``None`` takes the value of the profile."""

    background: Literal["outside_bc", "all"] | None = None  # paper: outside the broad mask (our choice); released: all
    features: tuple[int, ...] | None = None  # None: network.features


class StudentConfig(Section):
    """The network that is left after training."""

    features: tuple[int, ...] | None = (
        None  # None: half the teacher's for basic_unet, as published; else network.features
    )


class TextKeys(Section):
    """The description of each image."""

    enabled: bool = True  # false: the teacher is the plain network
    dim: int = Field(384, ge=1)  # of the token embeddings; 384 is the default encoder's, roberta-base has 768


class FusionConfig(Section):
    """How text enters the teacher."""

    heads: int = Field(8, ge=1)  # our choice
    lambda_init: float = 0.1  # our choice; not 0, so that the text path learns from the first step
    position_grid: int = Field(224, ge=2)  # px for which positions are stored; other sizes resize them
    form: Literal["gated", "projected"] | None = None  # paper: X + lambda LN(A); released: X + g(LN(X + P + A))


class AfcConfig(Section):
    """Angular Feature Consistency."""

    weight: float | None = Field(None, ge=0)  # paper: .1; released: .05; 0 switches it off
    head_relu: bool | None = None  # released: true, so that cosines stay below .71


class CwcConfig(Section):
    """Confidence-Weighted Consistency."""

    weight: float = Field(1.0, ge=0)  # 0 switches it off
    tau_pos: float = Field(0.8, ge=0.5, lt=1)
    tau_neg: float = Field(0.2, gt=0, le=0.5)
    region: Literal["both", "teacher"] | None = None  # who must be confident; released: the believed network alone
    weighted: bool | None = None  # paper: with the confidence; released: its weights cancel


class DarmConfig(Section):
    """Disagreement-Aware Random Masking."""

    rho: float = Field(0.3, ge=0, lt=1)  # share of the disagreement that is hidden; 0 switches it off
    share: float | None = Field(None, gt=0, le=1)  # of images that are masked; paper: .5 (our choice); released: 1
    disagreement: Literal["argmax", "delta", "pseudo_xor"] | None = None  # paper: argmax; released: the pseudo-masks'
    delta: float = Field(0.3, gt=0, lt=1)  # least difference of two probabilities; for disagreement delta
    label_fill: Literal["ignore", "background"] | None = None  # paper: ignore; released: background
    budget: Literal["image", "batch"] | None = None  # paper: image; released: batch
    clip_to_disagreement: bool = False
    max_area: float = Field(0.5, gt=0, le=1)  # of the image; early in training the networks differ nearly everywhere


class RampConfig(Section):
    """Growth of the weights of both consistencies."""

    iterations: int = Field(4000, ge=0)  # released, for 15,000 iterations
    zero_first: bool | None = None  # released: 0 at iteration 0, where the formula gives .007


class CutMixConfig(Section):
    """The view of the student on which the confident consistency acts; without it, it acts on the masked view."""

    enabled: bool = True
    alpha: float = Field(4.0, gt=0)
    noise: float = Field(0.2, ge=0)  # uniform in +-, on normalised images
    teacher: bool | None = None  # released: with `mutual` the teacher sees the mixed image too, beside unmixed text


class FGIConfig(Section):
    """``None`` takes the value of the profile."""

    profile: Literal["paper", "released"] = "paper"
    training: Literal["joint", "two_stage"] = "joint"  # two_stage: first the teacher, then, frozen, it guides
    teacher_iterations: int = Field(15_000, ge=1)  # of two_stage; the student learns in those that follow
    mutual: bool | None = None  # released: the student guides the teacher too
    channels: Literal["one_logit", "two_channels"] | None = None  # of two classes; released: two
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    text: TextKeys = TextKeys()
    fusion: FusionConfig = FusionConfig()
    afc: AfcConfig = AfcConfig()
    cwc: CwcConfig = CwcConfig()
    darm: DarmConfig = DarmConfig()
    cutmix: CutMixConfig = CutMixConfig()
    ramp: RampConfig = RampConfig()

    def resolved(self) -> FGIConfig:
        """Return a copy in which the profile has filled every open key."""
        filled = self.model_dump()
        for section, keys in PROFILES[self.profile].items():
            place = filled[section] if section else filled
            place.update({key: value for key, value in keys.items() if place[key] is None})
        return FGIConfig.model_validate(filled)


PROFILES: dict[str, dict[str, dict[str, object]]] = {
    "paper": {
        "": {"mutual": False, "channels": "one_logit"},
        "teacher": {"background": "outside_bc"},
        "fusion": {"form": "gated"},
        "afc": {"weight": 0.1, "head_relu": False},
        "cwc": {"region": "both", "weighted": True},
        "darm": {"share": 0.5, "disagreement": "argmax", "label_fill": "ignore", "budget": "image"},
        "cutmix": {"teacher": False},
        "ramp": {"zero_first": False},
    },
    "released": {
        "": {"mutual": True, "channels": "two_channels"},
        "teacher": {"background": "all"},
        "fusion": {"form": "projected"},
        "afc": {"weight": 0.05, "head_relu": True},
        "cwc": {"region": "teacher", "weighted": False},
        "darm": {"share": 1.0, "disagreement": "pseudo_xor", "label_fill": "background", "budget": "batch"},
        "cutmix": {"teacher": True},
        "ramp": {"zero_first": True},
    },
}
