"""Runs side by side on the same cases: mean, spread over seeds, uncertainty over cases, paired tests.

Runs whose configuration differs in the seed alone form one row. Of each case and metric the mean over foreground
classes is taken first, then over seeds; the mean over cases and its bootstrap interval come from those. The spread over
seeds is the standard deviation (n - 1) of the per-run means. Every row is tested against the first one by Wilcoxon's
signed-rank test on the Dice of the same cases, with Holm's correction over the tests. Two rows of which one has more
seeds meet on those that both have, so that a lucky seed of one alone decides nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from gazeseg.data.schema import MAY_HAVE_SEEN
from gazeseg.errors import DataError
from gazeseg.evaluate.annotation import Cost, annotation_cost, distinct_notes
from gazeseg.evaluate.groups import deciding, name_rows
from gazeseg.evaluate.results import METRICS, nan_mean, read_cases, read_summary
from gazeseg.evaluate.stats import bootstrap_ci, holm, paired_wilcoxon
from gazeseg.train.runfolder import RunFolder, Task

_SHARED: Final = ("protocol", "dataset", "split", "by", "unit", "resize", "headline_hd95")


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one row; ``n`` cases have a value. Without one, ``mean`` and ``ci95`` are None."""

    mean: float | None
    seed_sd: float | None  # None for a single run
    ci95: tuple[float, float] | None
    n: int


@dataclass(frozen=True, slots=True)
class Row:
    """Runs that differ in the seed alone."""

    label: str
    method: str
    status: str
    gaze: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell]  # by metric; also hd95_penalised, which has no interval
    missed: float  # mean count over runs
    false_alarms: float
    annotation: Cost
    gaze_leak: str = ""  # how well simulated gaze alone agrees with the truth
    classes: Mapping[str, Cell] = dataclasses.field(default_factory=dict)  # Dice of each class, of two or more
    text: str = "none"  # who described the images, and the control that the text was under
    drawn_by: str = ""  # the promptable model that drew the pseudo-masks


@dataclass(frozen=True, slots=True)
class PairTest:
    """Paired test of two rows on the Dice of the same cases."""

    first: str
    second: str
    difference: float  # mean Dice of second less first
    ci95: tuple[float, float]  # of the difference, bootstrap over cases
    p: float
    p_holm: float
    seeds: tuple[int, ...]  # those that both rows have, over which the Dice of a case is averaged; empty: all of each


@dataclass(frozen=True, slots=True)
class Comparison:
    """The table."""

    dataset: str
    split: str
    protocol: str
    cases: int
    by: str
    unit: str
    headline_hd95: str
    rows: tuple[Row, ...]
    tests: tuple[PairTest, ...]

    def to_text(self) -> str:
        """Return an aligned Markdown table with a line above and notes below."""
        definition = "pooled" if self.headline_hd95 == "hd95" else "max"
        header = ["run", "status", "gaze", "annotation h", "seeds", "Dice [95 % CI]", "sd seeds", "IoU"]
        header += [
            f"HD95 {self.unit}",
            f"HD95 penalised {self.unit}",
            f"ASSD {self.unit}",
            "missed",
            "false alarms",
            "p (Holm)",
        ]
        lines = [header]
        against_first = {test.second: test for test in self.tests if test.first == self.rows[0].label}
        for row in self.rows:
            dice, test = row.cells["dice"], against_first.get(row.label)
            low, high = dice.ci95 or (math.nan, math.nan)
            lines.append(
                [
                    row.label,
                    row.status,
                    row.gaze,
                    row.annotation.text,
                    str(len(row.seeds)),
                    f"{_number(dice.mean, 3)} [{low:.3f}, {high:.3f}]",
                    _number(dice.seed_sd, 3),
                    _number(row.cells["iou"].mean, 3),
                    _number(row.cells[self.headline_hd95].mean, 1),
                    _number(row.cells["hd95_penalised"].mean, 1),
                    _number(row.cells["assd"].mean, 1),
                    f"{row.missed:g}",
                    f"{row.false_alarms:g}",
                    "-" if test is None else _p_value(test.p_holm),
                ]
            )
        notes = [
            f"HD95 {definition} and ASSD: over the cases that have both surfaces. Penalised: the image diagonal where "
            "one is missing, so that an empty mask never helps; judge by this one. Counts are means over seeds.",
            f"p: paired Wilcoxon on the Dice of the same cases against '{self.rows[0].label}', over the seeds that "
            f"both have (over all, where they share none); Holm over {len(self.tests)} tests.",
        ]
        notes += [f"text of '{row.label}': {row.text}." for row in self.rows if row.text != "none"]
        notes += [f"gaze of '{row.label}': {row.gaze}; {row.gaze_leak}." for row in self.rows if row.gaze_leak]
        notes += [f"masks of '{row.label}': by {row.drawn_by}; {MAY_HAVE_SEEN}." for row in self.rows if row.drawn_by]
        others = [test for test in self.tests if test.first != self.rows[0].label]
        notes += [f"{t.second} against {t.first}: {t.difference:+.3f} Dice, p {_p_value(t.p_holm)}" for t in others]
        if self.protocol == "legacy":
            notes.append("legacy protocol: empty masks are scored as in released code, do not mix with other tables.")
        kinds = {row.gaze for row in self.rows if row.gaze != "none"}
        if len(kinds) > 1:
            notes.append(f"rows differ in their gaze ({'; '.join(sorted(kinds))}): they do not show which method wins.")
        notes += [f"annotation h, {note}." for note in distinct_notes(row.annotation for row in self.rows)]
        title = f"{self.dataset} {self.split}, {self.cases} {self.by}s, protocol {self.protocol}"
        return "\n".join([title, "", *markdown_table(lines), "", *self._by_class(), *notes])

    def _by_class(self) -> list[str]:
        """Return the Dice of each class as a table of its own; nothing where there is one class."""
        names = list(self.rows[0].classes)
        if not names:
            return []
        lines = [["Dice [95 % CI]", *names, "mean"]]
        for row in self.rows:
            cells = [*row.classes.values(), row.cells["dice"]]
            lines.append([row.label, *(_with_interval(cell) for cell in cells)])
        return [*markdown_table(lines), ""]

    def to_json(self) -> str:
        """Return every number as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class _Run:
    """One evaluated run."""

    path: Path
    seed: int
    task: Task
    config: Mapping[str, Any]  # flat, without keys that change nothing
    summary: Mapping[str, Any]
    values: Mapping[str, npt.NDArray[np.float64]]  # metric -> (N,), mean over classes
    dice: npt.NDArray[np.float64]  # (C, N), of each class
    case_ids: tuple[str, ...]


def compare_runs(
    runs: Sequence[Path],
    split: str = "test",
    *,
    pairs: Literal["first", "all"] = "first",
    samples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare evaluated runs.

    Args:
        runs: Run folders; the first one's row is what the others are tested against.
        split: The evaluated split, or ``<split>-legacy``, ``<split>-volume``.
        pairs: Test each row against the first, or every pair.
        samples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        DataError: if a run is not evaluated on the split, is named twice, or was scored on other cases or by other
            rules than the rest.
    """
    if not runs:
        raise DataError("no run to compare; name run folders")
    groups: dict[str, list[_Run]] = {}
    for run in (_load(Path(run), split) for run in runs):
        groups.setdefault(json.dumps(run.config, sort_keys=True), []).append(run)
    firsts = [members[0] for members in groups.values()]
    labels = name_rows([run.config for run in firsts], [run.path for run in firsts])
    return _compare(dict(zip(labels, groups.values(), strict=True)), split, pairs, samples, seed)


def compare_groups(
    groups: Mapping[str, Sequence[Path]],
    split: str = "test",
    *,
    pairs: Literal["first", "all"] = "first",
    samples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare evaluated runs in rows of given names, each the runs of one configuration that differ in the seed.

    Two rows may have the same configuration; otherwise as :func:`compare_runs`.
    """
    loaded = {label: [_load(Path(run), split) for run in runs] for label, runs in groups.items() if runs}
    if not loaded:
        raise DataError("no run to compare; name run folders")
    return _compare(loaded, split, pairs, samples, seed)


def _compare(
    groups: Mapping[str, Sequence[_Run]], split: str, pairs: Literal["first", "all"], samples: int, seed: int
) -> Comparison:
    loaded = [run for members in groups.values() for run in members]
    for other in loaded[1:]:
        _check_same(loaded[0], other, split)
    for members in groups.values():
        _check_seeds(members)
    rows = tuple(_row(label, members, samples, seed) for label, members in groups.items())
    summary = loaded[0].summary
    return Comparison(
        dataset=str(summary["dataset"]),
        split=split,
        protocol=str(summary["protocol"]),
        cases=len(loaded[0].case_ids),
        by=str(summary["by"]),
        unit=str(summary["unit"]),
        headline_hd95=str(summary["headline_hd95"]),
        rows=rows,
        tests=_tests(groups, pairs, samples, seed),
    )


def _load(path: Path, split: str) -> _Run:
    folder = RunFolder(path)
    config = folder.config()
    evaluation = folder.evaluation(split)
    if not (evaluation / "summary.json").is_file():
        plain, _, variant = split.partition("-")
        option = {"": "", "legacy": " --legacy"}.get(variant, f" (variant {variant})")
        raise DataError(f"{path}: no evaluation on '{split}'; run: gazeseg evaluate {path} --split {plain}{option}")
    scores = read_cases(evaluation)
    case_ids = tuple(sorted({score.case_id for score in scores}))
    position = {case_id: index for index, case_id in enumerate(case_ids)}
    class_count = max(score.class_index for score in scores)
    tables = {metric: np.full((class_count, len(case_ids)), math.nan) for metric in METRICS}
    for score in scores:
        for metric, table in tables.items():
            table[score.class_index - 1, position[score.case_id]] = getattr(score, metric)
    return _Run(
        path=path,
        seed=config.train.seed,
        task=folder.task(),
        config=deciding(config),
        summary=read_summary(evaluation),
        values={metric: nan_mean(table) for metric, table in tables.items()},
        dice=tables["dice"],
        case_ids=case_ids,
    )


def _check_same(first: _Run, other: _Run, split: str) -> None:
    for key in _SHARED:
        one, two = first.summary.get(key), other.summary.get(key)
        if one != two:
            raise DataError(
                f"{other.path}: {key} is '{two}', but '{one}' in {first.path}; evaluate both by the same rules"
            )
    if first.summary["definitions"]["empty"] != other.summary["definitions"]["empty"]:
        raise DataError(
            f"{other.path}: scores empty masks otherwise than {first.path} (evaluate.both_empty); "
            "evaluate both by the same rules"
        )
    differing = set(first.case_ids) ^ set(other.case_ids)
    if differing:
        raise DataError(
            f"{other.path}: was scored on other cases than {first.path} ({len(differing)} are in one of the two only, "
            f"e.g. '{min(differing)}'); evaluate both on the same split '{split}'"
        )


def _check_seeds(members: Sequence[_Run]) -> None:
    """Two runs of one seed are one run counted twice."""
    seen: dict[int, _Run] = {}
    for run in members:
        if run.seed in seen:
            raise DataError(
                f"{run.path}: has the configuration and seed ({run.seed}) of {seen[run.seed].path}; name one of the two"
            )
        seen[run.seed] = run


def _over_seeds(members: Sequence[_Run], metric: str) -> npt.NDArray[np.float64]:
    return nan_mean(np.stack([run.values[metric] for run in members]))


def _row(label: str, members: Sequence[_Run], samples: int, seed: int) -> Row:
    cells = {}
    for metric in METRICS:
        values = _over_seeds(members, metric)
        there = values[np.isfinite(values)]
        per_run = [run.summary["mean"][metric]["mean"] for run in members]
        cells[metric] = Cell(
            mean=float(there.mean()) if len(there) else None,
            seed_sd=_seed_sd(per_run),
            ci95=bootstrap_ci(there, samples=samples, seed=seed) if len(there) else None,
            n=len(there),
        )
    penalised = [run.summary["mean"]["hd95_penalised"]["mean"] for run in members]
    known = [value for value in penalised if value is not None]
    cells["hd95_penalised"] = Cell(
        float(np.mean(known)) if known else None, _seed_sd(penalised), None, len(members[0].case_ids)
    )
    classes = {}
    if len(members[0].dice) > 1:
        for index, name in enumerate(members[0].task.classes[1:]):
            values = nan_mean(np.stack([run.dice[index] for run in members]))
            interval = bootstrap_ci(values, samples=samples, seed=seed)
            sd = _seed_sd([float(run.dice[index].mean()) for run in members])
            classes[name] = Cell(float(values.mean()), sd, interval, len(values))
    summary = members[0].summary
    return Row(
        label=label,
        method=str(summary["method"]),
        status=str(summary["status"]),
        gaze=str(summary["gaze"]),
        runs=tuple(str(run.path) for run in members),
        seeds=tuple(run.seed for run in members),
        cells=cells,
        missed=float(np.mean([run.summary["mean"]["missed"] for run in members])),
        false_alarms=float(np.mean([run.summary["mean"]["false_alarms"] for run in members])),
        annotation=annotation_cost([run.task for run in members]),
        gaze_leak=str(summary.get("gaze_leak", "")),
        classes=classes,
        text=str(summary.get("text", "none")),
        drawn_by=str(summary.get("drawn_by", "")),
    )


def _seed_sd(per_run: Sequence[float | None]) -> float | None:
    known = [value for value in per_run if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _tests(
    groups: Mapping[str, Sequence[_Run]], pairs: Literal["first", "all"], samples: int, seed: int
) -> tuple[PairTest, ...]:
    names = list(groups)
    chosen = [(names[0], name) for name in names[1:]] if pairs == "first" else list(itertools.combinations(names, 2))
    shared = [_shared_seeds(groups[first], groups[second]) for first, second in chosen]
    dice = [
        tuple(_over_seeds([run for run in groups[name] if not seeds or run.seed in seeds], "dice") for name in pair)
        for pair, seeds in zip(chosen, shared, strict=True)
    ]
    p_values = [paired_wilcoxon(*both) for both in dice]
    differences = [second - first for first, second in dice]
    return tuple(
        PairTest(*pair, float(change.mean()), bootstrap_ci(change, samples=samples, seed=seed), p, adjusted, seeds)
        for pair, change, p, adjusted, seeds in zip(chosen, differences, p_values, holm(p_values), shared, strict=True)
    )


def _shared_seeds(first: Sequence[_Run], second: Sequence[_Run]) -> tuple[int, ...]:
    return tuple(sorted({run.seed for run in first} & {run.seed for run in second}))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _with_interval(cell: Cell) -> str:
    low, high = cell.ci95 or (math.nan, math.nan)
    return f"{_number(cell.mean, 3)} [{low:.3f}, {high:.3f}]"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def markdown_table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of aligned cells with a rule below the first."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]
