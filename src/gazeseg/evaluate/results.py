"""The two files of an evaluation, ``cases.csv`` and ``summary.json``: written, read, and what their numbers mean.

Loads no torch, so that comparisons and reports can read results anywhere.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from gazeseg.config import EvaluateConfig
from gazeseg.errors import DataError
from gazeseg.evaluate.stats import bootstrap_ci
from gazeseg.types import CaseScore

Protocol = Literal["gazeseg", "legacy"]

OVERLAP: Final = ("dice", "iou", "sensitivity", "precision")
DISTANCES: Final = ("hd95", "hd95_max", "asd", "assd")
METRICS: Final = (*OVERLAP, *DISTANCES)
COLUMNS: Final = (*(field.name for field in dataclasses.fields(CaseScore)), "class_name")

GAZE_LABELS: Final = {
    "recorded": "recorded",
    "simulated": "simulated (uses ground truth)",
    "none": "none",
}


def gaze_label(kind: str, control: str = "") -> str:
    """Return how every result names the gaze that was learnt from: its kind and, behind a comma, its control.

    Examples:
        >>> gaze_label("recorded", "shuffled order")
        'recorded, shuffled order'
    """
    return GAZE_LABELS.get(kind, kind) + (f", {control}" if control else "")


_DEFINITIONS: Final = {
    "dice": "2 TP / (2 TP + FP + FN)",
    "iou": "TP / (TP + FP + FN)",
    "sensitivity": "TP / (TP + FN)",
    "precision": "TP / (TP + FP)",
    "hd95": "pooled: 95th percentile of the two directed surface distance sets together (medpy)",
    "hd95_max": "max: larger of the two directed 95th percentiles (MONAI)",
    "asd": "directed: mean surface distance from prediction to truth",
    "assd": "mean of the two directed mean surface distances (medpy)",
    "hd95_penalised": "headline HD95 with the image diagonal where one of the two surfaces is missing",
    "missed": "the truth holds the class, the prediction does not",
    "false_alarms": "the prediction holds the class, the truth does not",
    "sd": "standard deviation over cases",
    "ci95": "percentile bootstrap of the mean over cases",
    "mean": "mean over the foreground classes of each case first, then over cases",
    "ignore": "pixels of the truth that are 255 count nowhere",
}
_EMPTY_RULES: Final = {
    "gazeseg": "missed or false alarm: overlap 0, distances missing and counted; both empty: overlap {both_empty:g}",
    "legacy": "missed: overlap 0, distances 0 (SSL4MIS, BCP); both empty: overlap 0 (GazeMedSeg, FGI)",
}


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` that takes its place if the block ends well, and vanishes if not.

    Raises:
        DataError: if the disk is full or read-only, or ``target`` is a folder of something else than results.
    """
    if target.exists() and not (target / "summary.json").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: holds something else than an evaluation; choose another folder")
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        os.rename(temporary, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error}); choose another folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_results(
    folder: Path,
    scores: Sequence[CaseScore],
    *,
    classes: Sequence[str],
    config: EvaluateConfig,
    protocol: Protocol,
    diagonals: Mapping[str, float],
    header: Mapping[str, Any],
) -> None:
    """Write ``cases.csv`` and ``summary.json`` into ``folder``, which exists.

    Args:
        folder: Where to write.
        scores: One a case and class, of one unit.
        classes: Names, background first.
        config: The rules in force; ``both_empty`` is 0 under the legacy protocol whatever it says.
        protocol: Which empty-mask rules made the scores.
        diagonals: Diagonal of each case's image or volume by case id, in the unit of the scores.
        header: What was evaluated: dataset, split, method, gaze and so on; opens the summary.
    """
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for score in scores:
            values = [getattr(score, field.name) for field in dataclasses.fields(score)]
            writer.writerow([*values, classes[score.class_index]])
    empty_rule = _EMPTY_RULES[protocol].format(both_empty=config.both_empty)
    summary = {
        "protocol": protocol,
        **header,
        "cases": len({score.case_id for score in scores}),
        "unit": scores[0].unit,
        "headline_hd95": headline(config),
        "definitions": {**_DEFINITIONS, "empty": empty_rule},
        **summarise(scores, classes=classes, config=config, diagonals=diagonals),
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")


def headline(config: EvaluateConfig) -> str:
    """Return the column that ``HD95`` without further words means."""
    return "hd95" if config.hd_definition == "pooled" else "hd95_max"


def summarise(
    scores: Sequence[CaseScore], *, classes: Sequence[str], config: EvaluateConfig, diagonals: Mapping[str, float]
) -> dict[str, Any]:
    """Return ``{"classes": {name: statistics}, "mean": statistics}``.

    Statistics hold, for each metric and for ``hd95_penalised``, mean, sd, median, ci95 and n over the cases that have a
    value (None where none has), and the counts ``missed``, ``false_alarms`` and ``both_empty``.
    """
    by_class = {name: [s for s in scores if s.class_index == index] for index, name in enumerate(classes) if index}
    tables = {name: _table(of_class, headline(config), diagonals) for name, of_class in by_class.items()}
    per_class = {
        name: {metric: _statistics(values, config) for metric, values in table.items()} | _counts(by_class[name])
        for name, table in tables.items()
    }
    # every class scores the same cases in the same order, so the classes of a case lie in one column
    mean = {
        metric: _statistics(nan_mean(np.stack([table[metric] for table in tables.values()])), config)
        for metric in (*METRICS, "hd95_penalised")
    }
    return {"classes": per_class, "mean": mean | _counts(scores)}


def _table(
    scores: Sequence[CaseScore], hd95: str, diagonals: Mapping[str, float]
) -> dict[str, npt.NDArray[np.float64]]:
    table = {metric: np.array([getattr(s, metric) for s in scores]) for metric in METRICS}
    penalised = []
    for score in scores:
        value: float = getattr(score, hd95)
        if score.empty in ("prediction", "truth"):
            value = diagonals[score.case_id]
        elif score.empty == "both":
            value = math.nan
        penalised.append(value)
    return {**table, "hd95_penalised": np.array(penalised)}


def nan_mean(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean of each column (R, N) -> (N,) over the rows that have a value; NaN where none has.

    Examples:
        >>> nan_mean(np.array([[1.0, np.nan], [3.0, np.nan]]))
        array([ 2., nan])
    """
    there = np.isfinite(rows)
    count = there.sum(axis=0)
    total: npt.NDArray[np.float64] = np.where(there, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def _statistics(values: npt.NDArray[np.float64], config: EvaluateConfig) -> dict[str, Any]:
    there = values[np.isfinite(values)]
    if not len(there):
        return {"mean": None, "sd": None, "median": None, "ci95": None, "n": 0}
    return {
        "mean": float(there.mean()),
        "sd": float(there.std(ddof=1)) if len(there) > 1 else 0.0,
        "median": float(np.median(there)),
        "ci95": list(bootstrap_ci(there, samples=config.bootstrap)),
        "n": len(there),
    }


def _counts(scores: Iterable[CaseScore]) -> dict[str, int]:
    kinds = [score.empty for score in scores]
    return {
        "missed": kinds.count("prediction"),
        "false_alarms": kinds.count("truth"),
        "both_empty": kinds.count("both"),
    }


def read_cases(folder: Path) -> list[CaseScore]:
    """Read ``cases.csv`` of an evaluation folder.

    Raises:
        DataError: if it is missing, or a column or value is not what was written.
    """
    file = folder / "cases.csv"
    text_fields = {name for name, kind in get_type_hints(CaseScore).items() if kind is str or get_args(kind)}
    scores = []
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                values: dict[str, Any] = {
                    name: row[name] if name in text_fields else float(row[name]) for name in COLUMNS[:-1]
                }
                scores.append(CaseScore(**{**values, "class_index": int(values["class_index"])}))
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; evaluate first") from None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a table of scores ({error}); evaluate again") from None
    return scores


def read_summary(folder: Path) -> dict[str, Any]:
    """Read ``summary.json`` of an evaluation folder.

    Raises:
        DataError: if it is missing or broken.
    """
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; evaluate first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: broken JSON ({error}); evaluate again") from None
    if not isinstance(summary, dict) or "mean" not in summary:
        raise DataError(f"{file}: not the summary of an evaluation; evaluate again")
    return summary
