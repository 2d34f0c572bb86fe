"""The result file: what one configuration reached over its seeds, small enough to send, complete enough to judge.

A file ``NAME.result.json`` is one :class:`Result`; its fields are the schema. It holds no path and no case. Dice and
the other overlaps are in [0, 1], distances in ``unit``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from gazeseg.config import RunConfig, Section
from gazeseg.data.split import split_checksum
from gazeseg.errors import DataError
from gazeseg.evaluate.compare import compare_groups
from gazeseg.evaluate.results import read_cases, read_summary
from gazeseg.reproduce.recipe import SplitPart
from gazeseg.train.runfolder import RunFolder, replace_file

SUFFIX: Final = ".result.json"
FORMAT: Final = "gazeseg-result-1"

Interval = tuple[float, float]
_PATHS: Final = (("data", "path"), ("data", "pseudo"), ("data", "cache"), ("text", "path"))


class Metric(Section):
    """One metric over cases and seeds; of each case the mean over foreground classes and seeds is taken first."""

    mean: float | None  # over cases; None where no case has a value
    seed_sd: float | None  # standard deviation (n - 1) of the means of the seeds; None for one seed
    ci95: Interval | None  # percentile bootstrap of the mean over cases
    n: int  # cases with a value


class Budget(Section):
    """What a run cost to compute."""

    size: tuple[int, int]  # (H, W) of the network input
    network: str
    parameters: int  # learnt, of all networks of the method
    iterations: int
    batch_size: int  # images a step, micro-batches together


class PublishedFigure(Section):
    """The figure that the result is held against."""

    label: str
    venue: str
    dice: float
    seed_sd: float | None
    seeds: int
    source: str
    read: Literal["own", "second-hand"]  # printed by its authors, or by whom ``source`` names
    selected: str  # how its checkpoint was chosen, as far as that is known


class Verdict(Section):
    """How the result stands to the published figure."""

    word: Literal["matches", "above", "below", "not comparable"]
    difference: float | None = None  # mean Dice less the published one; None where not comparable
    ci95: Interval | None = None  # of the difference, over seeds
    why: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()  # what has to be known even where they can be compared


class Result(Section):
    """One row of a leader-board."""

    format: Literal["gazeseg-result-1"] = FORMAT
    recipe: str | None  # of gazeseg reproduce; None: no recipe makes these runs
    scale: str | None  # cpu-small, paper
    changed: tuple[str, ...] = ()  # keys in which the runs differ from the recipe

    dataset: str
    train: SplitPart
    test: SplitPart
    split: str  # the evaluated split
    by: Literal["case", "volume"]
    protocol: Literal["gazeseg", "legacy"]  # rules for empty masks
    select: str  # last or validation; never the test split
    resize: str
    headline_hd95: str
    unit: str  # of the distances: px, mm or voxel

    method: str
    status: str  # paper, reconstruction, baseline, ours
    gaze: Literal["recorded", "simulated", "none"]  # that the method learnt from; simulated gaze uses ground truth
    control: str  # what was spoilt on purpose about gaze or text; empty: nothing
    text: str  # who described the images; none
    drawn_by: str = ""  # the promptable model that drew the pseudo-masks; empty: heatmap and CRF
    mask_supervised: bool  # whether the loss saw true masks
    annotation_h: float | None  # annotation time of the supervision, None where it is not known

    seeds: tuple[int, ...]
    dice_by_seed: tuple[float, ...]
    metrics: Mapping[str, Metric]  # dice, iou, ..., hd95_penalised
    missed: float  # mean count over seeds
    false_alarms: float
    both_empty: float

    budget: Budget
    config: Mapping[str, Any]  # of the runs, without paths and seed
    software: Mapping[str, str]  # gazeseg, torch, python
    device: str

    published: PublishedFigure | None = None
    verdict: Verdict | None = None

    @property
    def dice(self) -> Metric:
        """The metric that everything is ordered by."""
        return self.metrics["dice"]

    @property
    def name(self) -> str:
        """Stem of its file."""
        base = self.recipe.replace("/", "-") if self.recipe else f"{self.dataset}-{self.method}"
        parts = [base, self.scale or "", self.control, "legacy" if self.protocol == "legacy" else ""]
        return re.sub(r"[^\w.-]+", "_", "-".join(part for part in parts if part)).strip("_")

    def write(self, path: Path) -> None:
        """Write the file in one step."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        replace_file(path, (text + "\n").encode())


def make_result(runs: Sequence[Path], evaluation: str = "test") -> Result:
    """Gather evaluated runs that differ in the seed alone; recipe, published figure and verdict are left open.

    Args:
        runs: Run folders that differ in the seed alone.
        evaluation: Name of the folder below ``evaluation/``: the split, or ``<split>-legacy``.

    Raises:
        DataError: if a run is not evaluated, or was scored on other cases or by other rules than the rest.
    """
    found = compare_groups({"runs": runs}, evaluation)
    row = found.rows[0]
    folders = [RunFolder(run) for run in runs]
    summaries = [read_summary(folder.evaluation(evaluation)) for folder in folders]
    config, task, environment, summary = folders[0].config(), folders[0].task(), folders[0].environment(), summaries[0]
    case_ids = {score.case_id for score in read_cases(folders[0].evaluation(evaluation))}
    return Result(
        recipe=None,
        scale=None,
        dataset=found.dataset,
        train=SplitPart(**environment["train"]),
        test=SplitPart(cases=len(case_ids), checksum=split_checksum(case_ids)),
        split=str(summary["split"]),
        by=summary["by"],
        protocol=summary["protocol"],
        select=str(summary["select"]),
        resize=str(summary["resize"]),
        headline_hd95=found.headline_hd95,
        unit=found.unit,
        method=row.method,
        status=row.status,
        gaze="none" if summary["gaze"] == "none" else task.gaze,
        control=_control(config),
        text=row.text,
        drawn_by=row.drawn_by,
        mask_supervised=task.mask_supervised,
        annotation_h=row.annotation.hours,
        seeds=row.seeds,
        dice_by_seed=tuple(one["mean"]["dice"]["mean"] for one in summaries),
        metrics={
            name: Metric(mean=cell.mean, seed_sd=cell.seed_sd, ci95=cell.ci95, n=cell.n)
            for name, cell in row.cells.items()
        },
        missed=row.missed,
        false_alarms=row.false_alarms,
        both_empty=sum(one["mean"]["both_empty"] for one in summaries) / len(summaries),
        budget=Budget(
            size=config.data.size,
            network=config.network.name,
            parameters=task.parameters,
            iterations=config.train.iterations,
            batch_size=config.train.batch_size * config.train.accumulate,
        ),
        config=_without_paths(config),
        software={
            "gazeseg": environment["gazeseg"],
            "python": environment["python"],
            "torch": environment["packages"].get("torch", "unknown"),
        },
        device=environment["device"],
    )


def read_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        DataError: if it is no result file of this format, with the first field that does not fit.
    """
    try:
        return Result.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: not a result file of format {FORMAT} ({where}: {first['msg']})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def find_results(folder: Path) -> Iterator[Path]:
    """Yield the result files at or below ``folder``."""
    yield from sorted(folder.rglob(f"*{SUFFIX}"))


def _control(config: RunConfig) -> str:
    """Name what was spoilt on purpose, as in ``gaze shuffled_order (track)``."""
    parts = []
    if config.gaze.control != "none":
        scope = " (track)" if config.gaze.scope == "track" else ""
        parts.append(f"gaze {config.gaze.control}{scope}")
    if config.text.control != "none":
        parts.append(f"text {config.text.control}")
    return ", ".join(parts)


def _without_paths(config: RunConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    for section, key in _PATHS:
        values[section].pop(key)
    del values["train"]["seed"]
    return values
