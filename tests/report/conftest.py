"""A small data set with gaze and pseudo-masks, and run folders with evaluations, as the other stages leave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.config import DataConfig, EvaluateConfig, MasksConfig, RunConfig, TrainConfig, write_yaml
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.images import safe_name, write_image
from gazeseg.data.pseudo import make_masks
from gazeseg.evaluate.metrics import score_case
from gazeseg.evaluate.results import GAZE_LABELS, write_results
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import Fixations, UInt8Array

HEIGHT, WIDTH = 72, 96
EVIL = "<script>alert('x')</script> & Søn 01"


def ellipse(x: float, y: float, a: float, b: float, turn: float = 0.0) -> np.ndarray:
    """An ellipse mask (HEIGHT, WIDTH)."""
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    u = (xx - x) * np.cos(turn) + (yy - y) * np.sin(turn)
    v = (yy - y) * np.cos(turn) - (xx - x) * np.sin(turn)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


@dataclass(frozen=True)
class World:
    """Everything the tests of the report need, below one folder."""

    root: Path
    dataset: Dataset

    def run(
        self,
        name: str = "gms_s0",
        *,
        method: str = "gazemedseg",
        seed: int = 0,
        error: float = 2.0,
        supervised: bool = False,
        split: str | None = "test",
        missed: int = 0,
        gaze: str | None = None,
        status: str = "paper",
        labelled: float = 1.0,
    ) -> Path:
        """Write a run whose predictions are the truth moved by about ``error`` px; ``split=None``: not evaluated."""
        folder = RunFolder(self.root / "runs" / name)
        folder.path.mkdir(parents=True)
        train = TrainConfig(seed=seed, iterations=1000)
        config = RunConfig(
            method={"name": method}, data=DataConfig(path=self.dataset.root, labelled=labelled), train=train
        )
        write_yaml(folder.config_file, config)
        kind = gaze or self.dataset.info.gaze.kind
        classes = self.dataset.info.classes
        cases = len(self.dataset.split("train"))
        folder.write_task(Task(self.dataset.info.name, classes, 3, 2, (0.5, 0.3), kind, supervised, cases, 480_000))
        folder.environment_file.write_text(json.dumps({"gazeseg": "0.1.0", "python": "3.11.9", "cpu": {"cores": 2}}))
        rng = np.random.default_rng([seed, len(name)])
        rows = []
        for step in range(20, 1001, 20):
            loss = 1.1 * np.exp(-step / 300) + 0.15 + 0.03 * rng.standard_normal()
            row = {"step": step, "time_s": step * 0.21, "lr": 1e-2, "loss": loss}
            rows.append(row | ({"val/dice": 0.8 - 0.6 * np.exp(-step / 250)} if step % 200 == 0 else {}))
        folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if split is not None:
            self.evaluate(folder, split, error=error, missed=missed, rng=rng, header={"status": status})
        return folder.path

    def evaluate(
        self,
        folder: RunFolder,
        split: str,
        *,
        error: float,
        missed: int,
        rng: np.random.Generator,
        header: dict[str, str],
    ) -> None:
        config, task = folder.config(), folder.task()
        target = folder.evaluation(split)
        target.mkdir(parents=True)
        scores, diagonals = [], {}
        for index, case in enumerate(self.dataset.split("test")):
            truth = self.dataset.mask(case)
            dx, dy = rng.normal(0, error, 2).round().astype(int)
            prediction = np.roll(truth, (dy, dx), (0, 1)) if index >= missed else np.zeros_like(truth)
            write_image(target / "predictions" / f"{safe_name(case.case_id)}.png", prediction)
            names = {"case_id": case.case_id, "patient_id": case.patient_id}
            scores += score_case(prediction, truth, num_classes=len(task.classes), **names)
            diagonals[case.case_id] = float(np.hypot(*truth.shape))
        about = {
            "dataset": task.dataset,
            "split": split,
            "by": "case",
            "method": config.method["name"],
            "gaze": GAZE_LABELS[task.gaze],
            "mask_supervised": task.mask_supervised,
            "seed": config.train.seed,
            "select": config.train.select,
            "resize": config.evaluate.resize,
        }
        protocol = "legacy" if split.endswith("-legacy") else "gazeseg"
        rules = {"classes": task.classes, "config": EvaluateConfig(bootstrap=200), "protocol": protocol}
        write_results(target, scores, diagonals=diagonals, header=about | header, **rules)


def build_world(
    root: Path, *, masks: bool = True, gaze: str = "recorded", train: int = 6, test: int = 5, classes: int = 2
) -> World:
    """Write images with one object a case, fixations around it, and pseudo-masks without a CRF."""
    rng = np.random.default_rng(7)
    cases, fixations = [], []
    for folder in ("images", "masks"):
        (root / "source" / folder).mkdir(parents=True)
    for index in range(train + test):
        case_id = EVIL if index == train else f"case {index:02d}"
        x, y = rng.uniform(30, WIDTH - 30), rng.uniform(24, HEIGHT - 24)
        a, b = rng.uniform(12, 20), rng.uniform(9, 14)
        truth = ellipse(x, y, a, b).astype(np.uint8)
        if classes > 2:
            truth += ellipse(x, y, a / 2, b / 2).astype(np.uint8)
        image = _picture(truth, rng)
        names = f"{index:02d}.png"
        Image.fromarray(image).save(root / "source/images" / names)
        Image.fromarray(truth * (255 if classes == 2 else 1)).save(root / "source/masks" / names)
        mask = root / "source/masks" / names if masks else None
        split = "train" if index < train else "test"
        cases.append(Case(case_id, f"p{index // 2}", split, root / "source/images" / names, mask, HEIGHT, WIDTH))
        n = int(rng.integers(6, 14))
        place = np.clip(rng.normal((x, y), (a / 2, b / 2), (n, 2)), 0, (WIDTH - 1, HEIGHT - 1))
        duration = rng.gamma(4, 80, n)
        onset = np.concatenate([[0.0], np.cumsum(duration[:-1] + 30)])
        fixations.append(Fixations(place[:, 0], place[:, 1], onset, duration, (HEIGHT, WIDTH), case_id))
    info = DatasetInfo(
        name="Phantom <polyps>",
        classes=("background", "polyp") if classes == 2 else ("background", "rim", "core"),
        modality="colour endoscopy (generated)",
        roots=Roots(images=root / "source/images", masks=root / "source/masks" if masks else None),
        gaze=GazeInfo(kind=gaze, source="generated for a test"),
        split_note="Drawn by patient with seed 0.",
        citation="Nobody et al., Phantoms for tests, 2024.",
    )
    dataset = write_dataset(root / "DS", info, cases, fixations)
    config = MasksConfig.model_validate(
        {"maps": {"canvas": "native", "sigma": 6}, "crf": {"mode": "off"}, "pseudo": {"thresholds": (0.5, 0.3)}}
    )
    make_masks(dataset, dataset.root / "pseudo", config, jobs=1)
    return World(root, dataset)


def _picture(truth: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    light = 1 - 0.5 * np.hypot((xx - WIDTH / 2) / WIDTH, (yy - HEIGHT / 2) / HEIGHT)
    base = np.stack([190 * light, 95 * light, 75 * light], axis=-1)
    base[truth > 0] *= 1.18
    return np.clip(base + rng.normal(0, 5, base.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """The builder of worlds."""
    return build_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh world with recorded gaze and masks."""
    return build_world(tmp_path)
