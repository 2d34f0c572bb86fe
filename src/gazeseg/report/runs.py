"""Run folders as the report sees them: read, evaluated or not, and grouped into tables of comparable runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from gazeseg.config import RunConfig
from gazeseg.data.text import CONTROL_LABELS
from gazeseg.errors import DataError
from gazeseg.evaluate.compare import Comparison, Row, compare_runs
from gazeseg.evaluate.results import nan_mean, read_cases, read_summary
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import CaseScore

COLOURS: Final = 8  # classes m0..m7 of the style sheet
_SHARED: Final = ("dataset", "protocol", "by", "unit", "resize", "headline_hd95")  # what one table must have in common


@dataclass(frozen=True)
class Run:
    """A run folder, read; ``scores`` and ``summary`` are empty where it is not evaluated on the split."""

    folder: RunFolder
    config: RunConfig
    task: Task
    split: str
    scores: tuple[CaseScore, ...]
    summary: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path, split: str) -> Run:
        """Read a run.

        Raises:
            DataError: if ``path`` is no run folder, or its evaluation is broken.
        """
        folder = RunFolder(path)
        evaluation = folder.evaluation(split)
        scores: tuple[CaseScore, ...] = ()
        summary: Mapping[str, Any] = {}
        if (evaluation / "summary.json").is_file():
            scores, summary = tuple(read_cases(evaluation)), read_summary(evaluation)
        return cls(folder, folder.config(), folder.task(), split, scores, summary)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.path.resolve().name

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.config.method.get("name", "unknown method"))

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.train.seed

    @property
    def gaze(self) -> str:
        """Kind of the gaze: recorded, simulated or none."""
        return self.task.gaze

    @property
    def control(self) -> str:
        """What was spoilt about its gaze or its text on purpose, empty for nothing."""
        spoilt = [f"gaze {self.task.gaze_control}"] if self.task.gaze_control else []
        if self.config.text.control != "none":
            spoilt.append(f"text {CONTROL_LABELS[self.config.text.control]}")
        return ", ".join(spoilt)

    @cached_property
    def dice(self) -> dict[str, float]:
        """Dice of each case, the mean over its classes."""
        values: dict[str, list[float]] = {}
        for score in self.scores:
            values.setdefault(score.case_id, []).append(score.dice)
        return {case_id: float(nan_mean(np.array(classes)[:, None])[0]) for case_id, classes in values.items()}


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone: one row of a table, one colour of the page."""

    label: str
    colour: str
    runs: tuple[Run, ...]
    row: Row | None = None  # None where the runs are not evaluated

    @property
    def supervised(self) -> bool:
        """True where the loss saw true masks."""
        return self.runs[0].task.mask_supervised

    @property
    def bound(self) -> bool:
        """True where the loss saw every true mask: the fully supervised bound."""
        return self.supervised and self.runs[0].config.data.labelled == 1

    def dice(self) -> dict[str, float]:
        """Dice of each case, the mean over seeds."""
        tables = [run.dice for run in self.runs]
        ids = list(tables[0])
        values = nan_mean(np.array([[table.get(case_id, math.nan) for case_id in ids] for table in tables]))
        return dict(zip(ids, map(float, values), strict=True))


@dataclass(frozen=True)
class Block:
    """One results table: everything in it was scored on the same cases by the same rules."""

    comparison: Comparison
    groups: tuple[Group, ...]  # best Dice first

    def weak(self) -> list[Group]:
        """Groups that saw no mask, best Dice first; those of a control only where there is no other."""
        weak = [group for group in self.groups if not group.supervised]
        return [group for group in weak if not group.runs[0].control] or weak


def make_blocks(runs: Sequence[Run], split: str) -> tuple[list[Block], list[str]]:
    """Compare evaluated runs, apart by data set, by rules of evaluation, and by kind of gaze.

    Recorded and simulated gaze never share a table. Runs that cannot be compared still get a row, each in its own
    table, and a note says why.
    """
    kinds: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if run.scores:
            kinds.setdefault(tuple(str(run.summary.get(key)) for key in _SHARED), []).append(run)
    blocks: list[Block] = []
    notes: list[str] = []
    colour = 0
    for members in kinds.values():
        for part in _apart_by_gaze(members):
            try:
                comparisons = [(part, _compare(part, split))]
            except DataError as error:
                notes.append(f"Not compared: {error}")
                comparisons = [([run], _compare([run], split)) for run in part]
            for compared, comparison in comparisons:
                by_path = {str(run.folder.path): run for run in compared}
                groups = []
                for row in comparison.rows:
                    chosen = tuple(by_path[path] for path in row.runs)
                    groups.append(Group(row.label, f"m{colour % COLOURS}", chosen, row))
                    colour += 1
                groups.sort(key=lambda group: -_mean(group.row))
                blocks.append(Block(comparison, tuple(groups)))
    return blocks, notes


def _apart_by_gaze(runs: list[Run]) -> list[list[Run]]:
    kinds = sorted({run.gaze for run in runs} - {"none"})
    if len(kinds) < 2:
        return [runs]
    return [[run for run in runs if run.gaze in (kind, "none")] for kind in kinds]


def _compare(runs: Sequence[Run], split: str) -> Comparison:
    pairs = "all" if len({run.method for run in runs}) <= 4 else "first"
    return compare_runs([run.folder.path for run in runs], split, pairs="all" if pairs == "all" else "first")


def _mean(row: Row | None) -> float:
    value = row.cells["dice"].mean if row is not None else None
    return -1.0 if value is None else value
