"""Fit how sure a run may be on validation cases, and measure on others whether its case score finds its failures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.console import track, warn
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import write_bytes
from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate.calibration import (
    Reliability,
    cross_entropy,
    fit_temperature,
    rank_correlation,
    reliability,
    risk_coverage,
)
from gazeseg.evaluate.cases import load_dataset, scored_cases
from gazeseg.evaluate.results import nan_mean, read_cases
from gazeseg.predict.predictor import Predictor
from gazeseg.predict.uncertainty import Calibration, Uncertain
from gazeseg.train.runfolder import RunFolder
from gazeseg.types import IGNORE, Float32Array, FloatArray, UInt8Array

RESULT: Final = "uncertainty.json"
REVIEW: Final = "review.csv"
PIXELS: Final = 2000  # of a case, drawn with a fixed seed: a temperature is one number, and cases count alike
_CHUNK: Final = 16
_TINY: Final = 1e-7


def calibrate_run(
    run: Path, *, split: str = "val", data: Path | None = None, checkpoint: str | None = None, device: str = "cpu"
) -> Calibration:
    """Fit a temperature to true masks and write ``calibration.json`` into the run folder.

    Args:
        run: The run folder.
        split: ``val``: the split of that name, or the part of ``train`` that the run held out.
            ``train``: cases that the network has learnt from, so that it looks surer than it is.
        data: The data set folder, where it is no longer the one in ``config.yaml``.
        checkpoint: ``last`` or ``best``; ``None`` follows ``train.select``.
        device: A torch device.

    Raises:
        ConfigError: for the test split, whose figures would be no test any more, or where nothing was held out.
        DataError: if the run or its data set is broken, or a case has no mask.
    """
    folder = RunFolder(Path(run))
    config = folder.config()
    dataset = load_dataset(folder, data or config.data.path)
    cases = _calibration_cases(dataset, folder, split)
    predictor = Predictor.load(folder.path, checkpoint=checkpoint, device=device)
    rng = np.random.default_rng(0)
    said, labels = [], []
    for values, truth in track(_probabilities(predictor, dataset, cases), "calibrate", len(cases)):
        pixels = np.flatnonzero(truth.ravel() != IGNORE)
        drawn = rng.choice(pixels, min(PIXELS, len(pixels)), replace=False) if len(pixels) else pixels
        said.append(values.reshape(len(values), -1).T[drawn])
        labels.append(truth.ravel()[drawn].astype(np.int64))
    probabilities, classes = np.concatenate(said), np.concatenate(labels)
    logits = np.log(np.maximum(probabilities, _TINY)).astype(np.float64)
    temperature = fit_temperature(logits, classes)
    found = Calibration(
        temperature,
        split,
        len(cases),
        str(predictor.identity["weights"]),
        (cross_entropy(logits, classes), cross_entropy(logits / temperature, classes)),
        (_pixel_ece(logits, classes), _pixel_ece(logits / temperature, classes)),
    )
    found.write(folder.path)
    return found


def calibration_of(predictor: Predictor, run: Path) -> Calibration | None:
    """Return the run's calibration if it was fitted to these weights; warn where there is none that fits."""
    found = Calibration.load(run)
    if found is None:
        warn(f"{run}: not calibrated, so its case scores promise too much or too little; run: gazeseg calibrate {run}")
    elif found.weights != predictor.identity["weights"]:
        warn(f"{run}: calibrated for other weights, so not used; run: gazeseg calibrate {run}")
        return None
    return found


def measure_run(
    run: Path, split: str, *, data: Path | None = None, checkpoint: str | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """Measure on an evaluated split how far the case score and the probabilities can be believed.

    Writes ``uncertainty.json`` and ``review.csv`` (cases by rising expected Dice) beside ``cases.csv``.

    Args:
        run: The run folder, evaluated on the split case by case.
        split: ``train``, ``val`` or ``test``.
        data: As for :func:`calibrate_run`.
        checkpoint: As for :func:`calibrate_run`.
        device: A torch device.

    Returns:
        What ``uncertainty.json`` holds.

    Raises:
        DataError: if the split is not evaluated, or something of the run or the data set is missing.
    """
    folder = RunFolder(Path(run))
    target = folder.evaluation(split)
    dice = _dice(target)
    dataset = load_dataset(folder, data or folder.config().data.path)
    cases = scored_cases(folder, dataset, split)
    if {case.case_id for case in cases} != set(dice):
        raise DataError(f"{target}: holds other cases than the split has now; evaluate again")
    predictor = Predictor.load(folder.path, checkpoint=checkpoint, device=device)
    calibration = calibration_of(predictor, folder.path)
    temperature = calibration.temperature if calibration is not None else 1.0
    rows = []
    pixels = _PixelReliability()
    for case, found, truth in track(_uncertain(predictor, dataset, cases, temperature), "uncertainty", len(cases)):
        pixels.add(found.probabilities, truth)
        rows.append((case.case_id, found.expected_dice, dice[case.case_id], float(found.entropy.mean()),
                     float(found.disagreement.mean())))  # fmt: skip
    expected, actual = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    scores = {
        "expected_dice": expected,
        "mean_entropy": -np.array([row[3] for row in rows]),
        "mean_disagreement": -np.array([row[4] for row in rows]),
    }
    result: dict[str, Any] = {
        "split": split,
        "cases": len(rows),
        "checkpoint": predictor.checkpoint,
        "temperature": temperature,
        "calibrated_on": None if calibration is None else {"split": calibration.split, "cases": calibration.cases},
        "pixel": _bins(pixels.result()),
        "case": _bins(reliability(expected.clip(0, 1), actual)),
        "risk": "1 - Dice, mean over the classes of a case",
        "scores": {name: _ranking(score, 1 - actual) for name, score in scores.items()},
    }
    write_bytes(target / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    write_review(
        target / REVIEW, rows, columns=("case_id", "expected_dice", "dice", "mean_entropy", "mean_disagreement")
    )
    return result


def write_review(path: Path, rows: Sequence[tuple[Any, ...]], *, columns: Sequence[str]) -> None:
    """Write rows (name, expected Dice, ...) as CSV, the least trusted first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in sorted(rows, key=lambda row: (row[1], row[0])):
        writer.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in row])
    write_bytes(path, text.getvalue().encode())


class _PixelReliability:
    """Counts of every pixel's most probable class, gathered image by image: all pixels never lie in memory at once."""

    def __init__(self, bins: int = 1000) -> None:
        self.count, self.said, self.right = np.zeros(bins), np.zeros(bins), np.zeros(bins)

    def add(self, probabilities: Float32Array, truth: UInt8Array) -> None:
        seen = truth != IGNORE
        sure = probabilities.max(axis=0)[seen]
        right = probabilities.argmax(axis=0)[seen] == truth[seen]
        index = np.minimum((sure * len(self.count)).astype(int), len(self.count) - 1)
        self.count += np.bincount(index, minlength=len(self.count))
        self.said += np.bincount(index, weights=sure, minlength=len(self.count))
        self.right += np.bincount(index, weights=right, minlength=len(self.count))

    def result(self, bins: int = 15) -> Reliability:
        """Join the fine bins to ``bins`` of equal width."""
        coarse = np.arange(len(self.count)) * bins // len(self.count)
        count, said, right = (
            np.bincount(coarse, weights=values, minlength=bins) for values in (self.count, self.said, self.right)
        )
        there = count > 0
        return Reliability(said[there] / count[there], right[there] / count[there], count[there] / count.sum())


def _pixel_ece(logits: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    powered = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powered / powered.sum(axis=1, keepdims=True)
    return reliability(probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(float)).ece


def _ranking(score: FloatArray, risk: FloatArray) -> dict[str, Any]:
    curve = risk_coverage(score, risk)
    return {
        "aurc": curve.area,
        "aurc_best": curve.best_area,
        "aurc_random": curve.random_area,
        "spearman": rank_correlation(score, -risk),
        "coverage": curve.coverage.round(6).tolist(),
        "risk_at": curve.risk.round(6).tolist(),
        "best_risk_at": curve.best.round(6).tolist(),
    }


def _bins(found: Reliability) -> dict[str, Any]:
    return {
        "ece": found.ece,
        "said": found.said.round(6).tolist(),
        "was": found.was.round(6).tolist(),
        "share": found.share.round(6).tolist(),
    }


def _dice(folder: Path) -> dict[str, float]:
    """Return the Dice of each case, mean over its classes."""
    values: dict[str, list[float]] = {}
    for score in read_cases(folder):
        values.setdefault(score.case_id, []).append(score.dice)
    return {case_id: float(nan_mean(np.array(classes)[:, None])[0]) for case_id, classes in values.items()}


def _calibration_cases(dataset: Dataset, folder: RunFolder, split: str) -> tuple[Case, ...]:
    if split == "test":
        raise ConfigError("calibrating on the test split would spoil every figure on it; use --split val or train")
    if split == "train":
        warn("calibrated on cases that the network has learnt from: it looks surer than it is")
    return scored_cases(folder, dataset, split)


def _probabilities(
    predictor: Predictor, dataset: Dataset, cases: Sequence[Case]
) -> Iterator[tuple[Float32Array, UInt8Array]]:
    for start in range(0, len(cases), _CHUNK):
        chunk = cases[start : start + _CHUNK]
        for case, values in zip(chunk, predictor.probabilities([dataset.image(case) for case in chunk]), strict=True):
            yield values, dataset.mask(case)


def _uncertain(
    predictor: Predictor, dataset: Dataset, cases: Sequence[Case], temperature: float
) -> Iterator[tuple[Case, Uncertain, UInt8Array]]:
    for start in range(0, len(cases), _CHUNK):
        chunk = cases[start : start + _CHUNK]
        found = predictor.uncertain([dataset.image(case) for case in chunk], temperature=temperature)
        for case, one in zip(chunk, found, strict=True):
            yield case, one, dataset.mask(case)
