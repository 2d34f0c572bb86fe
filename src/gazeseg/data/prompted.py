"""Pseudo-masks that a promptable model draws where gaze points it: ``gazeseg masks --refine prompt``.

A folder like that of :mod:`gazeseg.data.pseudo`, so that every method can learn from it, and beyond that::

    stability/<case>.png  16-bit grey: 1 where all prompts agree, 0 where half of them say foreground
    prompts.csv           a row a case: the signs of its quality, the score made of them, and why it fell back
    quality.csv           as ever, with a column ``source``: rows ``crf`` (or ``heatmap``) are the way without a model

A case whose prompted mask cannot be trusted keeps its CRF map (the heatmap, with ``crf.mode off``), or with
``prompt.students`` what these think; it has stability 0 and says why in the column ``fallback``: those are the cases to
review.
"""

from __future__ import annotations

import functools
import hashlib
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from scipy.stats import spearmanr

from gazeseg.config import MasksConfig, SoftSource, write_yaml
from gazeseg.data.cache import resize_map
from gazeseg.data.casewise import Rows, Table, complete, cores, read_rows
from gazeseg.data.controls import behind_maps
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import write_map
from gazeseg.data.pseudo import (
    PROMPTS,
    QUALITY,
    QUALITY_COLUMNS,
    PseudoFolder,
    case_key,
    case_maps,
    check_folder,
    has_mask,
    label_cases,
    score_levels,
    write_targets,
)
from gazeseg.data.schema import MAY_HAVE_SEEN
from gazeseg.errors import DataError
from gazeseg.supervision.fusion import Labelled, label_case
from gazeseg.supervision.levels import nested_levels
from gazeseg.supervision.prompts import Promptable
from gazeseg.types import Float32Array, UInt8Array

PROMPTS_COLUMNS: Final = (
    *("case_id", "fallback", "score"),
    *("dwell", "agreement", "stability", "predicted_iou", "area", "prompts", "objects"),
)
FEW: Final = 3  # fewer cases have no rank correlation worth a line


class Opinion(Protocol):
    """What else is thought of an image than what gaze says: ``prompt.students``."""

    identity: str
    """Names the weights: a case is done again when it changes."""

    def __call__(self, image: UInt8Array) -> Float32Array:
        """Return (H, W) foreground in 0..1 of an image, (H, W, 1) or (H, W, 3) uint8; from several threads at once."""


def make_prompted_masks(
    dataset: Dataset,
    out: Path,
    config: MasksConfig,
    model: Promptable,
    *,
    opinion: Opinion | None = None,
    jobs: int | None = None,
) -> PseudoFolder:
    """Make or complete a folder of prompted pseudo-masks; a killed run goes on where it was.

    Args:
        dataset: Where images and fixations come from; its masks are used for ``quality.csv`` only.
        out: The folder; cases in it that are up to date are kept.
        config: A resolved configuration with ``refine: prompt``.
        model: The promptable model; each image is encoded once.
        opinion: What the students of the configuration think, if it names any.
        jobs: Threads, one case each.

    Raises:
        ConfigError: if ``out`` holds masks of another gaze control, or others than prompted ones.
        DataError: if no case has gaze, the data set has no images, or a file cannot be read.
    """
    check_folder(out, config)
    dataset = behind_maps(dataset, config.gaze)
    cases = label_cases(dataset, config.gaze)
    if any(case.image is None for case in cases):
        raise DataError(
            f"{dataset.root}: a promptable model needs images and the data set has none; leave out --refine"
        )
    folder = PseudoFolder(out, config)
    kinds = [*folder.sources, "stability", "levels", "ternary"]
    for kind in kinds:
        (out / kind).mkdir(parents=True, exist_ok=True)
    # neither where a run lies nor what it is called decides, but its weights
    decides = config.model_dump_json(exclude={"gaze": True, "maps": set(config.maps.inactive), "prompt": {"students"}})
    decides += model.identity + (opinion.identity if opinion else "")
    digest = hashlib.sha256(decides.encode()).hexdigest()
    keys = {case: case_key(dataset, case, digest) for case in cases}
    write_yaml(out / "config.yaml", config)
    tables = [Table(PROMPTS, PROMPTS_COLUMNS, lambda case: True)]
    if dataset.has_masks:
        tables.append(Table(QUALITY, (*QUALITY_COLUMNS, "source"), has_mask))
    complete(
        out,
        keys,
        functools.partial(_make_case, folder, dataset, model, opinion),
        files=lambda case: (folder.file(kind, case.case_id) for kind in kinds),
        tables=tables,
        title="prompted masks",
        jobs=jobs or cores(),
    )
    return folder


def describe_prompted(folder: PseudoFolder) -> str:
    """Say in a few lines how the prompted masks compare with the way without a model, and which cases to review."""
    rows = read_rows(folder.path / PROMPTS)
    fallen = [row["case_id"] for row in rows if row["fallback"]]
    lines = []
    plain = _plain(folder)
    for threshold, scores in folder.quality(plain).items():
        dice = statistics.fmean(score["dice"] for score in scores)
        lines.append(f"  {plain} alone, threshold {threshold:g}: Dice {dice:.3f} ({len(scores)} cases)")
    matched = np.array(list(score_and_dice(folder).values())).reshape(-1, 2)
    if len(matched) >= FEW and (np.ptp(matched, axis=0) > 0).all():
        rank = float(spearmanr(matched[:, 0], matched[:, 1]).statistic)
        lines.append(f"  the score of a case (without truth) and its Dice correlate with {rank:.2f} (Spearman)")
    kept = "the map of the students" if folder.config.prompt.students else f"their {plain} map"
    lines.append(f"  {len(fallen)} of {len(rows)} cases fell back to {kept} ({PROMPTS} says why)")
    if fallen:
        lines.append(f"  to review: {', '.join(fallen[:5])}{', ...' if len(fallen) > 5 else ''}")
    lines.append(f"  caution: {MAY_HAVE_SEEN}")
    return "\n".join(lines)


def score_and_dice(folder: PseudoFolder) -> dict[str, tuple[float, float]]:
    """Return by case the score without truth and the Dice of the written mask; empty without true masks."""
    scores = folder.scores()
    dice: dict[str, float] = {}
    for row in read_rows(folder.path / QUALITY):
        if row["source"] == "prompt":
            dice.setdefault(row["case_id"], float(row["dice"]))  # at the first threshold
    return {case: (score, dice[case]) for case, score in scores.items() if case in dice}


def _make_case(
    folder: PseudoFolder, dataset: Dataset, model: Promptable, opinion: Opinion | None, case: Case
) -> Mapping[str, Rows]:
    """Write the files of one case and return its rows."""
    config, name = folder.config, case.case_id
    heat, refined = case_maps(dataset, case, config)
    plain = heat if refined is None else refined
    fix = dataset.fixations[name]
    image = dataset.image(case)
    second = None if opinion is None else opinion(image)
    found = label_case(model, image, fix, heat, plain, config.prompt, opinion=second, resize=resize_map)
    soft: dict[SoftSource, Float32Array] = {"heatmap": heat, "crf": plain, "prompt": found.probability}
    for kind in folder.sources:
        write_map(folder.file(kind, name), soft[kind])
    write_map(folder.file("stability", name), found.stability)
    chosen = config.pseudo.source
    levels = write_targets(folder, case, soft[chosen], soft[config.pseudo.ternary_source])
    tables: dict[str, Rows] = {PROMPTS: [_signs(name, found)]}
    if has_mask(case):
        other = _plain(folder) if chosen == "prompt" else "prompt"
        compared = nested_levels(soft[other], folder.thresholds, image_id=name)
        tables[QUALITY] = [
            {**row, "source": source}
            for source, masks in ((chosen, levels), (other, compared))
            for row in score_levels(dataset, case, masks)
        ]
    return tables


def _signs(case_id: str, found: Labelled) -> dict[str, Any]:
    signs = {} if found.quality is None else {k: f"{v:.4f}" for k, v in asdict(found.quality).items()}
    counts = {"prompts": found.prompts, "objects": found.objects}
    return {"case_id": case_id, "fallback": found.fallback, "score": "0.0000", **signs, **counts}


def _plain(folder: PseudoFolder) -> SoftSource:
    return "crf" if "crf" in folder.sources else "heatmap"
