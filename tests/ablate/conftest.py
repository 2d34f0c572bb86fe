"""A small data set, grids of tiny trainings on it, and jobs that run in this process where none has to be started."""

from __future__ import annotations

import contextlib
import csv
import shutil
import traceback
from pathlib import Path

import pytest
import torch
import yaml

from gazeseg.ablate.job import Job
from gazeseg.data.dataset import Dataset
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.errors import GazeSegError

BASE = {
    "method": {"name": "gaze_unet"},
    "data": {"size": [32, 32]},
    "network": {"name": "small_unet", "features": [4, 8, 8]},
    "pseudo": {"thresholds": [0.5]},
    "train": {
        "iterations": 4, "batch_size": 2, "optimizer": "adamw", "lr": 5e-3, "checkpoint_every": 2, "log_every": 1,
        "threads": 1, "device": "cpu",
    },
    "evaluate": {"bootstrap": 100},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums over several threads round differently; these tests compare bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A data set with masks, simulated gaze and pseudo-masks."""
    made = make_demo_dataset(tmp_path_factory.mktemp("ablate") / "DS", cases=12, size=(40, 40))
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}), jobs=1)
    return made.root


@pytest.fixture(scope="session")
def unmasked(dataset) -> Path:
    """The same without a mask on disk."""
    bare = dataset.with_name("bare")
    shutil.copytree(dataset, bare, ignore=shutil.ignore_patterns(".cache"))
    shutil.rmtree(bare / "masks")
    with (bare / "cases.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with (bare / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "mask": ""} for row in rows)
    assert not Dataset.load(bare).has_masks
    return bare


@pytest.fixture
def write_grid(tmp_path, dataset):
    """Write a grid file; keys given replace the usual ones."""

    def write(cells, **keys) -> Path:
        path = tmp_path / "grid.yaml"
        base = {**BASE, "data": {**BASE["data"], "path": str(dataset)}}
        document = {"base": base, "seeds": [0], "reference": next(iter(cells)), "cells": cells, **keys}
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    return write


class Inline:
    """Stands for the process of a job that has ended."""

    def __init__(self, status: int) -> None:
        self.status = status

    def poll(self) -> int:
        return self.status

    def terminate(self) -> None:
        """It has ended."""

    def wait(self) -> int:
        return self.status


@pytest.fixture
def inline(monkeypatch) -> list[str]:
    """Run jobs in this process; the list names the folders in the order in which they were started."""
    started: list[str] = []

    def start(job: Job) -> Inline:
        started.append("/".join(Path(job.folder).parts[-2:]))
        with Path(job.log).open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
            try:
                job.run()
            except GazeSegError as error:
                print(f"gazeseg: {error}", file=log)
                return Inline(2)
            except RuntimeError:
                traceback.print_exc(file=log)
                return Inline(1)
        return Inline(0)

    monkeypatch.setattr(Job, "start", start)
    monkeypatch.setattr("gazeseg.train.runlog.draw_curves", lambda rows, path: None)  # half of such a run's time
    monkeypatch.setattr("gazeseg.ablate.run._POLL_S", {"local": 0.0, "slurm": 0.0})
    return started
