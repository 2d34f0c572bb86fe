"""Configuration: pydantic models that refuse unknown keys, YAML in, ``--section.key value`` on top.

Three documents use it: ``DS/dataset.yaml`` (owned by ``gazeseg.data``), the ``config.yaml`` beside generated masks
(:class:`MasksConfig`) and the ``config.yaml`` of a run (:class:`RunConfig`). The latter two are written resolved, so
that handing them back repeats the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gazeseg.errors import ConfigError, near_miss, suggest


class Section(BaseModel):
    """Base of every configuration model: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _unit_interval(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or not all(0 < v < 1 for v in values):
        raise ValueError("thresholds must be one or more numbers strictly between 0 and 1")
    return values


def _one_or_more(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


Thresholds = Annotated[tuple[float, ...], AfterValidator(_unit_interval)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_one_or_more)]


class MapsConfig(Section):
    """How fixations become a heatmap."""

    canvas: Literal["square768", "native"] = "square768"  # the published canvas; native is isotropic
    sigma: float = Field(70.0, gt=0)  # px of the canvas: GazeMedSeg uses 70 on Kvasir-SEG and 50 on NCI-ISBI
    sigma_unit: Literal["px", "deg", "side"] = "px"  # deg needs px_per_degree, side is the shorter one; canvas native
    px_per_degree: float | None = Field(None, gt=0)
    outlier: bool = False  # drop fixations apart from the main region of the map, then draw it again
    outlier_tau: float = Field(0.2, gt=0, lt=1)  # of the map's maximum: what is looked at
    outlier_mass: float = Field(0.9, gt=0, le=1)  # share of that heat which the main region holds

    @property
    def inactive(self) -> frozenset[str]:
        """Keys that change nothing as the others are; left out of the names of what was made before there were they."""
        return frozenset() if self.outlier else frozenset({"outlier", "outlier_tau", "outlier_mass"})


class CrfConfig(Section):
    """Dense CRF with one bilateral kernel, as GazeMedSeg uses it."""

    mode: Literal["compatible", "fast", "off"] = "compatible"
    sxy: float = Field(80.0, gt=0)  # px of the native image
    srgb: float = Field(13.0, gt=0)  # grey levels of 0..255
    compat: float = Field(1.0, gt=0)
    iterations: int = Field(10, ge=1)  # fast uses at most 5: the mean field contracts


SoftSource = Literal["crf", "heatmap", "prompt"]
"""A soft map of a pseudo-mask folder; ``prompt`` is there after ``gazeseg masks --refine prompt``."""


class PseudoConfig(Section):
    """How a soft map becomes nested binary targets."""

    thresholds: Thresholds | None = None  # None: those of the data set (``DS/dataset.yaml``), else .5 and .3
    threshold_at: Literal["network", "native"] = "network"  # GazeMedSeg resizes the soft map first, then thresholds
    source: SoftSource = "crf"

    @property
    def ternary_source(self) -> Literal["heatmap", "prompt"]:
        """The soft map of the ternary target: the plain heatmap, or the prompted map where levels are cut from it."""
        return "prompt" if self.source == "prompt" else "heatmap"


class PartialConfig(Section):
    """The ternary target of heatmap (GNAN) or prompted map: foreground >= tau_f, background <= tau_b, else ignore."""

    tau_f: float = Field(0.6, gt=0, lt=1)
    tau_b: float = Field(0.3, gt=0, lt=1)


CONTROLS: Final = ("none", "shuffled_cases", "shuffled_order", "equal_durations", "centre_prior", "jitter:PX", "webcam")


def check_control(value: str) -> str:
    """Return the name of a gaze control in its one spelling; ``jitter:5.0`` is ``jitter:5``.

    Raises:
        ValueError: if it is none, or ``jitter`` has no number above 0.
    """
    name, colon, amount = value.partition(":")
    if name == "jitter":
        number = re.fullmatch(r"(\d+\.?\d*|\.\d+)(%?)", amount)
        if not number or float(number[1]) == 0:
            raise ValueError(
                "jitter needs a number above 0: jitter:20 (px of the image) or jitter:2% (of its longer side)"
            )
        return f"jitter:{float(number[1]):g}{number[2]}"
    if colon or name not in CONTROLS:
        raise ValueError(f"unknown gaze control '{value}'{suggest(name, CONTROLS)}")
    return value


class GazeConfig(Section):
    """A control: what is spoilt about the gaze of the training split before anything learns from it."""

    control: Annotated[str, AfterValidator(check_control)] = "none"  # see gaze/control.py
    scope: Literal["all", "track"] = "all"  # track: Batch.track alone; heatmap and pseudo-masks stay those of true gaze
    seed: int = Field(0, ge=0)  # not the run's: every run of a control learns from the same gaze


class PromptConfig(Section):
    """How gaze asks a promptable model for masks, and which of them are kept."""

    model: str = "lite_medsam"  # or a folder with a SAM, MedSAM or SAM 2 checkpoint that transformers reads
    levels: Thresholds = (0.2, 0.3, 0.4)  # of the heatmap, as a share of its maximum: a box around what is above
    margins: tuple[float, ...] = Field((0.0,), min_length=1)  # every side moves out by this share of the box
    jitter: int = Field(0, ge=0)  # shifted copies of each box
    jitter_share: float = Field(0.05, gt=0, lt=1)  # sd of the shift of each side, as a share of the box
    rounds: int = Field(2, ge=0)  # times that the model is asked again, about the box of its own mean mask
    round_margins: tuple[float, ...] = Field((0.05, 0.1), min_length=1)  # of these boxes: the share by which they grow
    mode_share: float = Field(0.5, gt=0, le=1)  # of the maximum: a region whose own is lower is no object
    points: int = Field(0, ge=0)  # most foreground points a prompt; LiteMedSAM has learnt from boxes alone
    negatives: int = Field(0, ge=0)  # most background points a prompt
    min_quality: float = Field(0.5, ge=0, le=1)  # below: the case falls back to its CRF map, or to the students
    min_area: float = Field(0.001, ge=0, le=1)  # share of the image; outside of the two bounds it falls back as well
    max_area: float = Field(0.95, ge=0, le=1)
    seed: int = Field(0, ge=0)  # of the shifts
    students: Paths = ()  # runs that learnt from the masks of gaze: their mean mask is asked about as well


class MasksConfig(Section):
    """Everything that decides the content of a pseudo-mask folder."""

    refine: Literal["none", "prompt"] = "none"  # a further stage after the CRF

    gaze: GazeConfig = GazeConfig()
    maps: MapsConfig = MapsConfig()
    crf: CrfConfig = CrfConfig()
    pseudo: PseudoConfig = PseudoConfig()
    partial: PartialConfig = PartialConfig()
    prompt: PromptConfig = PromptConfig()  # with refine: prompt


def _rates(values: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(values) < 0 or abs(sum(values) - 1) > 1e-6:
        raise ValueError("rates must be three shares that sum up to 1")
    return values


Rates = Annotated[tuple[float, float, float], AfterValidator(_rates)]


class AugmentConfig(Section):
    """Random transforms of a training sample; image, masks, maps and fixations move on one sampling grid."""

    flip_horizontal: float = Field(0.5, ge=0, le=1)  # probability
    flip_vertical: float = Field(0.5, ge=0, le=1)
    rotate_deg: float = Field(0.0, ge=0, le=180)  # uniform in +-
    scale: float = Field(0.0, ge=0, lt=1)  # zoom uniform in [1 - scale, 1 + scale]
    brightness: float = Field(0.0, ge=0, lt=1)  # factor uniform in 1 +- value
    contrast: float = Field(0.0, ge=0, lt=1)
    saturation: float = Field(0.0, ge=0, lt=1)
    rates: Rates | None = (
        None  # SSL4MIS's: quarter turn and flip / rotation by up to 20 deg / nothing; ACDC: .5,.25,.25
    )


def check_labelled(value: object) -> object:
    """Return ``data.labelled`` in its one spelling: a share, ``"3 patients"``, or a tuple of patient ids.

    Raises:
        ValueError: if it is none of these.
    """
    forms = "give '3 patients', '10 %', a share as 0.1, or a list of patient ids"
    if isinstance(value, list | tuple):
        ids = tuple(str(patient) for patient in value)
        if not ids or len(set(ids)) < len(ids):
            raise ValueError("a list of labelled patients must name at least one, each once")
        return ids
    patients = re.fullmatch(r"(\d+)\s*patients?", str(value).strip())
    if patients:
        if int(patients[1]) == 0:
            raise ValueError(f"at least one patient must be labelled; {forms}")
        return f"{int(patients[1])} patient" + "s" * (int(patients[1]) > 1)
    number = re.fullmatch(r"(\d+\.?\d*(?:e-?\d+)?|\.\d+)\s*(%?)", str(value).strip())
    share = float(number[1]) / (100 if number[2] else 1) if number else 0.0
    if not 0 < share <= 1:
        raise ValueError(f"the labelled patients must be more than none and at most all; {forms}")
    return share


Labelled = Annotated[float | str | tuple[str, ...], BeforeValidator(check_labelled)]


class DataConfig(Section):
    """Which images, and what the network sees of them."""

    path: Path | None = None  # the data set folder; ``--data``
    pseudo: Path | None = None  # the pseudo-mask folder; None: ``DS/pseudo``
    size: tuple[int, int] = (224, 224)  # (H, W) of the network input
    normalise: Literal["auto", "imagenet", "zscore", "unit"] = "auto"  # auto: imagenet for RGB, z-score for grey
    labelled: Labelled = 1.0  # training patients whose masks a method may see: 0.1, 10 %, 3 patients, [ids]
    labelled_per_batch: int | None = Field(None, ge=1)  # the first cases of each batch are labelled, the rest are not
    cache: Path | None = None  # where decoded uint8 arrays are kept; None: ``DS/.cache``
    augment: AugmentConfig = AugmentConfig()


NETWORKS: Final = ("basic_unet", "small_unet", "dropout_unet", "efficientnet_lite0")
MONAI: Final = "monai:"


def _network_name(value: str) -> str:
    if value not in NETWORKS and not value.startswith(MONAI):
        known = f"{', '.join(NETWORKS)} or {MONAI}CLASS as in {MONAI}UNet"
        raise ValueError(f"unknown network{near_miss(value, NETWORKS)}; choose {known}")
    return value


class NetworkConfig(Section):
    """The segmentation network, a choice apart from the method."""

    name: Annotated[str, AfterValidator(_network_name)] = "basic_unet"
    features: tuple[int, ...] | None = None  # channel widths; None: the published; monai: one
    options: dict[str, Any] = Field(default_factory=dict)  # of a monai: network, its keyword arguments
    pretrained: bool = True  # efficientnet_lite0 only


Trackers = Annotated[
    tuple[Literal["tensorboard", "mlflow", "wandb"], ...],
    BeforeValidator(_one_or_more),  # one, as --train.log tensorboard
]


class TrainConfig(Section):
    """The one training loop. Defaults are GazeMedSeg's appendix recipe."""

    init_from: Path | None = None  # a run of the same method to start from: its chosen checkpoint, with optimiser state
    iterations: int = Field(15_000, ge=1)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)  # micro-batches a step; effective batch = batch_size * accumulate
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(1e-2, gt=0)
    lr_min: float = Field(1e-4, ge=0)
    momentum: float = Field(0.99, ge=0, lt=1)  # sgd only
    nesterov: bool = True  # sgd only; SSL4MIS and BCP do without
    weight_decay: float = Field(4e-4, ge=0)
    schedule: Literal["cosine", "poly", "one_cycle", "constant"] = "cosine"
    warmup: float = Field(0.0, ge=0, lt=1)  # share of the iterations; linear
    clip_norm: float | None = Field(None, gt=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = True
    compile: bool = False
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    resident: bool = True  # keep the decoded uint8 data set on the device when that device is a GPU
    threads: int | None = Field(None, ge=1)  # CPU threads of torch; None: all cores
    select: Literal["last", "validation"] = "last"  # never the test split
    validation_fraction: float = Field(0.1, gt=0, lt=1)  # carved from train by patient when there is no val split
    hold_out_seed: int | None = Field(None, ge=0)  # of the carving, with select: last too; None: seed, for select only
    validate_every: int = Field(1000, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    log_every: int = Field(20, ge=1)
    log: Trackers = ()  # beside metrics.jsonl, metrics.csv and curves.png: tensorboard, mlflow, wandb


class EvaluateConfig(Section):
    """Rules of the evaluation, written into every result."""

    resize: Literal["logit", "probability", "label"] = "logit"  # what is upsampled to native size; label: nearest pixel
    by: Literal["case", "volume"] = "case"  # what a score, and the validation, is of; volume: slices taken together
    both_empty: float = Field(1.0, ge=0, le=1)  # Dice and IoU where truth and prediction are both empty
    hd_definition: Literal["pooled", "max"] = "pooled"  # headline HD95: medpy's, or MONAI's
    bootstrap: int = Field(10_000, ge=100)


class TextConfig(Section):
    """Which text embeddings a method with text learns from."""

    path: Path | None = None  # the folder that ``gazeseg encode`` wrote; None: ``DS/text``
    control: Literal["none", "shuffled_cases"] = "none"  # shuffled: every image gets another one's text
    seed: int = Field(0, ge=0)  # of the control; not the run's, so that seeds share one shuffle


class RunConfig(Section):
    """A whole training run. ``method`` is validated by the named method's own ``Config``."""

    method: dict[str, Any]
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    gaze: GazeConfig = GazeConfig()
    pseudo: PseudoConfig = PseudoConfig()
    partial: PartialConfig = PartialConfig()
    text: TextConfig = TextConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


S = TypeVar("S", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: ``off`` is a word (``crf.mode off``) and ``1e-3`` a number, unlike in YAML 1.1."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"([-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.inf|\.nan)$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Parse a YAML document or scalar with the scalars of YAML 1.2."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: if the file is missing, is no YAML or is no mapping.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a YAML configuration") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected sections with keys, got {type(document).__name__}")
    return document


def write_yaml(path: Path, config: BaseModel) -> None:
    """Write every key of ``config``, defaults included."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the nested keys of ``over`` on top.

    Examples:
        >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
        {'a': {'x': 1, 'y': 3}}
    """
    out = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


def parse_overrides(tokens: Iterable[str]) -> dict[str, Any]:
    """Turn ``["--train.lr", "1e-3", "--data.size=96,96"]`` into nested keys; values are read as YAML.

    A comma makes a list.

    Raises:
        ConfigError: if a token is no ``--section.key`` or has no value.
    """
    out: dict[str, Any] = {}
    pending = list(tokens)
    while pending:
        token = pending.pop(0)
        if not token.startswith("--") or "." not in token:
            raise ConfigError(f"unknown argument '{token}'; configuration keys are given as --section.key value")
        key, joined, value = token[2:].partition("=")
        if not joined:
            if not pending:
                raise ConfigError(f"--{key} has no value; give it as --{key} VALUE")
            value = pending.pop(0)
        parsed: Any = parse_yaml(f"[{value}]") if "," in value and not value.startswith("[") else parse_yaml(value)
        nested: dict[str, Any] = {}
        level = nested
        *sections, leaf = key.split(".")
        for section in sections:
            level = level.setdefault(section, {})
        level[leaf] = parsed
        out = merge(out, nested)
    return out


def build(model: type[S], values: Mapping[str, Any], where: str) -> S:
    """Validate ``values`` into ``model``; ``where`` (a file or section) opens the one-line error.

    Raises:
        ConfigError: for an unknown key (with the nearest known one) or a value that does not fit.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{where}: unknown key '{'.'.join(path)}'{suggest(path[-1], _keys(model, path[:-1]))}"
            ) from None
        message = first["msg"].removeprefix("Value error, ")
        got = first.get("input")
        raise ConfigError(f"{where}: key '{'.'.join(path)}': {message}, got {got!r}") from None


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Known keys of the section at ``path`` below ``model``."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
