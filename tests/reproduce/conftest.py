"""Evaluated run folders of any method, data set and gaze, as training and evaluation leave them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gazeseg.config import NetworkConfig, RunConfig, merge, write_yaml
from gazeseg.evaluate.results import gaze_label, write_results
from gazeseg.methods import create
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import CaseScore


def write_run(
    path: Path,
    dices: Sequence[float],
    *,
    values: dict[str, Any],
    seed: int = 0,
    dataset: str = "Kvasir-SEG",
    gaze: str = "recorded",
    text: str = "none",
    drawn_by: str = "",
    protocol: str = "gazeseg",
    train_checksum: str = "8f6bd134617d78ef",
) -> Path:
    """Write a run folder whose test cases ``c0, c1, ...`` have these Dice."""
    path.mkdir(parents=True)
    config = RunConfig.model_validate(merge(values, {"train": {"seed": seed}, "evaluate": {"bootstrap": 100}}))
    small = NetworkConfig(name="small_unet", features=(4, 8, 8))  # the keys of these methods do not depend on it
    method = create(config.method, network=small, in_channels=3, num_classes=2, levels=2, seed=0)
    section = {"name": method.name, **method.config.model_dump(mode="json")}
    config = config.model_copy(update={"method": section})
    folder = RunFolder(path)
    write_yaml(folder.config_file, config)
    supervised = "mask" in method.needs
    kind = "none" if supervised else gaze
    classes = ("background", "x")
    folder.write_task(
        Task(dataset, classes, 3, 2, (0.5, 0.3), kind, supervised, 900, 530_000, text=text, drawn_by=drawn_by)
    )
    environment = {
        "gazeseg": "0.1.0",
        "python": "3.11.7",
        "device": "x86_64",
        "packages": {"torch": "2.13.0"},
        "train": {"cases": 900, "checksum": train_checksum},
    }
    folder.environment_file.write_text(json.dumps(environment), encoding="utf-8")
    evaluation = folder.evaluation("test" + ("-legacy" if protocol == "legacy" else ""))
    evaluation.mkdir(parents=True)
    scores = [
        CaseScore(f"c{i}", f"c{i}", 1, dice, dice / (2 - dice), dice, dice, *([9.0] * 4), unit="px", empty="none")
        for i, dice in enumerate(dices)
    ]
    header = {
        "dataset": dataset,
        "split": "test",
        "by": "case",
        "method": method.name,
        "status": method.reference.status,
        "gaze": gaze_label(kind) if kind != "none" else "none",
        "text": text,
        "drawn_by": drawn_by,
        "select": "last",
        "resize": "logit",
    }
    write_results(
        evaluation,
        scores,
        classes=classes,
        config=config.evaluate,
        protocol=protocol,
        diagonals={score.case_id: math.hypot(9, 9) for score in scores},
        header=header,
    )
    return path


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """The writer of run folders."""
    return write_run
