"""Scores and logs of runs as tables and charts of the report: results, failures, training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from gazeseg.data.schema import MAY_HAVE_SEEN, SIMULATED
from gazeseg.data.text import STAND_IN
from gazeseg.evaluate.annotation import distinct_notes
from gazeseg.evaluate.compare import Row
from gazeseg.report.figures import Line, Strip, interval_mark, line_chart, strip_plot
from gazeseg.report.runs import Block, Group, Run
from gazeseg.report.text import how_to_evaluate, interval, number, p_value, plural
from gazeseg.train.runfolder import Task
from gazeseg.types import CaseScore, FloatArray

FAILURE_DICE: Final = 0.3
SHOWN_FAILURES: Final = 60


def results_context(blocks: Sequence[Block], runs: Sequence[Run], split: str) -> dict[str, Any]:
    """Tables, tests and the distribution of the cases, for the template."""
    tables = [_table(block, titled=len(blocks) > 1) for block in blocks]
    missing = ""
    if not blocks:
        missing = f"No run is evaluated on the split '{split}' yet. {how_to_evaluate(runs[0].folder.path, split)}"
    protocols = sorted({block.comparison.protocol for block in blocks})
    note = f"Protocol: {', '.join(protocols)}" if protocols else ""
    if "legacy" in protocols:
        note += " (empty masks scored as in released code: compare with published tables only)"
    return {"blocks": tables, "missing": missing, "protocol": note}


def _table(block: Block, *, titled: bool) -> dict[str, Any]:
    comparison = block.comparison
    best = next(iter(block.weak()), None)
    rows, scale = [], _scale(block)
    for group in block.groups:
        assert group.row is not None  # noqa: S101 -- blocks are made of evaluated rows
        cells, row = group.row.cells, group.row
        dice = cells["dice"]
        low, high = dice.ci95 or (math.nan, math.nan)
        distance = cells[comparison.headline_hd95]
        rows.append(
            {
                "label": row.label,
                "colour": group.colour,
                "best": group is best and len(block.groups) > 1,
                "tags": _tags(group),
                "annotation": row.annotation.text,
                "seeds": len(row.seeds),
                "dice": number(dice.mean),
                "interval": interval(dice.ci95),
                "mark": interval_mark(dice.mean if dice.mean is not None else math.nan, low, high, group.colour, scale),
                "std": number(dice.seed_sd),
                "iou": number(cells["iou"].mean),
                "classes": [f"{number(cell.mean)} {interval(cell.ci95)}" for cell in row.classes.values()],
                "hd95": number(distance.mean, 1),
                "asd": number(cells["asd"].mean, 1),
                "missed": f"{row.missed:g}",
                "alarms": f"{row.false_alarms:g}",
            }
        )
    tests = [
        {
            "first": test.second,
            "second": test.first,
            "difference": ("+" if test.difference > 0 else "") + number(test.difference),
            "p": p_value(test.p),
            "holm": p_value(test.p_holm),
        }
        for test in comparison.tests
    ]
    strips = []
    for group in block.groups:
        values = group.dice()
        cell = group.row.cells["dice"] if group.row else None
        low, high = (cell.ci95 if cell else None) or (math.nan, math.nan)
        mean = cell.mean if cell is not None and cell.mean is not None else math.nan
        strips.append(Strip(group.label, np.array(list(values.values())), list(values), group.colour, mean, low, high))
    definition = "pooled" if comparison.headline_hd95 == "hd95" else "max"
    return {
        "title": f"{comparison.dataset}, {comparison.protocol} protocol, {_gaze_of(block)}" if titled else "",
        "unit": comparison.unit,
        "class_names": list(comparison.rows[0].classes),
        "rows": rows,
        "tests": tests,
        "averaged": any(len(group.runs) > 1 for group in block.groups),
        "distribution": strip_plot(strips, x_label="Dice"),
        "caption": (
            f"{plural(comparison.cases, comparison.by)} of {comparison.dataset}. "
            "Bold: best method whose loss saw no mask. "
            f"HD95 ({definition}) and ASD (directed) are over the cases in which both surfaces exist; missed and false "
            f"alarms are counted apart{', as means over seeds' if any(len(g.runs) > 1 for g in block.groups) else ''}. "
            f"The interval is a bootstrap over cases, drawn from {scale[0]:g} to {scale[1]:g}."
        ),
        "notes": _notes(comparison.rows),
    }


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [f"Annotation, {note}." for note in distinct_notes(row.annotation for row in rows)]
    if any(row.drawn_by for row in rows):
        notes.append(f"Masks by a promptable model: {MAY_HAVE_SEEN}.")
    return notes


def _scale(block: Block) -> tuple[float, float]:
    """Range of the small interval figures: round values that hold every interval of the table."""
    bounds = [bound for row in block.comparison.rows for bound in row.cells["dice"].ci95 or ()]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    return max(0.0, math.floor(low * 10 - 0.5) / 10), min(1.0, math.ceil(high * 10 + 0.5) / 10)


def _gaze_of(block: Block) -> str:
    kinds = {group.runs[0].gaze for group in block.groups} - {"none"}
    return f"{' and '.join(sorted(kinds)) or 'no'} gaze"


def _tags(group: Group) -> list[dict[str, Any]]:
    status = group.row.status if group.row else ""
    tags: list[dict[str, Any]] = []
    if status:
        tags.append({"text": status, "warn": status == "reconstruction"})
    if group.supervised:
        tags.append({"text": "saw masks", "warn": False})
    if group.runs[0].gaze == "simulated":
        leak = group.runs[0].task.gaze_leak
        tags.append({"text": f"{SIMULATED}; {leak}" if leak else SIMULATED, "warn": True})
    if group.runs[0].control:
        tags.append({"text": f"control: {group.runs[0].control}", "warn": True})
    drawn_by = group.runs[0].task.drawn_by
    if drawn_by:
        tags.append({"text": f"masks by {drawn_by}", "warn": True})
    text = group.runs[0].task.text
    if text != "none":
        tags.append({"text": f"text: {text}", "warn": STAND_IN in text})
    return tags


def failures_context(groups: Sequence[Group]) -> dict[str, Any]:
    """Cases and classes below the Dice limit or missed, worst first; one row for all seeds of a method."""
    found: dict[tuple[str, str, int], list[CaseScore]] = {}
    names: dict[int, str] = {}
    for group in groups:
        for run in group.runs:
            names |= dict(enumerate(run.task.classes))
            for score in run.scores:
                if score.dice < FAILURE_DICE or score.empty == "prediction":
                    found.setdefault((group.label, score.case_id, score.class_index), []).append(score)
    by_label = {group.label: group for group in groups}
    rows = [
        {
            "case_id": case_id,
            "method": label,
            "colour": by_label[label].colour,
            "runs": f"{len(scores)} of {len(by_label[label].runs)}",
            "class_name": names.get(index, str(index)),
            "dice": number(sum(score.dice for score in scores) / len(scores)),
            "reason": "; ".join(dict.fromkeys(_reason(score) for score in scores)),
        }
        for (label, case_id, index), scores in found.items()
    ]
    rows.sort(key=lambda row: (row["dice"], row["case_id"], row["method"]))
    scored = any(run.scores for run in (run for group in groups for run in group.runs))
    caption = ""
    if rows:
        caption = "Dice is the mean over the runs that failed. A case that fails for every method deserves a look."
    if len(rows) > SHOWN_FAILURES:
        caption += f" The worst {SHOWN_FAILURES} of {len(rows):,} are listed; cases.csv of each run holds the rest."
    missing = "" if scored else "Nothing is evaluated yet."
    if scored and not rows:
        missing = f"None: every object was found, with a Dice of at least {FAILURE_DICE}."
    return {
        "rows": rows[:SHOWN_FAILURES],
        "missing": missing,
        "caption": caption,
        "limit": FAILURE_DICE,
        "multiclass": len(names) > 2,
    }


def _reason(score: CaseScore) -> str:
    if score.empty == "prediction":
        return "missed: nothing predicted"
    if score.empty == "truth":
        return "false alarm: the truth is empty"
    if score.sensitivity == 0:
        return "elsewhere: no overlap with the truth"
    return "too small or shifted" if score.precision >= score.sensitivity else "too large or shifted"


def training_context(groups: Sequence[Group]) -> dict[str, Any]:
    """Curves of all runs together and one row a run."""
    losses: list[Line] = []
    validations: list[Line] = []
    rows = []
    for group in groups:
        for run in group.runs:
            log = run.folder.metrics()
            label = f"{group.label}, seed {run.seed}"
            steps, loss = _column(log, "loss")
            if len(steps):
                losses.append(Line(label, steps, loss, group.colour, faint=True))
                losses.append(Line(label, steps, _smooth(loss), group.colour))
            steps, dice = _column(log, "val/dice")
            if len(steps):
                validations.append(Line(label, steps, dice, group.colour))
            rows.append(_training_row(group, run, log))
    charts = []
    if losses:
        caption = "Thin: as logged; thick: smoothed. Methods differ in their terms: compare shapes, not heights."
        svg = line_chart(losses, x_label="iteration", y_label="loss", log_y=True)
        charts.append({"title": "Training loss", "svg": svg, "caption": caption})
    if validations:
        svg = line_chart(validations, x_label="iteration", y_label="Dice")
        caption = "On cases held out of training, at network size; never the test split."
        charts.append({"title": "Validation Dice", "svg": svg, "caption": caption})
    legend = [{"label": group.label, "colour": group.colour} for group in groups]
    missing = "" if charts else "No run left a metrics.jsonl, so there are no curves."
    return {"charts": charts, "legend": legend, "rows": rows, "missing": missing}


def _training_row(group: Group, run: Run, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    train, task = run.config.train, run.task
    done = max((int(row["step"]) for row in log), default=0)
    seconds = max((float(row["time_s"]) for row in log if row.get("time_s") is not None), default=math.nan)
    iterations = (
        f"{train.iterations:,}" if done >= train.iterations or not done else f"{done:,} of {train.iterations:,}"
    )
    return {
        "run": run.name,
        "method": group.label,
        "colour": group.colour,
        "seed": run.seed,
        "iterations": iterations,
        "time": _duration(seconds),
        "parameters": f"{task.parameters / 1e6:.2f} M",
        "cases": f"{task.train_cases:,}",
        "supervision": _supervision(task),
        "select": train.select,
    }


def _supervision(task: Task) -> str:
    if task.mask_supervised and task.gaze == "none":
        return "masks"
    kind = SIMULATED if task.gaze == "simulated" else f"{task.gaze} gaze"
    kind = f"masks and {kind}" if task.mask_supervised else kind
    if task.gaze_control:
        kind = f"{kind}, {task.gaze_control}"
    if task.drawn_by:
        kind = f"{kind}; masks by {task.drawn_by}"
    return kind if task.text == "none" else f"{kind}; text: {task.text}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _column(log: Sequence[Mapping[str, Any]], name: str) -> tuple[FloatArray, FloatArray]:
    rows = [(row["step"], row[name]) for row in log if row.get(name) is not None]
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _smooth(values: FloatArray) -> FloatArray:
    """Exponential mean over about a twentieth of the log, unbiased at the start."""
    keep = 1 - 1 / max(1.0, len(values) / 20)
    out = np.empty_like(values)
    total = weight = 0.0
    for index, value in enumerate(values):
        total, weight = keep * total + value, keep * weight + 1
        out[index] = total / weight
    return out
