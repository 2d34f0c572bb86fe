"""The data sets behind the runs: counts, gaze quality and pseudo-mask quality as the rows and charts of the report."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.pseudo import PseudoFolder, pseudo_path
from gazeseg.data.schema import SIMULATED
from gazeseg.errors import GazeSegError
from gazeseg.gaze.control import control_label
from gazeseg.gaze.quality import control_shares, frame_verdict, gaze_quality
from gazeseg.report.figures import Bar, bar_chart, histogram
from gazeseg.report.runs import Run
from gazeseg.report.text import number, plural
from gazeseg.types import IGNORE, FloatArray, UInt8Array

SPLITS: Final = ("train", "val", "test", "none")
_CONTROLS: Final = {
    "true": "true pairing",
    "weighted": "true, by duration",
    "flipped_x": "flipped left-right",
    "flipped_y": "flipped up-down",
    "flipped_xy": "flipped both ways",
    "transposed": "x and y swapped",
    "shuffled": "another case",
}
_KINDS: Final = {"recorded": "recorded", "simulated": SIMULATED, "none": "none"}


@dataclass(frozen=True)
class Source:
    """The data set and pseudo-masks of some runs; each is None where it is gone, and then a note says so."""

    name: str
    gaze: str  # recorded, simulated or none
    dataset: Dataset | None
    pseudo: PseudoFolder | None
    runs: tuple[Run, ...]
    note: str = ""
    pseudo_note: str = ""


def open_sources(runs: Sequence[Run]) -> list[Source]:
    """Open the data set of every run, each once; what is missing becomes a note, for a report must outlive its data."""
    groups: dict[tuple[str, str], list[Run]] = {}
    plain = {str(run.config.data.path): str(run.config.data.pseudo) for run in runs if not run.control}
    for run in runs:
        path, pseudo = str(run.config.data.path), str(run.config.data.pseudo)
        # the pseudo-masks of a control are a folder of their own, but no data set of their own
        groups.setdefault((path, plain.get(path, pseudo) if run.control else pseudo), []).append(run)
    return [_open(members) for members in groups.values()]


def _open(runs: Sequence[Run]) -> Source:
    first = next((run for run in runs if not run.control), runs[0])  # what a control learnt from is not the data
    path, task = first.config.data.path, first.task
    if path is None:
        note = f"Run {first.name} names no data set folder, so images and gaze cannot be shown."
        return Source(task.dataset, task.gaze, None, None, tuple(runs), note)
    try:
        dataset = Dataset.load(path)
    except (GazeSegError, OSError) as error:
        note = f"The data set cannot be read, so images and gaze are not shown: {error}"
        return Source(task.dataset, task.gaze, None, None, tuple(runs), note)
    try:
        pseudo, pseudo_note = PseudoFolder.load(pseudo_path(first.config, dataset)), ""
    except (GazeSegError, OSError) as error:
        pseudo, pseudo_note = None, f"No pseudo-masks to show: {error}"
    return Source(dataset.info.name, dataset.info.gaze.kind, dataset, pseudo, tuple(runs), "", pseudo_note)


def foreground(dataset: Dataset, case: Case) -> npt.NDArray[np.bool_]:
    """Return the true foreground of a case (H, W): any class; gaze says "here is something", not which."""
    mask = dataset.mask(case)
    found: npt.NDArray[np.bool_] = (mask > 0) & (mask != IGNORE)
    return found


def data_context(source: Source) -> dict[str, Any]:
    """Facts and splits of one data set, for the template."""
    dataset = source.dataset
    if dataset is None:
        return {"name": source.name, "missing": source.note, "facts": [], "splits": [], "notes": []}
    info = dataset.info
    spacings = {case.spacing_mm for case in dataset.cases}
    spacing = "unknown: distances are in pixels"
    if None not in spacings:
        known = np.array([value for value in spacings if value is not None])
        low, high = known.min(), known.max()
        spacing = f"{low:.3g} mm" if low == high else f"{low:.3g}–{high:.3g} mm"
    facts = [
        ("Data set", info.name),
        ("Modality", info.modality or "not stated"),
        ("Classes", ", ".join(info.classes)),
        ("Channels", "colour" if info.channels == 3 else "grey"),
        ("Pixel spacing", spacing),
        ("Gaze", _KINDS[info.gaze.kind]),
    ]
    if info.gaze.source:
        facts.append(("Gaze source", info.gaze.source))
    if reviewed := review_line(dataset.root):
        facts.append(("Review", reviewed))
    notes = [note for note in (info.split_note, info.gaze.note) if note]
    splits = [_split_row(dataset, name) for name in SPLITS if dataset.split(name)]
    return {"name": source.name, "missing": "", "facts": facts, "splits": splits, "notes": notes}


def review_line(root: Path) -> str:
    """Say what reviewers noted with ``gazeseg review``, and where; empty where nobody did."""
    file = root / "review.csv"
    if not file.is_file():
        return ""
    with file.open(newline="", encoding="utf-8") as stream:
        flags = [row.get("flag") or "commented" for row in csv.DictReader(stream)]
    counts = ", ".join(f"{flags.count(flag)} {flag}" for flag in dict.fromkeys(sorted(flags)))
    return f"{counts} (review.csv of the data set; open it with: gazeseg review)" if flags else ""


def _split_row(dataset: Dataset, name: str) -> dict[str, Any]:
    cases = dataset.split(name)
    gazes = [len(dataset.fixations[case.case_id]) for case in cases]
    heights, widths = [case.height for case in cases], [case.width for case in cases]
    return {
        "name": name if name != "none" else "no split",
        "cases": f"{len(cases):,}",
        "patients": f"{len({case.patient_id for case in cases}):,}",
        "masks": f"{sum(case.mask is not None for case in cases):,}",
        "gaze": f"{sum(count > 0 for count in gazes):,}",
        "fixations": f"{sum(gazes):,}",
        "sizes": f"{_span(heights)} × {_span(widths)}",
    }


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def gaze_context(source: Source) -> dict[str, Any]:
    """Where the fixations fall, and what wrong coordinate frames would give, for the template."""
    simulated = source.gaze == "simulated"
    empty: dict[str, Any] = {"simulated": simulated, "missing": "", "verdict": "", "facts": [], "charts": []}
    dataset = source.dataset
    if dataset is None:
        return {**empty, "missing": source.note}
    watched = [case for case in dataset.cases if len(dataset.fixations[case.case_id])]
    if not watched:
        return {**empty, "missing": "The data set has no gaze; import it with --gaze to see its quality."}
    fixations = dataset.fixations
    counts = np.array([len(fixations[case.case_id]) for case in watched], dtype=np.float64)
    seconds = np.array([fixations[case.case_id].duration_ms.sum() / 1000 for case in watched])
    single = np.concatenate([fixations[case.case_id].duration_ms for case in watched])
    off = np.array([1 - fixations[case.case_id].on_image.mean() for case in watched])
    facts = [
        ("Cases with gaze", f"{len(watched):,} of {len(dataset.cases):,}"),
        ("Fixations a case", f"{counts.mean():.1f} ({counts.min():.0f}–{counts.max():.0f})"),
        ("Gaze time a case", f"{seconds.mean():.1f} s"),
        ("Fixation duration", f"{single.mean():.0f} ms"),
        ("Share off the image", number(float(off.mean()))),
    ]
    try:
        masks = _PackedMasks(dataset, [case for case in watched if case.mask is not None])
    except (GazeSegError, OSError) as error:
        return {**empty, "facts": facts, "missing": f"The masks cannot be read: {error}"}
    if not len(masks):
        text = "The data set has no masks, so it cannot be said where the gaze falls. Training does not need them."
        return {**empty, "facts": facts, "missing": text}
    looked = {case_id: fixations[case_id] for case_id in masks}
    figures = [gaze_quality(looked[case_id], mask) for case_id, mask in masks.items()]
    shares = np.array([case.in_mask_share for case in figures])
    offsets = np.array([case.centroid_offset for case in figures])
    facts += [
        ("Share inside the mask", f"mean {_mean(shares)}, median {_median(shares)}"),
        ("Centroid offset", f"mean {_mean(offsets)}, median {_median(offsets)} of the side"),
    ]
    charts = [
        {
            "title": "Share of fixations inside the true mask",
            "svg": histogram(shares, x_label="share inside", colour="c-gaze"),
            "caption": f"{plural(len(masks), 'case')}; solid line: mean, dashed: median.",
        },
        {
            "title": "Fixation duration",
            "svg": histogram(
                single, x_label="duration, ms", colour="c-gaze", x_range=(0.0, _top(single)), count="fixations"
            ),
            "caption": f"{plural(len(single), 'fixation')} of all cases.",
        },
        {
            "title": "Gaze centroid to mask centroid",
            "svg": histogram(
                offsets, x_label="offset, share of the image side", colour="c-gaze", x_range=(0.0, _top(offsets))
            ),
            "caption": "Centroids of gaze (weighted by time) and true mask, with both image axes scaled to 1.",
        },
    ]
    verdict = ""
    if len(masks) > 1:
        controls = control_shares(looked, masks)
        bars = [
            Bar(title, controls[key]["mean"], controls[key]["median"], "c-gaze" if key == "true" else "c-muted")
            for key, title in _CONTROLS.items()
            if key in controls
        ]
        caption = (
            "Bars: mean share inside the mask; ticks: median. A wrong axis or pairing would lift a grey bar to the "
            "height of the first. A symmetric organ hides a left-right flip."
        )
        charts.insert(
            1, {"title": "Controls", "svg": bar_chart(bars, x_label="share inside the mask"), "caption": caption}
        )
        verdict = frame_verdict(controls) or "The true coordinates fit the masks better than every control."
    return {**empty, "facts": facts, "charts": charts, "verdict": verdict}


class _PackedMasks(Mapping[str, npt.NDArray[np.bool_]]):
    """Foreground masks that are not empty, at one bit a pixel: a thousand of a megapixel take 125 MB."""

    def __init__(self, dataset: Dataset, cases: Sequence[Case]) -> None:
        self._packed: dict[str, tuple[UInt8Array, tuple[int, int]]] = {}
        for case in cases:
            mask = foreground(dataset, case)
            if mask.any():
                self._packed[case.case_id] = np.packbits(mask), case.size

    def __getitem__(self, case_id: str) -> npt.NDArray[np.bool_]:
        bits, (height, width) = self._packed[case_id]
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def _mean(values: FloatArray) -> str:
    return number(float(np.nanmean(values)) if np.isfinite(values).any() else math.nan)


def _median(values: FloatArray) -> str:
    return number(float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan)


def _top(values: FloatArray) -> float:
    """End of a histogram's axis: the 99th percentile, rounded up to two digits."""
    finite = values[np.isfinite(values)]
    high = float(np.percentile(finite, 99)) if len(finite) else 0.0
    if high <= 0:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(high)) - 1)
    return math.ceil(high / unit) * unit


def read_quality(folder: PseudoFolder) -> dict[float, list[tuple[str, float, float, float]]]:
    """Read ``quality.csv``: threshold -> (case_id, dice, precision, recall); empty without true masks."""
    file = folder.path / "quality.csv"
    rows: dict[float, list[tuple[str, float, float, float]]] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                scores = (row["case_id"], float(row["dice"]), float(row["precision"]), float(row["recall"]))
                rows.setdefault(float(row["threshold"]), []).append(scores)
    return dict(sorted(rows.items(), reverse=True))


def pseudo_context(source: Source) -> dict[str, Any]:
    """Scores of the pseudo-masks against the truth, by threshold, for the template."""
    context: dict[str, Any] = {"missing": "", "rows": [], "charts": [], "caption": "", "examples": []}
    folder = source.pseudo
    if folder is None:
        return {**context, "missing": source.note or source.pseudo_note}
    try:
        quality = read_quality(folder)
    except (KeyError, TypeError, ValueError) as error:
        return {**context, "missing": f"{folder.path / 'quality.csv'} is broken ({error}); run gazeseg masks again."}
    context["caption"] = _recipe(folder)
    if not quality:
        text = "The data set has no masks, so the quality of its pseudo-masks is unknown. Training does not need it."
        return {**context, "missing": text}
    for threshold, scores in quality.items():
        dice, precision, recall = (np.array([row[k] for row in scores]) for k in (1, 2, 3))
        context["rows"].append(
            {
                "threshold": f"{threshold:g}",
                "cases": f"{len(scores):,}",
                "dice": f"{_mean(dice)} ± {number(float(dice.std()))}",
                "median": _median(dice),
                "precision": _mean(precision),
                "recall": _mean(recall),
            }
        )
        chart = histogram(dice, x_label="Dice against the truth", colour="c-pseudo")
        context["charts"].append({"title": f"Threshold {threshold:g}", "svg": chart, "caption": ""})
    return context


def _recipe(folder: PseudoFolder) -> str:
    maps, crf, pseudo = folder.config.maps, folder.config.crf, folder.config.pseudo
    refined = {
        "heatmap": "not refined",
        "crf": "not refined" if crf.mode == "off" else f"refined by a dense CRF ({crf.mode})",
        "prompt": f"refined by a promptable model ({folder.config.prompt.model}), which may have seen public images",
    }[pseudo.source]
    control = control_label(folder.config.gaze)
    return (
        (f"Control: gaze {control}. " if control else "")
        + f"Heatmap {maps.canvas}, sigma {maps.sigma:g} {maps.sigma_unit}, {refined}; cut at "
        f"{', '.join(f'{t:g}' for t in folder.thresholds)}. Pseudo-masks are made for training cases only."
    )


def citations(sources: Sequence[Source]) -> list[str]:
    """Return the citations that the data sets ask for, each once."""
    texts = [source.dataset.info.citation for source in sources if source.dataset is not None]
    return [text for text in dict.fromkeys(texts) if text]


def pseudo_extremes(folder: PseudoFolder) -> list[tuple[str, str, float]]:
    """Return (rank, case_id, dice) of the best, median and worst pseudo-mask at its best threshold on average."""
    quality = read_quality(folder)
    if not quality:
        return []
    scores = max(quality.values(), key=lambda rows: float(np.mean([row[1] for row in rows])))
    return extremes({row[0]: row[1] for row in scores})


def extremes(values: dict[str, float]) -> list[tuple[str, str, float]]:
    """Return (rank, name, value) of the best, the median and the worst; fewer where there are fewer.

    Examples:
        >>> extremes({"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.6})
        [('best', 'b', 0.9), ('median', 'd', 0.6), ('worst', 'a', 0.2)]
        >>> extremes({"a": 0.2})
        [('only', 'a', 0.2)]
    """
    ranked = sorted(((v, name) for name, v in values.items() if math.isfinite(v)), reverse=True)
    if not ranked:
        return []
    if len(ranked) == 1:
        return [("only", ranked[0][1], ranked[0][0])]
    chosen = {"best": ranked[0], "worst": ranked[-1]}
    if len(ranked) > 2:
        chosen = {"best": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}
    return [(rank, name, value) for rank, (value, name) in chosen.items()]
