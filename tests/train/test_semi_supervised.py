"""Runs on few labelled patients: no mask of another patient reaches a weight."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg.config import MasksConfig, RunConfig, build, merge
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots, write_dataset
from gazeseg.data.pseudo import make_masks
from gazeseg.errors import ConfigError, DataError
from gazeseg.methods import available
from gazeseg.train import checkpoint
from gazeseg.train.run import train
from gazeseg.types import Fixations

VALUES = {
    "data": {"size": [32, 32], "labelled": "2 patients", "augment": {"rotate_deg": 20}},
    "network": {"name": "small_unet", "features": [4, 8, 8]},
    "train": {
        "iterations": 3, "batch_size": 4, "optimizer": "adamw", "lr": 5e-3, "log_every": 1, "threads": 1,
        "device": "cpu",
    },
}  # fmt: skip
BLIND = [name for name, method in available().items() if method.needs == {"mask"}]
SEMI = [name for name, method in available().items() if method.needs >= {"mask", "labelled"}]
MASKS = {
    "maps": {"canvas": "native", "sigma": 3.0},
    "crf": {"mode": "off"},
    "pseudo": {"source": "heatmap", "thresholds": [0.5]},
}


def make_slices(root) -> Dataset:
    """Three classes, five training patients with a volume of three slices each, and one for validation."""
    rng = np.random.default_rng(0)
    files = root.with_name("files")
    files.mkdir(parents=True)
    cases, gaze = [], []
    for patient in range(6):
        for k in range(3):
            name = f"p{patient}_slice_{k}"
            labels = np.zeros((36, 32), np.uint8)
            labels[8:24, 6:20], labels[12:18, 10:16] = 1, 2
            labels = np.roll(labels, rng.integers(0, 8, 2), axis=(0, 1))
            pixels = (60 * labels + rng.integers(0, 40, labels.shape)).astype(np.uint8)
            Image.fromarray(pixels).save(files / f"{name}.png")
            Image.fromarray(labels).save(files / f"{name}_mask.png")
            split = "val" if patient == 5 else "train"
            cases.append(
                Case(
                    name, f"p{patient}", split, files / f"{name}.png", files / f"{name}_mask.png", 36, 32,
                    volume_id=f"p{patient}", slice_index=k,
                )
            )  # fmt: skip
            x_px, y_px = rng.uniform(4, 28, (2, 3))
            gaze.append(Fixations(x_px, y_px, [0.0, 300, 600], [200.0, 250, 150], (36, 32), name))
    info = DatasetInfo(
        name="slices",
        classes=("background", "outer", "inner"),
        channels=1,
        mask_encoding="index",
        roots=Roots(images=files, masks=files),
        labelled_order=("p3", "p1"),
    )
    return write_dataset(root, info, cases, gaze)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return make_slices(tmp_path_factory.mktemp("data") / "DS")


def _config(dataset: Dataset, method: str, /, **sections) -> RunConfig:
    two_stream = {"labelled_per_batch": 2} if method in SEMI else {}
    values = merge(VALUES, {"method": {"name": method}, "data": {"path": str(dataset.root), **two_stream}})
    return build(RunConfig, merge(values, sections), "test")


@pytest.mark.parametrize("method", BLIND + SEMI)
def test_masks_of_unlabelled_patients_are_not_opened_and_change_no_weight(dataset, tmp_path, method):
    ends = []
    for spoilt in (False, True):
        root, maps = tmp_path / f"spoilt-{spoilt}", tmp_path / f"maps-{spoilt}"
        copied = write_dataset(root, dataset.info, dataset.cases, list(dataset.fixations.values()), copy=True)
        make_masks(copied, maps, build(MasksConfig, MASKS, "test"), jobs=1)
        for case in copied.split("train") if spoilt else ():
            if case.patient_id not in ("p3", "p1"):
                case.mask.write_bytes(b"no image")  # who opens it fails
        run = train(_config(copied, method, data={"pseudo": str(maps)}), tmp_path / f"run-{spoilt}")
        assert run.environment()["labelled_patients"] == ["p1", "p3"]
        ends.append(checkpoint.load_weights(run))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_masks_of_labelled_patients_do(dataset, tmp_path):
    ends = []
    for spoilt in (False, True):
        copied = write_dataset(tmp_path / f"spoilt-{spoilt}", dataset.info, dataset.cases, [], copy=True)
        if spoilt:
            shutil.copyfile(copied.case("p0_slice_0").mask, copied.case("p3_slice_1").mask)
        ends.append(checkpoint.load_weights(train(_config(copied, "full"), tmp_path / f"run-{spoilt}")))
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_labelled_patients_that_cannot_be_are_refused(dataset, tmp_path):
    with pytest.raises(DataError, match=r"no training patient 'p9'"):
        train(_config(dataset, "full", data={"labelled": ["p1", "p9"]}), tmp_path / "run")
    with pytest.raises(DataError, match=r"no training patient 'p5'"):  # it validates
        train(_config(dataset, "full", data={"labelled": ["p5"]}), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"every training case is labelled"):
        train(_config(dataset, "full", data={"labelled_per_batch": 2}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
