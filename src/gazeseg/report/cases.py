"""Cases as pictures: image, gaze, pseudo-mask and prediction of the best, median and worst of each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import read_mask, safe_name
from gazeseg.data.pseudo import case_maps
from gazeseg.errors import GazeSegError
from gazeseg.gaze.control import changes_maps
from gazeseg.predict.explanation import Explanation
from gazeseg.report.datasets import Source, extremes, pseudo_extremes
from gazeseg.report.explain import explanation_figure
from gazeseg.report.overlays import BoolMask, Panel, data_uri, image_symbols, image_uri, panel_svg
from gazeseg.report.reading import load_reading
from gazeseg.report.runs import Group, Run
from gazeseg.report.text import number
from gazeseg.report.volumes import worst_slice
from gazeseg.supervision.levels import nested_levels
from gazeseg.types import IGNORE, Float32Array, UInt8Array

IMAGE_BYTES = 4_000_000  # of all pictures together: the page stays small enough to be mailed
SIDES = (420, 320, 240, 160, 100)  # px of the longer side of a picture, tried in turn
Masks = dict[str, BoolMask]
Explain = Callable[[Path, str], Explanation | None]
"""From a run folder and a case id to what the method shows of the case; None where that is its prediction alone."""


class Gallery:
    """Builds the panels of cases; reads each image once, however many panels and methods show it."""

    def __init__(self) -> None:
        self._images: dict[
            str, tuple[UInt8Array, tuple[int, int]]
        ] = {}  # element id -> picture, (H, W) of the original
        self._ids: dict[tuple[int, str], str] = {}
        self._pseudo: dict[tuple[int, str], Masks] = {}

    def view(
        self,
        source: Source,
        case_id: str,
        rank: str,
        score: float,
        *,
        prediction: Masks | None = None,
        heat: Float32Array | None = None,
    ) -> dict[str, Any]:
        """Return one case for the template: image, gaze, pseudo-mask and, where given, heatmap and prediction.

        Raises:
            DataError: if the case, its image or its mask cannot be read.
        """
        dataset = source.dataset
        assert dataset is not None  # noqa: S101 -- callers skip sources whose data set is gone
        case = dataset.case(case_id)
        symbol, canvas = self._symbol(source, case), np.empty((*case.size, 1), np.uint8)
        truth: Masks = {}
        if case.mask is not None:
            truth = class_masks("truth", dataset.mask(case), dataset.info.classes)
        fixations = dataset.fixations[case_id]
        panels = [Panel(canvas, "image")]
        panels.append(Panel(canvas, "gaze" if len(fixations) else "no gaze", fixations))
        if heat is not None:
            panels.append(Panel(canvas, "heatmap", None, heat))
        pseudo = self._pseudo_masks(source, case)
        if pseudo:
            cuts = ", ".join(name.partition(" ")[2] for name in pseudo)
            panels.append(Panel(canvas, f"pseudo-mask {cuts}", None, None, pseudo | truth))
        if prediction is not None:
            panels.append(Panel(canvas, "prediction", None, None, truth | prediction))
        views = [{"title": panel.title, "svg": panel_svg(symbol, panel)} for panel in panels]
        return {
            "rank": rank,
            "case_id": case_id,
            "score": f"Dice {number(score, 2)}",
            "panels": views,
            "explanation": "",
        }

    def render(self) -> Markup:
        """Return the definitions of all images; they shrink until they fit into ``IMAGE_BYTES``."""
        for side in SIDES:
            uris = {name: (data_uri(picture, side), size) for name, (picture, size) in self._images.items()}
            if sum(len(uri) for uri, _ in uris.values()) <= IMAGE_BYTES:
                break
        return image_symbols(uris)

    def _symbol(self, source: Source, case: Case) -> str:
        key = (id(source), case.case_id)
        if key not in self._ids:
            picture = np.full((*case.size, 1), 60, np.uint8)  # a data set of gaze and masks alone has no image
            if case.image is not None and source.dataset is not None:
                picture = source.dataset.image(case)
            step = max(1, max(case.size) // (2 * SIDES[0]))  # no more is kept than a picture needs
            self._ids[key] = f"image-{len(self._ids)}"
            self._images[self._ids[key]] = (picture[::step, ::step].copy(), case.size)
        return self._ids[key]

    def _pseudo_masks(self, source: Source, case: Case) -> Masks:
        """Read the levels of a case; for a test case, which has none on disk, draw them as training cases get them."""
        folder, dataset = source.pseudo, source.dataset
        if folder is None or dataset is None:
            return {}
        key = (id(source), case.case_id)
        if key not in self._pseudo:
            if folder.file("levels", case.case_id).is_file():
                levels = folder.levels(case.case_id)
            elif (
                case.image is None
                or not len(dataset.fixations[case.case_id])
                or changes_maps(folder.config.gaze)
                or folder.config.pseudo.source == "prompt"
            ):
                return {}  # a gaze control is for training cases, and a report loads no promptable model
            else:
                heat, refined = case_maps(dataset, case, folder.config)
                soft = refined if refined is not None and folder.config.pseudo.source == "crf" else heat
                levels = nested_levels(soft, folder.thresholds, case.case_id).labels
            named = zip(folder.thresholds, levels, strict=True)
            self._pseudo[key] = {f"pseudo {threshold:g}": level.astype(bool) for threshold, level in named}
        return self._pseudo[key]


def class_masks(role: str, labels: UInt8Array, classes: Sequence[str]) -> Masks:
    """Split class indices (H, W) into one mask a foreground class, named by ``role`` and, for several, the class."""
    if len(classes) == 2:
        return {role: (labels > 0) & (labels != IGNORE)}
    return {f"{role} {name}": labels == index for index, name in enumerate(classes) if index}


def cases_context(
    groups: Sequence[Group], sources: Mapping[str, Source], gallery: Gallery, explain: Explain | None = None
) -> dict[str, Any]:
    """Best, median and worst case of each evaluated group, from its run of the lowest seed.

    Args:
        groups: Rows of the results.
        sources: Data set by the name of the run folder.
        gallery: Takes the images.
        explain: Adds to each case what its method shows of it.
    """
    shown = []
    notes: list[str] = []
    for group in groups:
        run = min((run for run in group.runs if run.scores), key=lambda run: run.seed, default=None)
        if run is None:
            continue
        source = sources[str(run.folder.path)]
        if source.dataset is None:
            notes.append(source.note)
            continue
        try:
            views = [
                gallery.view(source, case_id, rank, value, prediction=_prediction(run, case_id, source))
                for rank, case_id, value in _chosen(run, source.dataset)
            ]
        except (GazeSegError, OSError) as error:
            notes.append(f"No pictures of {group.label}: {error}")
            continue
        if explain is not None:
            notes += _add_explanations(views, run, source.dataset, explain)
        name = f"{run.name}, seed {run.seed}" if len(group.runs) > 1 else run.name
        shown.append({"label": group.label, "colour": group.colour, "run": name, "views": views})
    missing = " ".join(dict.fromkeys(notes))
    if not shown and not missing:
        missing = "Nothing is evaluated yet, so there is no prediction to show."
    caption = "Pseudo-masks of test cases are drawn for this page alone; no training sees them."
    has_test = any(run.split.startswith("test") for group in groups for run in group.runs)
    return {"groups": shown, "missing": missing, "caption": caption if shown and has_test else ""}


def _chosen(run: Run, dataset: Dataset) -> list[tuple[str, str, float]]:
    """Return (rank, case id, Dice) of what is shown: of a volume the slice that fails most."""
    ranked = extremes(run.dice)
    if run.summary.get("by") != "volume":
        return ranked
    shown = []
    for rank, volume_id, dice in ranked:
        case_id, value = worst_slice(run, dataset, volume_id)
        shown.append((f"{rank} volume (Dice {number(dice, 2)}), its worst slice", case_id, value))
    return shown


def _add_explanations(views: Sequence[dict[str, Any]], run: Run, dataset: Dataset, explain: Explain) -> list[str]:
    """Add the figure of each case as a data URI; return why not, where a method that has one cannot give it."""
    for view in views:
        try:
            explanation = explain(run.folder.path, view["case_id"])
            if explanation is not None:
                figure = explanation_figure(load_reading(dataset, view["case_id"]), explanation, "webp")
                view["explanation"] = image_uri(figure, "webp")
        except (GazeSegError, OSError) as error:
            return [f"{run.name} is not explained: {error}"]
    return []


def _prediction(run: Run, case_id: str, source: Source) -> Masks | None:
    """Read the stored mask of a case, None where the evaluation kept none."""
    file = run.folder.evaluation(run.split) / "predictions" / f"{safe_name(case_id)}.png"
    if source.dataset is None or not file.is_file():
        return None
    classes = run.task.classes
    labels = read_mask(file, source.dataset.case(case_id).size, len(classes), case_id, encoding="index")
    return class_masks("prediction", labels, classes)


def add_pseudo_examples(context: dict[str, Any], source: Source, gallery: Gallery) -> None:
    """Add the best, median and worst pseudo-mask to the context of :func:`~gazeseg.report.datasets.pseudo_context`."""
    if source.pseudo is None or source.dataset is None or not context["rows"]:
        return
    try:
        context["examples"] = [
            gallery.view(source, case_id, rank, dice, heat=source.pseudo.heatmap(case_id))
            for rank, case_id, dice in pseudo_extremes(source.pseudo)
        ]
    except (GazeSegError, OSError) as error:
        context["missing"] = f"No pictures of pseudo-masks: {error}"
