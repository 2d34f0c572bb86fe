"""What a trained run shows of one case: the maps of ``Method.explain`` as arrays.

A prediction needs an image alone. An explanation may also draw what was learnt from: the case's own recorded gaze, its
pseudo-masks, its text. Nothing of that changes the prediction.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from gazeseg import methods
from gazeseg.config import GazeConfig
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.loader import TEXT
from gazeseg.data.pseudo import PseudoFolder, default_path
from gazeseg.data.single import single_batch
from gazeseg.data.text import DESCRIPTIONS, TextStore, load_text
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.control import control_label
from gazeseg.methods.base import Method
from gazeseg.predict.explanation import Explanation, Map
from gazeseg.predict.predictor import Predictor
from gazeseg.text.describe import read_descriptions
from gazeseg.text.schema import sentence
from gazeseg.train.plan import MAPS
from gazeseg.train.runfolder import RunFolder


def explain_case(predictor: Predictor, dataset: Dataset, case_id: str) -> Explanation:
    """Explain one case.

    Args:
        predictor: The trained run.
        dataset: The data set of the case; by rights the one that the run learnt from.
        case_id: The case, of any split.

    Raises:
        DataError: if there is no such case, the images are of another kind than the run's, or what the method learnt
            from (pseudo-mask recipe, text) is gone.
    """
    case, config, method = dataset.case(case_id), predictor.config, predictor.method
    if dataset.info.channels != predictor.task.in_channels:
        raise DataError(
            f"{dataset.root}: images of {dataset.info.channels} channels, but the run learnt from "
            f"{predictor.task.in_channels}; name the data set of the run with --data"
        )
    needs = method.needs if explains(type(method)) else frozenset()
    notes = []
    if needs & (MAPS | {"track"}) and control_label(config.gaze):
        notes.append(f"trained under a gaze control ({control_label(config.gaze)}); drawn is the case's own gaze")
    text = _text(predictor, dataset) if needs & TEXT else None
    described = text is not None and case_id in text.ids
    if text is not None and not described:
        notes.append("this case has no text: cases of the test split are never described")
    if described and config.text.control != "none":
        notes.append(f"trained under text.control {config.text.control}; the text is the case's own")
    folder = _pseudo_folder(predictor, dataset) if needs & MAPS else None
    maps = folder.config.model_copy(update={"gaze": GazeConfig()}) if folder else None
    prompted = None
    if folder and config.pseudo.source == "prompt":
        if folder.config.gaze.control == "none" and folder.file("prompt", case_id).is_file():
            prompted = folder.soft("prompt", case_id)
        else:
            notes.append("no promptable model was asked about this case's own gaze; targets are of its CRF map")
    batch = single_batch(dataset, case, config, needs, maps=maps, prompted=prompted, text=text)
    with torch.inference_mode():
        layers = method.explain(batch.to(predictor.device))
    found = (Map(i.row, i.title, i.values.float().cpu().numpy().astype(np.float32), i.kind) for i in layers)
    description = _description(predictor, dataset, case) if described else ""
    return Explanation(case_id, method.name, method.reference.status, tuple(found), description, tuple(notes))


def explains(kind: type[Method]) -> bool:
    """True where a method has more to show than its prediction."""
    return kind.explain is not Method.explain


class Explainer:
    """Explains cases of many runs, each loaded once; ``None`` for a method that shows nothing but its prediction.

    Args:
        device: Where to compute.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._runs: dict[Path, tuple[Predictor, Dataset] | None] = {}

    def __call__(self, run: Path, case_id: str) -> Explanation | None:
        """Explain a case of the data set that the run learnt from.

        Raises:
            DataError: if run, data set or case cannot be read.
            ConfigError: if the run's method is not installed.
        """
        if run not in self._runs:
            config = RunFolder(run).config()
            kind = methods.find(str(config.method.get("name")))
            opened = None
            if explains(kind):
                opened = Predictor.load(run, device=self._device), open_dataset(run, None)
            self._runs[run] = opened
        found = self._runs[run]
        return None if found is None else explain_case(*found, case_id)


def open_dataset(run: Path, data: Path | None) -> Dataset:
    """Open ``data``, or the data set that the run learnt from.

    Raises:
        ConfigError: if neither is named.
        DataError: if it cannot be read.
    """
    path = data or RunFolder(run).config().data.path
    if path is None:
        raise ConfigError(f"{run}: its configuration names no data set; name one with --data DS")
    return Dataset.load(path)


def _pseudo_folder(predictor: Predictor, dataset: Dataset) -> PseudoFolder:
    """Open the folder that the run learnt from; where it is gone, that of the data set at hand."""
    config, prompted = predictor.config, predictor.config.pseudo.source == "prompt"
    learnt_from = config.data.pseudo or default_path(config.data.path or dataset.root, config.gaze, prompted=prompted)
    here = default_path(dataset.root, GazeConfig(), prompted=prompted)
    return PseudoFolder.load(learnt_from if learnt_from.is_dir() else here)


def _text_folder(predictor: Predictor, dataset: Dataset) -> Path:
    return predictor.config.text.path or Path(os.path.abspath(dataset.root)) / "text"


def _text(predictor: Predictor, dataset: Dataset) -> TextStore:
    return load_text(_text_folder(predictor, dataset), dataset.root, (case.case_id for case in dataset.cases))


def _description(predictor: Predictor, dataset: Dataset, case: Case) -> str:
    """Return the sentence that was encoded for a case, empty where the descriptions themselves are gone."""
    file = _text_folder(predictor, dataset) / DESCRIPTIONS
    if not file.is_file():
        return ""
    entries = (entry for entry in read_descriptions(file) if entry.case_id == case.case_id)
    return next((sentence(entry.description).text for entry in entries), "")
