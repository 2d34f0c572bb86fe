"""Score a run on a split of its data set, or any folder of masks against a folder of true masks.

Both write ``cases.csv`` and ``summary.json`` (see :mod:`gazeseg.evaluate.results`), whole or not at all. Runs write
their masks beside them. Masks are compared at the native size of the image. Distances are in mm where every case has a
spacing, else in px.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gazeseg.config import EvaluateConfig
from gazeseg.console import say, track, warn
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import MaskEncoding, find_images, read_image_size, read_mask, safe_name, write_image
from gazeseg.errors import DataError, near_miss
from gazeseg.evaluate.bands import acceptance_band
from gazeseg.evaluate.cases import load_dataset, scored_cases
from gazeseg.evaluate.metrics import score_case
from gazeseg.evaluate.results import Protocol, gaze_label, read_summary, replacing, write_results
from gazeseg.methods.base import Method
from gazeseg.predict.predictor import Predictor
from gazeseg.train.plan import GAZE
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import CaseScore, UInt8Array

By = Literal["case", "volume"]

_CHUNK = 16  # native images held at once


@dataclass(slots=True)
class _Scorer:
    """Collects the scores of one evaluation under one protocol."""

    classes: Sequence[str]
    config: EvaluateConfig
    protocol: Protocol
    scores: list[CaseScore] = field(default_factory=list)
    diagonals: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        prediction: UInt8Array,
        truth: UInt8Array,
        *,
        case_id: str,
        patient_id: str,
        spacing_mm: tuple[float, ...] | None,
    ) -> None:
        legacy = self.protocol == "legacy"
        self.scores += score_case(
            prediction,
            truth,
            num_classes=len(self.classes),
            spacing_mm=spacing_mm,
            case_id=case_id,
            patient_id=patient_id,
            both_empty=0.0 if legacy else self.config.both_empty,
            missed_distance=0.0 if legacy else math.nan,
        )
        steps = spacing_mm or (1.0,) * truth.ndim
        self.diagonals[case_id] = math.hypot(*(n * step for n, step in zip(truth.shape, steps, strict=True)))

    def write(self, folder: Path, header: Mapping[str, Any]) -> None:
        write_results(
            folder,
            self.scores,
            classes=self.classes,
            config=self.config,
            protocol=self.protocol,
            diagonals=self.diagonals,
            header=header,
        )


def evaluate_run(
    run: Path,
    split: str,
    *,
    legacy: bool = False,
    device: str = "cpu",
    data: Path | None = None,
    checkpoint: str | None = None,
    by: By | None = None,
    slice_spacing_mm: float | None = None,
) -> Path:
    """Predict and score every case of a split.

    Args:
        run: The run folder.
        split: ``train``, ``val`` or ``test``; ``val`` of a data set without such a split is the part of ``train`` that
            the run held out.
        legacy: Score empty masks as the released code of published tables does: both empty 0 (GazeMedSeg, FGI), all
            distances of an empty prediction 0 (SSL4MIS, BCP). Kept apart in the folder ``<split>-legacy``.
        device: A torch device.
        data: The data set folder, where it is no longer the one in ``config.yaml``.
        checkpoint: ``last`` or ``best``; ``None`` follows ``train.select``.
        by: ``volume`` stacks the slices of each volume and scores it as one case; kept apart in ``<split>-volume``.
            ``None``: what ``evaluate.by`` says.
        slice_spacing_mm: Distance between slices, for volumes whose data set does not give it. Without any, and always
            under ``legacy``, distances across a volume are in voxels, as in the published ACDC tables.

    Returns:
        The folder with ``cases.csv``, ``summary.json`` and ``predictions/``.

    Raises:
        DataError: if the run, its data set or a mask is missing or broken, or the split is empty.
    """
    folder = RunFolder(Path(run))
    config, task = folder.config(), folder.task()
    dataset = load_dataset(folder, data or config.data.path)
    if dataset.info.classes != task.classes:
        raise DataError(
            f"{folder.path}: was trained on the classes {', '.join(task.classes)}, but {dataset.root} has "
            f"{', '.join(dataset.info.classes)}; evaluate on a data set of the same classes"
        )
    cases = scored_cases(folder, dataset, split)
    predictor = Predictor.load(folder.path, checkpoint=checkpoint, device=device)
    scorer = _Scorer(task.classes, config.evaluate, "legacy" if legacy else "gazeseg")
    by = by or config.evaluate.by
    in_mm = all(case.spacing_mm is not None for case in cases)
    if by == "volume":
        apart = {_between(case, slice_spacing_mm) for case in cases}
        in_mm = in_mm and None not in apart and not legacy
        if not in_mm:
            reason = "as in released code" if legacy else "no spacing of pixels and slices is known"
            say(f"distances are in voxels, not in mm: {reason}; slices count as far apart as pixels")
    name = split + ("-volume" if by == "volume" else "") + ("-legacy" if legacy else "")
    target = folder.evaluation(name)
    volumes: dict[str, list[tuple[Case, UInt8Array, UInt8Array]]] = {}
    with replacing(target) as temporary:
        for case, prediction in track(_predict(predictor, dataset, cases), f"evaluate {name}", len(cases)):
            write_image(temporary / "predictions" / f"{safe_name(case.case_id)}.png", prediction)
            truth = dataset.mask(case)
            if by == "volume":
                volumes.setdefault(case.volume_id, []).append((case, prediction, truth))
                continue
            scorer.add(
                prediction,
                truth,
                case_id=case.case_id,
                patient_id=case.patient_id,
                spacing_mm=case.spacing_mm if in_mm else None,
            )
        for volume_id, slices in volumes.items():
            _add_volume(scorer, volume_id, slices, slice_spacing_mm, in_mm=in_mm)
        band = None
        if legacy and by == "volume" and split == "test" and folder.environment_file.is_file():
            band = acceptance_band(config, task.dataset, len(folder.environment().get("labelled_patients") or ()))
        header = {
            "dataset": task.dataset,
            "split": split,
            "by": by,
            "method": config.method.get("name", ""),
            "status": predictor.method.reference.status,
            "reference": dataclasses.asdict(predictor.method.reference),
            "gaze": _gaze_label(predictor.method, task),
            "gaze_leak": task.gaze_leak,
            "drawn_by": task.drawn_by,
            "acceptance_band": [band.low, band.high] if band else None,
            "text": task.text,
            "mask_supervised": task.mask_supervised,
            "seed": config.train.seed,
            "select": config.train.select,
            "checkpoint": predictor.checkpoint,
            "resize": config.evaluate.resize,
        }
        scorer.write(temporary, header)
    return target


def evaluate_folders(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    legacy: bool = False,
    classes: Sequence[str] = ("background", "foreground"),
    encoding: MaskEncoding = "auto",
    spacing_mm: tuple[float, float] | None = None,
    config: EvaluateConfig | None = None,
) -> Path:
    """Score masks of any origin against true masks, matched by file name without its ending.

    Args:
        predictions: Folder of masks at native size; names as in ``truth``, or as ``gazeseg`` escapes them.
        truth: Folder of true masks; 255 is ignored in a multi-class or 0/1/255 mask.
        out: Where ``cases.csv`` and ``summary.json`` go; an earlier evaluation there is replaced.
        legacy: As for :func:`evaluate_run`.
        classes: Names, background first.
        encoding: How mask values mean classes, see :func:`gazeseg.data.images.read_mask`.
        spacing_mm: (y, x) of every image; distances are then in mm.
        config: The rules; defaults where ``None``.

    Returns:
        ``out``.

    Raises:
        DataError: if a true mask has no prediction, or a file is broken or of another size. A prediction without a
            truth is only warned of.
    """
    predictions, truth, out = Path(predictions), Path(truth), Path(out)
    pairs = _match(predictions, truth)
    scorer = _Scorer(classes, config or EvaluateConfig(), "legacy" if legacy else "gazeseg")
    with replacing(out) as temporary:
        for case_id, (predicted, true) in track(pairs.items(), "evaluate", len(pairs)):
            size = read_image_size(true, case_id=case_id)
            scorer.add(
                read_mask(predicted, size, len(classes), case_id, encoding),
                read_mask(true, size, len(classes), case_id, encoding),
                case_id=case_id,
                patient_id=case_id,
                spacing_mm=spacing_mm,
            )
        header = {
            "dataset": truth.name,
            "split": "none",
            "by": "case",
            "method": predictions.name,
            "status": "unknown",
            "gaze": "unknown",
            "mask_supervised": None,
            "seed": None,
            "select": "unknown",
        }
        scorer.write(temporary, header)
    return out


def describe(folder: Path) -> str:
    """Return a few lines that say what an evaluation found."""
    summary = read_summary(folder)
    hd95, unit = summary["headline_hd95"], summary["unit"]
    definition = "pooled" if hd95 == "hd95" else "max"
    what = [
        f"{summary['dataset']} {summary['split']}".removesuffix(" none"),
        f"{summary['cases']} {summary['by']}s",
        *(f"{key} {summary[key]}" for key in ("method", "gaze", "select") if summary[key] != "unknown"),
        *([summary["gaze_leak"]] if summary.get("gaze_leak") else []),
        *([f"masks by {summary['drawn_by']}"] if summary.get("drawn_by") else []),
        *([f"text {summary['text']}"] if summary.get("text", "none") != "none" else []),
        f"protocol {summary['protocol']}",
    ]
    lines = [", ".join(what)]
    rows = dict(summary["classes"])
    if len(rows) > 1:
        rows["mean"] = summary["mean"]
    for name, row in rows.items():
        interval = row["dice"]["ci95"]
        lines.append(
            f"  {name}: Dice {_number(row['dice']['mean'], 3)} [{_number(interval[0], 3)}, {_number(interval[1], 3)}], "
            f"IoU {_number(row['iou']['mean'], 3)}, HD95 ({definition}) {_number(row[hd95]['mean'], 1)} {unit}, "
            f"ASSD {_number(row['assd']['mean'], 1)} {unit}, missed {row['missed']}, "
            f"false alarms {row['false_alarms']} (HD95 penalised {_number(row['hd95_penalised']['mean'], 1)} {unit})"
        )
    if band := summary.get("acceptance_band"):
        place = "inside" if band[0] <= summary["mean"]["dice"]["mean"] <= band[1] else "OUTSIDE"
        lines.append(f"  {place} our acceptance band for this method on the ACDC protocol, {band[0]:g} to {band[1]:g}")
    return "\n".join([*lines, f"  {folder / 'summary.json'}"])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _gaze_label(method: Method, task: Task) -> str:
    """Return what gaze the method learned from; a method that looked at none has none, whatever the data set holds."""
    return gaze_label(task.gaze, task.gaze_control) if method.needs & GAZE else gaze_label("none")


def _predict(predictor: Predictor, dataset: Dataset, cases: Sequence[Case]) -> Iterable[tuple[Case, UInt8Array]]:
    for start in range(0, len(cases), _CHUNK):
        chunk = cases[start : start + _CHUNK]
        yield from zip(chunk, predictor.masks([dataset.image(case) for case in chunk]), strict=True)


def _add_volume(
    scorer: _Scorer,
    volume_id: str,
    slices: list[tuple[Case, UInt8Array, UInt8Array]],
    slice_spacing_mm: float | None,
    *,
    in_mm: bool,
) -> None:
    """Score the slices of one volume as one case; they must lie side by side."""
    slices = sorted(slices, key=lambda entry: entry[0].slice_index)
    cases = [case for case, _, _ in slices]
    if not volume_id:
        raise DataError(f"case '{cases[0].case_id}' has no volume_id; name its volume in cases.csv, or score by case")
    indices = [case.slice_index for case in cases]
    if indices != list(range(indices[0], indices[0] + len(indices))):
        raise DataError(
            f"volume '{volume_id}': slices {indices} are not consecutive, so distances across them mean nothing; "
            "score by case"
        )
    if len({(case.size, case.spacing_mm, case.spacing_z_mm) for case in cases}) > 1:
        raise DataError(f"volume '{volume_id}': its slices differ in size or spacing; score by case")
    spacing, apart = cases[0].spacing_mm, _between(cases[0], slice_spacing_mm)
    scorer.add(
        np.stack([prediction for _, prediction, _ in slices]),
        np.stack([truth for _, _, truth in slices]),
        case_id=volume_id,
        patient_id=cases[0].patient_id,
        spacing_mm=None if spacing is None or apart is None or not in_mm else (apart, *spacing),
    )


def _between(case: Case, slice_spacing_mm: float | None) -> float | None:
    """Return the distance from slice to slice in mm: the given one, else the data set's."""
    return case.spacing_z_mm if slice_spacing_mm is None else slice_spacing_mm


def _match(predictions: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Pair the files of two folders by stem; the case id is the stem of the truth."""
    # one file system stores é as one sign, another as two: compare the composed form
    predicted = {unicodedata.normalize("NFC", stem): path for stem, path in find_images(predictions).items()}
    pairs: dict[str, tuple[Path, Path]] = {}
    unused = set(predicted)
    lost = []
    for stem, path in find_images(truth).items():
        names = (unicodedata.normalize("NFC", stem), safe_name(stem))
        found = next((name for name in names if name in predicted), None)
        if found is None:
            lost.append(stem)
            continue
        unused.discard(found)
        pairs[stem] = (predicted[found], path)
    if lost:
        raise DataError(
            f"{predictions}: no prediction for {len(lost)} of {len(lost) + len(pairs)} true masks, the first "
            f"'{lost[0]}'{near_miss(lost[0], unused)}; name each prediction like its truth"
        )
    if unused:
        warn(f"{predictions}: {len(unused)} predictions have no truth and are left out, e.g. '{min(unused)}'")
    return pairs
