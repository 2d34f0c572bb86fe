"""A recipe from its name to a table: the runs through the runner of ablations, then result file and verdict."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazeseg.ablate.grid import Grid, make_grid
from gazeseg.ablate.run import Executor, run_grid
from gazeseg.ablate.state import is_finished, refuse_changes
from gazeseg.config import merge
from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate.compare import markdown_table
from gazeseg.reproduce.recipe import Recipe, scales
from gazeseg.reproduce.result import SUFFIX, Result, make_result
from gazeseg.reproduce.verdict import judged
from gazeseg.train.runfolder import RunFolder, replace_file

TABLE = "table.md"
PRETRAIN = "pretrain"  # folder of the runs that others start from


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came out."""

    result: Result
    missing: tuple[str, ...]  # runs that are not finished
    failures: Mapping[str, str]

    def to_text(self) -> str:
        """Return a Markdown page: ours and the published figure, the verdict, and what has to be known to read it."""
        result = self.result
        lines = [
            f"# {result.recipe} at {result.scale}",
            _about(result),
            "\n".join(_table(result)),
            verdict_text(result),
        ]
        if self.missing:
            lines.append(f"**Incomplete: {', '.join(self.missing)} missing.** Give the same command again.")
        return "\n\n".join(lines)

    def write(self, out: Path) -> None:
        """Write ``table.md`` and the result file into ``out``."""
        self.result.write(out / f"{self.result.name}{SUFFIX}")
        replace_file(out / TABLE, (self.to_text() + "\n").encode())


def plan(
    recipe: Recipe, scale: str, seeds: Sequence[int], data: Path | None, overrides: Mapping[str, Any] | None = None
) -> tuple[Grid, ...]:
    """Return the grids of one cell that a recipe stands for: its own, after that of the runs from which it starts.

    Args:
        recipe: The recipe.
        scale: Its budget.
        seeds: One run each.
        data: The data set to train on.
        overrides: Nested keys over those of the recipe; the result is then not that of the recipe, and says so.

    Raises:
        ConfigError: if no data set is named, the recipe has no such scale, or a key does not fit.
    """
    if data is None:
        raise ConfigError(
            f"{recipe.name} is run on {recipe.dataset_name}; name its folder with --data DS, made by: "
            f"{recipe.dataset.importer}"
        )
    entry = recipe.dataset
    document = {
        "title": f"{recipe.name} at {scale}",
        "base": recipe.config(scale),
        "cells": {recipe.method: {}},
        "reference": recipe.method,
        "by": entry.by,
        "protocol": entry.protocol or "gazeseg",
    }
    over = {**(overrides or {})}
    over["data"] = {**over.get("data", {}), "path": os.path.abspath(data)}
    if not recipe.pretrained(scale):
        return (make_grid(document, Path(recipe.name), over, seeds),)
    before = {"title": f"{recipe.name} at {scale}, first stage", "base": recipe.pretrain_config(scale), "split": "val"}
    return tuple(make_grid({**document, **changes}, Path(recipe.name), over, seeds) for changes in (before, {}))


def reproduce(
    recipe: Recipe,
    scale: str,
    grids: Sequence[Grid],
    out: Path,
    *,
    evaluate_data: Path | None = None,
    jobs: int | None = None,
    executor: Executor = "local",
    train: bool = True,
) -> Reproduction:
    """Run what is missing of a planned recipe and judge what is there.

    Args:
        recipe: The recipe.
        scale: Its budget.
        grids: As :func:`plan` returns them.
        out: The folder of the runs, as an ablation leaves them, with table and result file. Runs from which others
            start lie in ``out/pretrain``.
        evaluate_data: The data set to score on, where the one to train on has no masks.
        jobs: Runs at a time.
        executor: ``local`` or ``slurm``.
        train: Off: judge what is there and run nothing.

    Raises:
        ConfigError: if runs in ``out`` were begun with other keys.
        DataError: if the data set lacks what the recipe learns from, or no run is finished.
    """
    out = Path(os.path.abspath(out))
    *before, grid = grids
    ready, failures = list(grid.seeds), {}
    for first in before:
        grid = _starting(grid, out / PRETRAIN)
        if train:
            found = run_grid(first, out / PRETRAIN, data=evaluate_data, jobs=jobs, executor=executor)
            failures = {f"{PRETRAIN}/{name}": error for name, error in found.failures.items()}
        ready = [run.seed for run in first.runs(out / PRETRAIN) if is_finished(run, first.evaluation)]
    if train and ready:
        runnable = dataclasses.replace(grid, seeds=tuple(ready))
        failures |= run_grid(runnable, out, data=evaluate_data, jobs=jobs, executor=executor).failures
    finished, missing = [], []
    for run in grid.runs(out):
        refuse_changes(run)
        if is_finished(run, grid.evaluation):
            finished.append(run)
        else:
            missing.append(run.name)
    if not finished:
        failed = "; ".join(f"{name}: {error}" for name, error in failures.items())
        raise DataError(f"{out}: no run of {recipe.name} is finished{f' ({failed})' if failed else ''}")
    changed = tuple(recipe.changes(RunFolder(finished[0].folder).config(), scale))
    result = judged(make_result([run.folder for run in finished], grid.evaluation), recipe, scale, changed)
    return Reproduction(result, tuple(missing), failures)


def _starting(grid: Grid, before: Path) -> Grid:
    """Return the grid with every run starting from that of its seed below ``before``."""
    cells = []
    for cell in grid.cells:
        start = {"train": {"init_from": str(before / cell.name / "seed{seed}")}}
        cells.append(dataclasses.replace(cell, values=merge(cell.values, start)))
    return dataclasses.replace(grid, cells=tuple(cells))


def verdict_text(result: Result) -> str:
    """Return verdict, reasons and caveats as one paragraph of Markdown."""
    verdict = result.verdict
    if verdict is None:
        return ""
    text = f"Verdict: **{verdict.word}**: {'; '.join(verdict.why)}."
    return text + (f" To be known: {'; '.join(verdict.caveats)}." if verdict.caveats else "")


def listing(recipes: Mapping[str, Recipe]) -> str:
    """Return every recipe with its data set, figure and scales as a Markdown table."""
    lines = [["recipe", "trains", "split", "published Dice", "source", "scales"]]
    for recipe in recipes.values():
        dice, spread = recipe.published.figures[recipe.dataset_name]
        lines.append(
            [
                recipe.name,
                recipe.summary,
                f"{recipe.dataset_name}, {recipe.dataset.split}",
                percent(dice, spread),
                recipe.published.source,
                ", ".join(recipe.scales),
            ]
        )
    budgets = {
        (recipe.name.partition("/")[0] if recipe.budgets != scales() else "", name): scale.about
        for recipe in recipes.values()
        for name, scale in recipe.budgets.items()
    }
    notes = [f"{name}{f' of {group}' if group else ''}: {about}." for (group, name), about in budgets.items()]
    notes += [
        f"{recipe.name} at {scale} is two runs, the second from the first."
        for recipe in recipes.values()
        for scale in recipe.scales
        if recipe.pretrained(scale)
    ]
    notes += [f"{recipe.name} needs {recipe.needs}." for recipe in recipes.values() if recipe.needs]
    return "\n".join([*markdown_table(lines), "", *notes])


def percent(mean: float | None, spread: float | None = None) -> str:
    """Write a Dice in percent with its spread, as published tables do.

    Examples:
        >>> percent(0.7780, 0.0102)
        '77.80 +- 1.02'
    """
    if mean is None:
        return "-"
    return f"{100 * mean:.2f}" + ("" if spread is None else f" +- {100 * spread:.2f}")


def _about(result: Result) -> str:
    gaze = {"none": "no gaze", "simulated": "simulated gaze (uses ground truth)"}.get(
        result.gaze, f"{result.gaze} gaze"
    )
    parts = [
        f"{result.dataset} {result.split}, {result.test.cases} {result.by}s (split {result.test.checksum})",
        gaze + (f", control: {result.control}" if result.control else ""),
        *([f"text {result.text}"] if result.text != "none" else []),
        f"protocol {result.protocol}",
        f"checkpoint {result.select}",
        f"status {result.status}",
    ]
    return ", ".join(parts)


def _table(result: Result) -> list[str]:
    dice, published = result.dice, result.published
    low, high = dice.ci95 or (float("nan"), float("nan"))
    rows = [
        ["", "Dice % +- std over seeds", "95 % CI over cases", "seeds", "source"],
        [
            f"ours, {result.scale}",
            percent(dice.mean, dice.seed_sd),
            f"{100 * low:.1f} to {100 * high:.1f}",
            ", ".join(
                f"{seed}: {100 * value:.2f}" for seed, value in zip(result.seeds, result.dice_by_seed, strict=True)
            ),
            f"gazeseg {result.software['gazeseg']}",
        ],
    ]
    if published is not None:
        title = f"published, {published.label}"
        figure = percent(published.dice, published.seed_sd)
        rows.append([title, figure, "-", str(published.seeds), f"{published.source} ({published.read})"])
    return markdown_table(rows)
