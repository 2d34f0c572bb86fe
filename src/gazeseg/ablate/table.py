"""The table of a grid: what is there of it, each cell against the reference.

``table.json``::

    title, note, grid, reference, split, protocol, dataset, n_cases, by, unit, headline_hd95
    complete     whether every cell has every seed
    tests        number of tests in Holm's correction: the cells that are there besides the reference
    missing      [{"run": "cell/seed0", "error": the failure in this call or null}]
    cells        a row a cell that has a run, in the order of the grid, the reference first:
      name, changes (dotted key -> value), control, method, status, gaze, runs, seeds, annotation
      metrics    {metric: {"mean", "seed_sd", "ci95", "n"}}: dice, iou, ..., hd95_penalised
      missed, false_alarms
      against    null for the reference, else {"difference", "ci95", "p", "p_holm"}: Dice less the reference's
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazeseg.ablate.grid import Cell, Grid
from gazeseg.ablate.state import is_finished, refuse_changes
from gazeseg.data.schema import MAY_HAVE_SEEN
from gazeseg.errors import DataError
from gazeseg.evaluate.compare import Comparison, PairTest, Row, compare_groups, markdown_table
from gazeseg.report.text import p_value, plural
from gazeseg.train.runfolder import RunFolder, replace_file

_LIMIT = 4  # changed keys shown in a row; table.json has all


@dataclass(frozen=True, slots=True)
class Table:
    """What a grid found so far."""

    grid: Grid
    comparison: Comparison  # rows by cell name, the reference first where it is there; tests against it only
    controls: Mapping[str, str]  # by cell: what was spoilt on purpose, "" where nothing was
    missing: tuple[str, ...]  # runs that are not finished
    failures: Mapping[str, str]

    def to_text(self) -> str:
        """Return a Markdown page: title, table, and what has to be known to read it."""
        grid, found = self.grid, self.comparison
        tests = {test.second: test for test in found.tests}
        header = ["cell", "changed", "status", "gaze", "seeds", "Dice [95 % CI]", "sd seeds"]
        header += [f"less {grid.reference} [95 % CI]", "p", "p (Holm)", f"HD95 penalised {found.unit}", "missed"]
        cells = {cell.name: cell for cell in grid.cells}
        lines = [
            [
                row.label,
                _changed(cells[row.label]),
                row.status,
                row.gaze,
                f"{len(row.seeds)} of {len(grid.seeds)}",
                *_dice(row),
                *_against(tests.get(row.label)),
                _number(row.cells["hd95_penalised"].mean, 1),
                f"{row.missed:g}",
            ]
            for row in found.rows
        ]
        title = f"{found.dataset} {found.split}, {found.cases} {found.by}s, protocol {found.protocol}"
        parts = [
            f"# {grid.title}",
            *([grid.note] if grid.note else []),
            title,
            "\n".join(markdown_table([header, *lines])),
        ]
        return "\n\n".join([*parts, *self._notes()])

    def to_json(self) -> str:
        """Return every number; see the module for the schema."""
        grid, found = self.grid, self.comparison
        tests = {test.second: test for test in found.tests}
        changes = {cell.name: cell.changes for cell in grid.cells}
        cells = []
        for row in found.rows:
            values = dataclasses.asdict(row)
            values["name"], values["metrics"] = values.pop("label"), values.pop("cells")
            test = tests.get(row.label)
            against = test and {
                "difference": test.difference,
                "ci95": test.ci95,
                "p": test.p,
                "p_holm": test.p_holm,
                "seeds": test.seeds,
            }
            cells.append(
                {**values, "changes": changes[row.label], "control": self.controls[row.label], "against": against}
            )
        shared = ("dataset", "split", "protocol", "cases", "by", "unit", "headline_hd95")
        head = {"title": grid.title, "note": grid.note, "grid": grid.path.name, "reference": grid.reference}
        document: dict[str, Any] = {
            **head,
            **{("n_cases" if key == "cases" else key): getattr(found, key) for key in shared},
            "complete": not self.missing,
            "tests": len(found.tests),
            "missing": [{"run": name, "error": self.failures.get(name)} for name in self.missing],
            "cells": cells,
        }
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"

    def write(self, out: Path) -> None:
        """Write ``table.md`` and ``table.json`` into ``out``."""
        replace_file(out / "table.md", (self.to_text() + "\n").encode())
        replace_file(out / "table.json", self.to_json().encode())

    def _notes(self) -> list[str]:
        grid, found = self.grid, self.comparison
        notes = []
        if self.missing:
            total = len(grid.cells) * len(grid.seeds)
            failed = [name for name in self.missing if name in self.failures]
            text = f"**Incomplete: {total - len(self.missing)} of {plural(total, 'run')}.** Missing: "
            notes.append(text + ", ".join(f"{n} (failed)" if n in failed else n for n in self.missing) + ".")
        if found.rows[0].label != grid.reference:
            notes.append(f"The reference '{grid.reference}' has no finished run yet, so nothing is tested.")
        else:
            notes.append(
                f"Tests: paired Wilcoxon against '{grid.reference}' on the Dice of each case, averaged over the seeds "
                f"that both have; Holm over {plural(len(found.tests), 'test')}. Intervals: bootstrap over cases; "
                "sd: over seeds."
            )
        notes.append("HD95 penalised charges the image diagonal for a missed case; missed: mean count over seeds.")
        controls = [f"{row.label} ({self.controls[row.label]})" for row in found.rows if self.controls[row.label]]
        if controls:
            notes.append(f"Controls, in which something was spoilt on purpose: {', '.join(controls)}.")
        if any("simulated" in row.gaze for row in found.rows):
            notes.append("Simulated gaze uses ground truth: these rows say nothing about recorded gaze.")
        leaks = {row.gaze_leak: row.label for row in reversed(found.rows) if row.gaze_leak}
        notes += [f"What it gives away in '{label}': {leak}." for leak, label in reversed(leaks.items())]
        if any(row.drawn_by for row in found.rows):
            notes.append(f"Masks by a promptable model: {MAY_HAVE_SEEN}.")
        if any(row.status == "reconstruction" for row in found.rows):
            notes.append("A reconstruction was not checked against its paper.")
        if found.protocol == "legacy":
            notes.append("Legacy protocol: empty masks are scored as in released code; do not mix with other tables.")
        return notes


def make_table(grid: Grid, out: Path, failures: Mapping[str, str] | None = None) -> Table:
    """Collect the finished runs of a grid.

    Args:
        grid: The declared grid.
        out: The folder of its results.
        failures: Errors of the runs that failed in this call.

    Raises:
        ConfigError: if a run was begun with other keys than the grid asks for.
        DataError: if no run is finished.
    """
    groups: dict[str, list[Path]] = {}
    missing = []
    for run in grid.runs(out):
        refuse_changes(run)
        if is_finished(run, grid.evaluation):
            groups.setdefault(run.cell.name, []).append(run.folder)
        else:
            missing.append(run.name)
    if not groups:
        raise DataError(f"{out}: no run of {grid.path} is finished there; leave --table-only out to run it")
    order = sorted((cell.name for cell in grid.cells), key=lambda name: name != grid.reference)
    comparison = compare_groups({name: groups[name] for name in order if name in groups}, grid.evaluation)
    if grid.reference not in groups:
        comparison = dataclasses.replace(comparison, tests=())
    controls = {name: _control(folders[0]) for name, folders in groups.items()}
    return Table(grid, comparison, controls, tuple(missing), failures or {})


def _control(folder: Path) -> str:
    """Name the controls that a run was under."""
    config = RunFolder(folder).config()
    found = []
    if config.gaze.control != "none":
        scope = ", tracks only" if config.gaze.scope == "track" else ""
        found.append(f"gaze {config.gaze.control}{scope}")
    if config.text.control != "none":
        found.append(f"text {config.text.control}")
    return ", ".join(found)


def _changed(cell: Cell) -> str:
    shown = [f"{key} {_value(value)}" for key, value in cell.changes.items()][:_LIMIT]
    more = len(cell.changes) - len(shown)
    return ", ".join(shown + ([f"and {plural(more, 'more key')}"] if more else [])) or "-"


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "/".join(map(str, value))
    return "inline" if isinstance(value, Mapping) else str(value).lower() if isinstance(value, bool) else str(value)


def _dice(row: Row) -> list[str]:
    cell = row.cells["dice"]
    interval = "" if cell.ci95 is None else f" [{cell.ci95[0]:.3f}, {cell.ci95[1]:.3f}]"
    return [_number(cell.mean, 3) + interval, _number(cell.seed_sd, 3)]


def _against(test: PairTest | None) -> list[str]:
    if test is None:
        return ["-", "-", "-"]
    low, high = test.ci95
    return [f"{test.difference:+.3f} [{low:+.3f}, {high:+.3f}]", p_value(test.p), p_value(test.p_holm)]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
