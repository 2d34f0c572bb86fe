"""Whether a run knows when it is wrong: reliability, and risk against coverage, as ``gazeseg calibrate`` measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gazeseg.errors import DataError
from gazeseg.report.figures import Line, line_chart
from gazeseg.report.runs import Group, Run
from gazeseg.report.text import number

_NAMES = {
    "expected_dice": "expected Dice",
    "mean_entropy": "mean entropy, negated",
    "mean_disagreement": "mean disagreement, negated",
}


def uncertainty_context(groups: Sequence[Group]) -> dict[str, Any]:
    """Gather what was measured for every run that was measured; the first run of each method is drawn.

    Raises:
        DataError: if an ``uncertainty.json`` is broken.
    """
    found = [(group, run, result) for group in groups for run in group.runs if (result := _read(run)) is not None]
    if not found:
        missing = "Not measured; run: gazeseg calibrate RUN --measure test"
        return {"missing": missing, "rows": [], "runs": [], "charts": []}
    rows = [
        {
            "method": group.label,
            "colour": group.colour,
            "seed": run.seed,
            "score": _NAMES.get(name, name),
            "aurc": number(row["aurc"]),
            "best": number(row["aurc_best"]),
            "random": number(row["aurc_random"]),
            "spearman": f"{row['spearman']:.2f}",
        }
        for group, run, result in found
        for name, row in result["scores"].items()
    ]
    measured = [
        {
            "method": group.label,
            "colour": group.colour,
            "seed": run.seed,
            "calibration": _calibration(result),
            "pixel_ece": number(result["pixel"]["ece"]),
            "case_ece": number(result["case"]["ece"]),
        }
        for group, run, result in found
    ]
    drawn = {group.label: (group, result) for group, _, result in reversed(found)}
    return {"missing": "", "rows": rows, "runs": measured, "charts": _charts(list(reversed(drawn.values())))}


def _read(run: Run) -> dict[str, Any] | None:
    path = run.folder.evaluation(run.split) / "uncertainty.json"
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: broken JSON ({error}); run gazeseg calibrate again") from None
    if not isinstance(result, dict) or not {"pixel", "case", "scores"} <= set(result):
        raise DataError(f"{path}: not a measurement of uncertainty; run gazeseg calibrate again")
    return result


def _calibration(result: dict[str, Any]) -> str:
    on = result["calibrated_on"]
    return "none" if on is None else f"T = {result['temperature']:.2f}, {on['cases']} cases of {on['split']}"


def _charts(drawn: Sequence[tuple[Group, dict[str, Any]]]) -> list[dict[str, Any]]:
    diagonal = Line("as said", np.array([0.0, 1.0]), np.array([0.0, 1.0]), "c-pseudo", faint=True)
    charts = []
    for key, title, x_label, y_label in (
        ("pixel", "Pixels: reliability", "probability of the chosen class", "share right"),
        ("case", "Cases: reliability", "expected Dice", "Dice"),
    ):
        lines = [
            Line(group.label, np.array(result[key]["said"]), np.array(result[key]["was"]), group.colour)
            for group, result in drawn
        ]
        svg = line_chart([diagonal, *lines], x_label=x_label, y_label=y_label)
        charts.append({"title": title, "svg": svg, "caption": "On the faint diagonal, what is said is what is."})
    lines = []
    for group, result in drawn:
        curve = result["scores"]["expected_dice"]
        coverage = np.array(curve["coverage"])
        lines += [
            Line(f"{group.label}, best possible", coverage, np.array(curve["best_risk_at"]), group.colour, faint=True),
            Line(group.label, coverage, np.array(curve["risk_at"]), group.colour),
        ]
    svg = line_chart(lines, x_label="share of the cases kept, highest expected Dice first", y_label="mean 1 - Dice")
    caption = "Faint: a score that knows the Dice. A score that knows nothing is flat at the height of the right end."
    charts.append({"title": "Risk against coverage", "svg": svg, "caption": caption})
    return charts
