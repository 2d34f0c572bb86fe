"""What an exported model says about itself: a few machine-readable keys, and a model card for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazeseg import __version__
from gazeseg.data.dataset import Dataset
from gazeseg.data.schema import MAY_HAVE_SEEN
from gazeseg.data.transforms import resolve_normalise
from gazeseg.errors import DataError
from gazeseg.evaluate.results import gaze_label, read_summary
from gazeseg.predict.predictor import Predictor
from gazeseg.train.runfolder import RunFolder

UNKNOWN = "unknown"


def describe_task(predictor: Predictor) -> dict[str, Any]:
    """Return what somebody who holds the network alone has to know to use it."""
    config, task = predictor.config, predictor.task
    return {
        "gazeseg": __version__,
        "method": config.method.get("name", UNKNOWN),
        "status": predictor.method.reference.status,
        "network": config.network.name,
        "classes": list(task.classes),
        "channels": task.in_channels,
        "colour": "RGB" if task.in_channels == 3 else "grey",
        "values": "0..255",
        "learnt_at": list(config.data.size),
        "normalise": f"inside: {resolve_normalise(config.data.normalise, task.in_channels)}",
        "resize": "bilinear with antialiasing, to learnt_at, not keeping the aspect",
        "dataset": task.dataset,
        "gaze": gaze_label(task.gaze, task.gaze_control),
        "weights": predictor.identity["weights"],
    }


def figures(run: Path) -> list[dict[str, Any]]:
    """Return the summary of every evaluation of a run, in the order of the names of the splits."""
    folder = RunFolder(run).path / "evaluation"
    paths = sorted(folder.glob("*/summary.json"))
    return [{"name": path.parent.name, **read_summary(path.parent)} for path in paths]


def model_card(predictor: Predictor, run: Path, *, licence: str = "") -> str:
    """Return the card of a hub folder: data, gaze, protocol, figures, licence and limits.

    What is not known is called so; nothing is made up.

    Args:
        predictor: The loaded run.
        run: Its folder, whose evaluations are quoted.
        licence: What the weights may be used for; empty: not stated.
    """
    task, method = predictor.task, predictor.method
    name = str(predictor.config.method.get("name", UNKNOWN))
    reference = method.reference
    kind = {"paper": "following the paper", "reconstruction": "a reconstruction: the paper leaves details open"}
    dataset = _dataset(predictor)
    citation = dataset.info.citation if dataset is not None else ""
    learnt = "ground-truth masks" if task.mask_supervised else gaze_label(task.gaze, task.gaze_control)
    if task.gaze == "simulated":
        learnt += ", so that masks were needed to make it"
    lines = [
        "---",
        "library_name: gazeseg",
        "pipeline_tag: image-segmentation",
        *([f"license: {licence}"] if licence else ["license: other", "license_name: not-stated"]),
        "tags: [medical, segmentation, eye-tracking, weak-supervision]",
        "---",
        "",
        f"# {name} on {task.dataset}",
        "",
        f"Segments {', '.join(task.classes[1:])} in {'colour' if task.in_channels == 3 else 'grey'} images. "
        f"Made with gazeseg {__version__}. Research use; not a medical device.",
        "",
        "```python",
        "import gazeseg",
        "",
        'mask = gazeseg.load("this-folder")(array).mask',
        "```",
        "",
        "## Data and supervision",
        "",
        f"- Data set: {task.dataset}, {task.train_cases} training cases"
        + (f"; {dataset.info.modality}" if dataset is not None and dataset.info.modality else ""),
        *([f"- Split: {dataset.info.split_note}"] if dataset is not None and dataset.info.split_note else []),
        f"- Learnt from: {learnt}",
        *([f"- Pseudo-masks: by {task.drawn_by}; {MAY_HAVE_SEEN}"] if task.drawn_by else []),
        *([f"- Text in training: {task.text}"] if task.text != "none" else []),
        *([f"- Cite: {citation}"] if citation else []),
        "",
        "## Method",
        "",
        f"- {reference.title} ({reference.venue}), {kind.get(reference.status, reference.status)}",
        *([f"- {reference.url}"] if reference.url else []),
        f"- Network {predictor.config.network.name}, {task.parameters:,} parameters, learnt at "
        f"{predictor.config.data.size[0]} x {predictor.config.data.size[1]} px",
        f"- Seed {predictor.config.train.seed}, {predictor.config.train.iterations} iterations, checkpoint "
        f"{predictor.checkpoint or UNKNOWN} (select: {predictor.config.train.select})",
        "",
        "## Figures",
        "",
        *_figures(run),
        "",
        "## Licence",
        "",
        f"{licence}." if licence else "Not stated by whoever exported this; the terms of the data set apply.",
        "",
        "## Limits",
        "",
        f"- It has seen {task.dataset} alone; on other scanners, sites and patients its figures are unknown.",
        "- It always answers: an image without the object, or of another kind, gets a mask as well.",
        *(["- Its gaze was simulated from true masks: its figures say nothing about recorded gaze."]
          if task.gaze == "simulated" else []),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _figures(run: Path) -> list[str]:
    rows = []
    for summary in figures(run):
        mean, hd95 = summary["mean"], summary["headline_hd95"]
        low, high = mean["dice"]["ci95"] or (float("nan"), float("nan"))
        rows.append(
            f"| {summary['name']} | {summary['cases']} | {mean['dice']['mean']:.3f} [{low:.3f}, {high:.3f}] | "
            f"{mean['iou']['mean']:.3f} | {_number(mean[hd95]['mean'])} {summary['unit']} | {mean['missed']} | "
            f"{mean['false_alarms']} | {summary['protocol']} |"
        )
    if not rows:
        return ["Not evaluated."]
    return [
        "| split | cases | Dice [95 % CI over cases] | IoU | HD95 | missed | false alarms | protocol |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Means over cases; an empty prediction of a present object scores 0. One run, so no spread over seeds.",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _dataset(predictor: Predictor) -> Dataset | None:
    """Return the data set, where it is still there."""
    path = predictor.config.data.path
    try:
        return Dataset.load(path) if path is not None else None
    except DataError:
        return None
