"""From a data set's fixations to a folder of pseudo-masks, and reading that folder.

::

    config.yaml           what produced the files (MasksConfig)
    heatmap/<case>.png    16-bit grey, value / 65535 in [0, 1]: the plain gaze heatmap
    crf/<case>.png        the same, refined by the dense CRF (absent with crf.mode off)
    prompt/<case>.png     the same, by a promptable model (refine: prompt alone, see :mod:`gazeseg.data.prompted`)
    levels/<case>.png     indexed colour: pixel value k passes the k lowest thresholds, so one file holds all levels
    ternary/<case>.png    indexed colour: 0 background, 1 foreground, 255 ignore; from heatmap or prompted map
    quality.csv           case_id, threshold, dice, precision, recall, gaze; only where the data set has masks
    index.csv             case_id, key: a case is redone when its image, gaze or configuration changed

Cases of the test split are left out: nothing may learn from them. Masks of controlled gaze (section ``gaze`` of the
configuration) have a folder of their own, ``pseudo-<control>``, with the cases of the training split alone; prompted
ones have ``pseudo-prompt``, beside the folder that they refine.
"""

from __future__ import annotations

import functools
import hashlib
import os
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gazeseg.config import GazeConfig, MasksConfig, RunConfig, SoftSource, build, merge, read_yaml, write_yaml
from gazeseg.data.casewise import INDEX, Rows, Table, complete, cores, read_rows
from gazeseg.data.controls import behind_maps
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import read_indexed, read_map, safe_name, write_indexed, write_map
from gazeseg.data.schema import SIMULATED
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.control import changes_maps, control_label, control_slug, map_control
from gazeseg.supervision.crf import crf_probability
from gazeseg.supervision.heatmap import heatmap
from gazeseg.supervision.levels import nested_levels, ternary
from gazeseg.supervision.quality import mask_quality
from gazeseg.types import IGNORE, Float32Array, PseudoMasks, UInt8Array

DEFAULT_THRESHOLDS = (0.5, 0.3)  # GazeMedSeg on Kvasir-SEG; a data set's own stand in its dataset.yaml
QUALITY = "quality.csv"
PROMPTS = "prompts.csv"  # of prompted masks alone
QUALITY_COLUMNS = ("case_id", "threshold", "dice", "precision", "recall", "gaze")
LEVEL_COLOURS = ((0, 0, 0), (0, 90, 140), (86, 180, 233), (240, 228, 66), (230, 159, 0), (213, 94, 0))
TERNARY_COLOURS = {0: (0, 0, 0), 1: (255, 255, 255), IGNORE: (128, 128, 128)}
PROMPTED = {"pseudo": {"source": "prompt"}, "partial": {"tau_f": 0.7, "tau_b": 0.3}}  # what refine: prompt sets


def resolve_config(dataset: Dataset, overrides: Mapping[str, Any], *, like: Path | None = None) -> MasksConfig:
    """Return the defaults, under what the data set recommends, under ``overrides``; thresholds are filled in.

    Under a gaze control, the recipe of the pseudo-masks of the true gaze comes before ``overrides``, where they are
    there: a control differs from them in the gaze alone.

    Args:
        dataset: Whose recommendation counts.
        overrides: Sections of :class:`MasksConfig`.
        like: The folder of the true gaze; None: ``DS/pseudo``, or ``DS/pseudo-prompt``.

    Raises:
        ConfigError: for a key or value that does not fit, or a control that leaves the pseudo-masks as they are.
    """
    values = merge({"pseudo": {"thresholds": DEFAULT_THRESHOLDS}}, dataset.info.supervision)
    if overrides.get("refine") == "prompt":
        values = merge(values, PROMPTED)  # what a data set recommends is for the maps of the heatmap
    config = build(MasksConfig, merge(values, overrides), "masks")
    if config.pseudo.source == "prompt" and config.refine != "prompt":
        raise ConfigError("masks: pseudo.source prompt needs prompted masks; add --refine prompt")
    if config.prompt.students and config.refine != "prompt":
        raise ConfigError("masks: prompt.students are asked about prompted masks; add --refine prompt")
    if config.gaze.control == "none":
        return config
    if not changes_maps(config.gaze):
        raise ConfigError(
            f"gaze.control {config.gaze.control}, gaze.scope {config.gaze.scope}: leaves the pseudo-masks as they are; "
            f"make those of the true gaze: gazeseg masks {dataset.root}"
        )
    true_gaze = default_path(dataset.root, GazeConfig(), prompted=config.refine == "prompt")
    recipe = (like or true_gaze) / "config.yaml"
    if not recipe.is_file():
        return config
    return build(MasksConfig, merge(merge(values, read_yaml(recipe)), overrides), "masks")


def default_path(root: Path, gaze: GazeConfig, *, prompted: bool = False, students: bool = False) -> Path:
    """Return the pseudo-mask folder of a data set under a control: ``DS/pseudo``, ``DS/pseudo-shuffled_cases`` ...

    Prompted ones have a folder of their own: ``DS/pseudo-prompt``, ``DS/pseudo-prompt-shuffled_cases`` ...; so have
    those with a second opinion, ``DS/pseudo-prompt-students``, since the students have learnt from the first ones.
    """
    return root / f"pseudo{'-prompt' * prompted}{'-students' * students}{control_slug(gaze)}"


def pseudo_path(config: RunConfig, dataset: Dataset) -> Path:
    """Return the absolute path of the folder that a run learns from: ``data.pseudo``, else the default one."""
    prompted = config.pseudo.source == "prompt"
    chosen = config.data.pseudo or default_path(dataset.root, config.gaze, prompted=prompted)
    return Path(os.path.abspath(chosen.expanduser()))


def masks_command(config: RunConfig, dataset: Dataset) -> str:
    """Return the command that makes the pseudo-masks of a run, without the folder that they go to."""
    control, seed = map_control(config.gaze)
    keys = " --refine prompt" * (config.pseudo.source == "prompt")
    keys += "" if control == "none" else f" --gaze.control {control}"
    return f"gazeseg masks {dataset.root}{keys}" + (f" --gaze.seed {seed}" if seed else "")


def ensure_masks(config: RunConfig, dataset: Dataset, *, jobs: int | None = None) -> Path:
    """Return the pseudo-mask folder of a run, made first where it is not there: for those who start many runs.

    Where ``data.pseudo`` names the folder of the true gaze and the run is under a control, the masks of the control lie
    beside it: give the run what this returns as its ``data.pseudo``.

    Args:
        config: The run. A control that leaves the pseudo-masks as they are needs those of the true gaze.
        dataset: Its data set.
        jobs: As for :func:`make_masks`.

    Raises:
        ConfigError: if ``data.pseudo`` names a folder of another control.
        DataError: as :func:`make_masks`, and for prompted masks that are not there: they need a model.
    """
    path, recipe = pseudo_path(config, dataset), None
    if (path / "config.yaml").is_file():
        there = PseudoFolder.load(path)
        if not there.made_under(config.gaze):
            if there.config.gaze.control != "none":
                there.require(config, dataset)
            path, recipe = path.with_name(path.name + control_slug(config.gaze)), path
    indexed = {row["case_id"] for row in read_rows(path / INDEX)}
    if indexed.issuperset(case.case_id for case in dataset.split("train")):
        PseudoFolder.load(path).require(config, dataset)
        return path
    wanted = {"gaze": config.gaze.model_dump()} if changes_maps(config.gaze) else {}
    resolved = resolve_config(dataset, wanted, like=recipe)
    if "prompt" in (config.pseudo.source, resolved.refine):
        prompted = config.model_copy(update={"pseudo": config.pseudo.model_copy(update={"source": "prompt"})})
        raise DataError(f"{path}: prompted masks are missing; run: {masks_command(prompted, dataset)} --out {path}")
    make_masks(dataset, path, resolved, jobs=jobs)
    return path


def case_maps(dataset: Dataset, case: Case, config: MasksConfig) -> tuple[Float32Array, Float32Array | None]:
    """Compute the heatmap (H, W) of one case and its CRF refinement, None with ``crf.mode: off``."""
    heat = heatmap(dataset.fixations[case.case_id], config.maps).values
    if config.crf.mode == "off":
        return heat, None
    if not heat.any():
        return heat, heat  # no gaze: nothing to refine
    return heat, crf_probability(dataset.image(case), heat, config.crf)


@dataclass(frozen=True, slots=True)
class PseudoFolder:
    """A folder that :func:`make_masks` wrote."""

    path: Path
    config: MasksConfig

    @classmethod
    def load(cls, path: Path) -> PseudoFolder:
        """Open a folder.

        Raises:
            DataError: if it is not there or holds no finished masks.
        """
        if not (path / "config.yaml").is_file() or not (path / INDEX).is_file():
            raise DataError(f"{path}: no pseudo-masks there; make them with: gazeseg masks {path.parent}")
        return cls(path, build(MasksConfig, read_yaml(path / "config.yaml"), str(path / "config.yaml")))

    def made_under(self, gaze: GazeConfig) -> bool:
        """True where the masks are those that a run under ``gaze`` learns from."""
        return map_control(self.config.gaze) == map_control(gaze)

    def require(self, config: RunConfig, dataset: Dataset) -> None:
        """Raise ConfigError with the command to run where the masks are those of another gaze control."""
        if not self.made_under(config.gaze):
            (got, seed), (wanted, wanted_seed) = map_control(self.config.gaze), map_control(config.gaze)
            raise ConfigError(
                f"{self.path}: was made with gaze.control {got} (seed {seed}), the run needs {wanted} (seed "
                f"{wanted_seed}); leave data.pseudo out and run: {masks_command(config, dataset)}"
            )

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Thresholds in the order of the configuration, which is the order of the levels."""
        assert self.config.pseudo.thresholds is not None  # noqa: S101 -- resolve_config fills them in
        return self.config.pseudo.thresholds

    @property
    def drawn_by(self) -> str:
        """Who drew the prompted maps: ``lite_medsam``, ``lite_medsam and 2 students``; empty where there are none."""
        if self.config.refine != "prompt":
            return ""
        prompt = self.config.prompt
        count = len(prompt.students)
        name = Path(prompt.model).name  # of a folder: where it lies says nothing
        return name + (f" and {count} student{'s' * (count > 1)}" if count else "")

    def file(self, kind: str, case_id: str) -> Path:
        """Path of one case's ``kind``: heatmap, crf, prompt, stability, levels or ternary."""
        return self.path / kind / f"{safe_name(case_id)}.png"

    @property
    def sources(self) -> tuple[SoftSource, ...]:
        """The soft maps that the folder holds."""
        crf: tuple[SoftSource, ...] = () if self.config.crf.mode == "off" else ("crf",)
        prompt: tuple[SoftSource, ...] = ("prompt",) if self.config.refine == "prompt" else ()
        return ("heatmap", *crf, *prompt)

    def soft(self, source: SoftSource, case_id: str) -> Float32Array:
        """Read a soft map, (H, W) in [0, 1].

        Raises:
            DataError: if the folder was made without it.
        """
        self.require_soft(source)
        return read_map(self._existing(source, case_id))

    def require_soft(self, source: SoftSource) -> None:
        """Raise DataError if the folder was made without a soft map."""
        if source not in self.sources:
            how = "with crf.mode off" if source == "crf" else "without --refine prompt"
            raise DataError(
                f"{self.path}: made {how}, so it has no {source} maps; set --pseudo.source {self.sources[-1]}"
            )

    def heatmap(self, case_id: str) -> Float32Array:
        """Read the plain heatmap, (H, W) in [0, 1]."""
        return self.soft("heatmap", case_id)

    def crf(self, case_id: str) -> Float32Array:
        """Read the CRF-refined map, (H, W) in [0, 1]."""
        return self.soft("crf", case_id)

    def levels(self, case_id: str) -> UInt8Array:
        """Read the nested levels, (L, H, W) of 0 and 1 in the order of ``thresholds``."""
        count = read_indexed(self._existing("levels", case_id))
        rank = {threshold: position + 1 for position, threshold in enumerate(sorted(self.thresholds))}
        return np.stack([(count >= rank[threshold]).astype(np.uint8) for threshold in self.thresholds])

    def ternary(self, case_id: str) -> UInt8Array:
        """Read the ternary target, (H, W) of 0, 1 and 255."""
        return read_indexed(self._existing("ternary", case_id))

    def quality(
        self, source: SoftSource | None = None, *, among: Collection[str] | None = None
    ) -> dict[float, list[dict[str, float]]]:
        """Scores against the truth by threshold; empty where the data set has no masks.

        Args:
            source: Of which soft map; None: of the one that the levels are cut from.
            among: The cases that count; None: all.
        """
        scores: dict[float, list[dict[str, float]]] = {}
        for row in read_rows(self.path / QUALITY):
            if row.get("source", self.config.pseudo.source) != (source or self.config.pseudo.source):
                continue
            if among is not None and row["case_id"] not in among:
                continue
            values = {name: float(row[name]) for name in ("dice", "precision", "recall")}
            scores.setdefault(float(row["threshold"]), []).append(values)
        return scores

    def scores(self) -> dict[str, float]:
        """Return by case how far its mask is to be trusted, 0..1; empty for a folder that no promptable model made."""
        return {row["case_id"]: float(row["score"]) for row in read_rows(self.path / PROMPTS)}

    def describe(self) -> str:
        """Say in a few lines where the masks are and how good."""
        label = control_label(self.config.gaze)
        lines = [f"pseudo-masks in {self.path}" + (f", gaze {label}" if label else "")]
        for threshold, rows in self.quality().items():
            dice, precision, recall = (
                statistics.fmean(row[name] for row in rows) for name in ("dice", "precision", "recall")
            )
            spread = statistics.pstdev(row["dice"] for row in rows)
            lines.append(
                f"  threshold {threshold:g}: Dice {dice:.3f} +- {spread:.3f}, precision {precision:.3f}, "
                f"recall {recall:.3f} against the truth ({len(rows)} cases)"
            )
        if any(row.get("gaze") == SIMULATED for row in read_rows(self.path / QUALITY)):
            lines.append(f"  {SIMULATED}")
        return "\n".join(lines)

    def _existing(self, kind: str, case_id: str) -> Path:
        file = self.file(kind, case_id)
        if not file.is_file():
            raise DataError(f"{file}: no {kind} for case '{case_id}'; make it with: gazeseg masks {self.path.parent}")
        return file


def make_masks(dataset: Dataset, out: Path, config: MasksConfig, *, jobs: int | None = None) -> PseudoFolder:
    """Make or complete a pseudo-mask folder, in parallel over cases.

    Args:
        dataset: Where images and fixations come from; its masks are used for ``quality.csv`` only.
        out: The folder; cases in it that are up to date are kept.
        config: A resolved configuration, see :func:`resolve_config`.
        jobs: Threads; the CRF kernel and the image codecs release the interpreter lock.

    Raises:
        ConfigError: if ``out`` holds masks of another gaze control, or prompted ones.
        DataError: if no case has gaze, or a file cannot be read.
    """
    check_folder(out, config)
    dataset = behind_maps(dataset, config.gaze)
    cases = label_cases(dataset, config.gaze)
    if config.crf.mode != "off" and any(case.image is None for case in cases):
        raise DataError(f"{dataset.root}: the CRF needs images and the data set has none; add --crf.mode off")
    folder = PseudoFolder(out, config)
    kinds = ["heatmap", "levels", "ternary"] + ([] if config.crf.mode == "off" else ["crf"])
    for kind in kinds:
        (out / kind).mkdir(parents=True, exist_ok=True)
    # gaze: by its fixations; prompts are for the stage after this one
    left_out: dict[str, Any] = {"gaze": True, "refine": True, "prompt": True, "maps": set(config.maps.inactive)}
    digest = hashlib.sha256(config.model_dump_json(exclude=left_out).encode()).hexdigest()
    keys = {case: case_key(dataset, case, digest) for case in cases}
    write_yaml(out / "config.yaml", config)
    complete(
        out,
        keys,
        functools.partial(_make_case, folder, dataset),
        files=lambda case: (folder.file(kind, case.case_id) for kind in kinds),
        tables=[Table(QUALITY, QUALITY_COLUMNS, has_mask)] if dataset.has_masks else [],
        title="pseudo-masks",
        jobs=jobs or cores(),
    )
    return folder


def check_folder(out: Path, config: MasksConfig) -> None:
    """Raise ConfigError if ``out`` holds masks of another kind: of another gaze control, or refined in another way."""
    if not (out / "config.yaml").is_file():
        return
    there = read_yaml(out / "config.yaml")
    if map_control(GazeConfig.model_validate(there.get("gaze", {}))) != map_control(config.gaze):
        raise ConfigError(f"{out}: holds pseudo-masks of another gaze control; name another folder with --out")
    if there.get("refine", "none") != config.refine:
        raise ConfigError(
            f"{out}: holds pseudo-masks of refine {there.get('refine', 'none')}, not {config.refine}; name another "
            "folder with --out"
        )


def label_cases(dataset: Dataset, gaze: GazeConfig) -> list[Case]:
    """Return the cases that get pseudo-masks: the training split, and others but the test split that have gaze.

    Args:
        dataset: With the gaze behind the maps.
        gaze: Its control.

    Raises:
        DataError: if none of them has a fixation.
    """
    controlled = changes_maps(gaze)
    cases = [
        case
        for case in dataset.cases
        if case.split == "train"
        or (case.split != "test" and not controlled and len(dataset.fixations[case.case_id]))  # gaze of no use scores 0
    ]
    if not any(len(dataset.fixations[case.case_id]) for case in cases):
        raise DataError(f"{dataset.root}: no training case has a fixation; import the data set with --gaze CSV")
    return cases


def write_targets(folder: PseudoFolder, case: Case, soft: Float32Array, ternary_of: Float32Array) -> PseudoMasks:
    """Write the nested levels cut from ``soft`` (H, W) and the ternary target of ``ternary_of``; return the levels."""
    config = folder.config
    levels = nested_levels(soft, folder.thresholds, image_id=case.case_id)
    palette = dict(enumerate(LEVEL_COLOURS))
    write_indexed(folder.file("levels", case.case_id), levels.labels.sum(axis=0, dtype=np.uint8), palette)
    sure = ternary(ternary_of, config.partial.tau_f, config.partial.tau_b)
    write_indexed(folder.file("ternary", case.case_id), sure, TERNARY_COLOURS)
    return levels


def score_levels(dataset: Dataset, case: Case, levels: PseudoMasks) -> Rows:
    """Return a row of ``quality.csv`` a threshold; the case must have a mask."""
    truth = dataset.mask(case)
    gaze = SIMULATED if dataset.info.gaze.kind == "simulated" else dataset.info.gaze.kind
    rows = []
    for threshold, labels in zip(levels.thresholds, levels.labels, strict=True):
        # gaze says "here is something", not which class: any foreground counts as truth
        score = mask_quality(labels.astype(bool), (truth > 0) & (truth != IGNORE))
        figures = {name: f"{value:.6f}" for name, value in score.items()}
        rows.append({"case_id": case.case_id, "threshold": threshold, **figures, "gaze": gaze})
    return rows


def has_mask(case: Case) -> bool:
    """True for a case that ``quality.csv`` has rows of."""
    return case.mask is not None


def _make_case(folder: PseudoFolder, dataset: Dataset, case: Case) -> dict[str, Rows]:
    """Write the files of one case and return its quality rows, none without a true mask."""
    config = folder.config
    heat, refined = case_maps(dataset, case, config)
    write_map(folder.file("heatmap", case.case_id), heat)
    if refined is not None:
        write_map(folder.file("crf", case.case_id), refined)
    soft = refined if refined is not None and config.pseudo.source == "crf" else heat
    levels = write_targets(folder, case, soft, heat)
    return {QUALITY: score_levels(dataset, case, levels) if has_mask(case) else []}


def case_key(dataset: Dataset, case: Case, config_digest: str) -> str:
    """Hash what decides the files of one case."""
    digest = hashlib.sha256(config_digest.encode())
    for file in (case.image, case.mask):
        if file is not None:
            try:
                stat = file.stat()
            except FileNotFoundError:
                raise DataError(f"{file}: gone (case '{case.case_id}'); mend 'roots' in dataset.yaml") from None
            digest.update(f"|{stat.st_size}|{stat.st_mtime_ns}".encode())
    fixations = dataset.fixations[case.case_id]
    for array in (fixations.x_px, fixations.y_px, fixations.duration_ms):
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
