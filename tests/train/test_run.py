"""Whole runs on a generated dataset folder: repeatable, resumable, and blind to the test split."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg.config import CrfConfig, RunConfig, build, merge, read_yaml
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.split import group_split, split_checksum
from gazeseg.errors import ConfigError, DataError, GazeSegError
from gazeseg.methods.full import Full
from gazeseg.train import checkpoint, run
from gazeseg.train.run import train
from gazeseg.train.runfolder import Annotation, RunFolder
from gazeseg.types import Fixations

SIZE = 32
VALUES = {
    "data": {"size": [SIZE, SIZE], "augment": {"rotate_deg": 20, "brightness": 0.1}},
    "network": {"name": "small_unet", "features": [4, 8, 8]},
    "train": {
        "iterations": 6, "batch_size": 4, "optimizer": "adamw", "lr": 5e-3, "checkpoint_every": 2, "log_every": 2,
        "threads": 1, "device": "cpu",
    },
}  # fmt: skip


def _make_dataset(root: Path, *, masks: bool = True, val: int = 3, silent: int = 0) -> Dataset:
    """Write bright discs on noise, one a patient, with three fixations inside; the first ``silent`` have none."""
    rng = np.random.default_rng(0)
    files = root.with_name(root.name + "-files")
    files.mkdir(parents=True)
    cases, gaze = [], []
    for i, split in enumerate(["train"] * 10 + ["val"] * val + ["test"] * 3):
        name, height, width = f"case {i}", 40, 48
        y, x = np.mgrid[:height, :width]
        cy, cx = rng.uniform(14, 26), rng.uniform(14, 34)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 81
        pixels = rng.normal(80, 20, (height, width)) + 90 * disc
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files / f"{name}.png")
        if masks:
            Image.fromarray(disc.astype(np.uint8) * 255).save(files / f"{name} mask.png")
        mask = files / f"{name} mask.png" if masks else None
        cases.append(Case(name, f"p{i}", split, files / f"{name}.png", mask, height, width))
        if i >= silent:
            onsets, durations = np.arange(3) * 300.0, np.full(3, 250.0)
            gaze.append(Fixations(cx + np.arange(3) - 1.0, np.full(3, cy), onsets, durations, (height, width), name))
    info = DatasetInfo(
        name="discs",
        classes=("background", "disc"),
        channels=1,
        roots=Roots(images=files, masks=files if masks else None),
        gaze=GazeInfo(kind="simulated"),
        supervision={"pseudo": {"thresholds": [0.6, 0.4]}, "partial": {"tau_b": 0.2}},
    )
    return write_dataset(root, info, cases, gaze)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """The data set, whose test images no one can read: the trainer must not notice."""
    made = _make_dataset(tmp_path_factory.mktemp("data") / "DS", silent=2)
    config = resolve_config(made, {"crf": {"mode": "off"}})
    make_masks(made, made.root / "pseudo", config, jobs=1)
    for case in made.split("test"):
        case.image.write_bytes(b"no image")
        case.mask.unlink()
    return made


def _config(dataset: Dataset, name: str, /, **sections) -> RunConfig:
    values = merge(VALUES, {"method": {"name": name}, "data": {"path": str(dataset.root)}})
    return build(RunConfig, merge(values, sections), "test")


def _weights(folder: RunFolder, which: str = "last") -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(folder, which)


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def weak_run(dataset, tmp_path_factory) -> RunFolder:
    return train(_config(dataset, "gaze_unet"), tmp_path_factory.mktemp("runs") / "new" / "weak")


def test_weak_run_leaves_a_described_folder(weak_run, dataset):
    task, environment, config = weak_run.task(), weak_run.environment(), weak_run.config()
    assert (task.dataset, task.classes, task.in_channels) == ("discs", ("background", "disc"), 1)
    assert (task.levels, task.thresholds, task.gaze) == (2, (0.6, 0.4), "simulated")
    assert (task.mask_supervised, task.train_cases) == (False, 8)
    assert task.annotation == Annotation(0, 0.0, 0.0, masks=8)  # of simulated gaze: the masks it was drawn from
    assert task.parameters == sum(v.numel() for v in _weights(weak_run).values())
    seen = [case.case_id for case in dataset.split("train")[2:]]
    assert environment["train"] == {"cases": 8, "checksum": split_checksum(seen)}
    assert environment["left_out"] == ["case 0", "case 1"]
    assert environment["packages"]["torch"] == torch.__version__
    assert config.pseudo.thresholds == (0.6, 0.4)
    assert config.pseudo.source == "heatmap"  # the masks were made without CRF
    assert (config.partial.tau_f, config.partial.tau_b) == (0.6, 0.2)
    assert config.method == {"name": "gaze_unet", "level": 0, "loss": "bce"}
    assert config.data.path == dataset.root
    assert weak_run.curves_file.exists()
    assert sorted(p.name for p in weak_run.checkpoints.iterdir()) == ["last", "step-000006"]


def test_annotation_counts_the_masks_that_the_loss_may_see(dataset, tmp_path):
    config = _config(dataset, "full", data={"labelled": 0.5}, train={"iterations": 1})
    assert train(config, tmp_path / "half").task().annotation == Annotation(0, 0.0, 0.0, masks=5)


def test_a_run_on_simulated_gaze_says_so_when_it_starts(dataset, tmp_path, capsys):
    train(_config(dataset, "gaze_unet", train={"iterations": 1}), tmp_path / "run")
    assert "simulated gaze (uses ground truth)" in " ".join(capsys.readouterr().err.split())
    train(_config(dataset, "full", train={"iterations": 1}), tmp_path / "full")
    assert "simulated" not in capsys.readouterr().err


def test_config_of_a_run_repeats_it_from_any_folder(weak_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = build(RunConfig, read_yaml(weak_run.config_file), "repeat")
    again = train(config, Path("again"))
    assert _same(_weights(again), _weights(weak_run))
    assert again.config_file.read_bytes() == weak_run.config_file.read_bytes()


def test_relative_data_path_is_stored_absolute(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(dataset.root.parent)
    config = _config(dataset, "gaze_partial", data={"path": "DS"}, train={"iterations": 1})
    assert train(config, tmp_path / "run").config().data.path == dataset.root


def test_killed_whole_run_resumes_to_the_same_bits(weak_run, dataset, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    real, saved = checkpoint.save, []

    def save_then_die(*arguments, **options):
        saved.append(real(*arguments, **options))
        raise Killed

    out = tmp_path / "run"
    config = _config(dataset, "gaze_unet")
    monkeypatch.setattr(checkpoint, "save", save_then_die)
    for _ in range(2):
        with pytest.raises(Killed):
            train(config, out, resume=True)
    monkeypatch.setattr(checkpoint, "save", real)
    assert [path.name for path in saved] == ["step-000002", "step-000004"]
    assert _same(_weights(train(config, out, resume=True)), _weights(weak_run))
    assert [row["step"] for row in RunFolder(out).metrics()] == [2, 4, 6]


def test_finished_run_says_so_and_stays(weak_run, dataset, capsys):
    before = {path: path.stat().st_mtime_ns for path in weak_run.path.rglob("*")}
    train(_config(dataset, "gaze_unet"), weak_run.path, resume=True)
    assert "already finished" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in weak_run.path.rglob("*")}


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"train": {"iterations": 9}}, "train.iterations was 6"),
        ({"train": {"lr": 0.01}}, "train.lr was 0.005"),
        ({"data": {"augment": {"scale": 0.2}}}, "data.augment.scale was 0.0"),
        ({"method": {"level": 1}}, "method.level was 0"),
        ({"pseudo": {"thresholds": [0.7]}}, "pseudo.thresholds was"),
    ],
)
def test_resuming_with_another_configuration_names_the_key(weak_run, dataset, sections, key):
    with pytest.raises(ConfigError) as error:
        train(_config(dataset, "gaze_unet", **sections), weak_run.path, resume=True)
    assert key in str(error.value)


def test_resuming_on_other_training_cases_is_an_error(weak_run, dataset, tmp_path):
    shutil.copytree(dataset.root, tmp_path / "DS")
    table = (tmp_path / "DS" / "cases.csv").read_text().replace("case 9,p9,train", "case 9,p9,none")
    (tmp_path / "DS" / "cases.csv").write_text(table)
    with pytest.raises(DataError, match="other training cases"):
        train(_config(dataset, "gaze_unet", data={"path": str(tmp_path / "DS")}), weak_run.path, resume=True)


def test_occupied_folder_needs_resume(weak_run, dataset, tmp_path):
    with pytest.raises(ConfigError, match="not empty; go on with --resume, or"):
        train(_config(dataset, "gaze_unet"), weak_run.path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty; name another folder"):
        train(_config(dataset, "gaze_unet"), tmp_path)
    with pytest.raises(ConfigError, match="no run to resume"):
        train(_config(dataset, "gaze_unet"), tmp_path, resume=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_corrupt_checkpoint_is_one_line(weak_run, dataset, tmp_path):
    shutil.copytree(weak_run.path, tmp_path / "run")
    weights = tmp_path / "run" / "checkpoints" / "step-000006" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DataError, match="corrupt checkpoint") as error:
        train(_config(dataset, "gaze_unet"), tmp_path / "run", resume=True)
    assert str(weights) in str(error.value)
    assert "\n" not in str(error.value)


def test_selection_by_validation_uses_the_val_split(dataset, tmp_path):
    train_keys = {"select": "validation", "validate_every": 3, "iterations": 6}
    folder = train(_config(dataset, "full", train=train_keys), tmp_path / "run")
    rows = [row for row in folder.metrics() if "val/dice" in row]
    assert [row["step"] for row in rows] == [3, 6]
    assert all(0 <= row["val/dice"] <= 1 for row in rows)
    best = max(rows, key=lambda row: row["val/dice"])["step"]
    assert checkpoint.load(folder, "best").step == best
    assert folder.task().mask_supervised
    assert folder.task().train_cases == 10  # masks are enough; gaze does not matter to this method
    assert folder.task().gaze == "none"
    ids = [case.case_id for case in dataset.split("val")]
    assert folder.environment()["validation"] == {"cases": 3, "checksum": split_checksum(ids)}


def test_without_val_split_validation_is_carved_by_patient(tmp_path):
    dataset = _make_dataset(tmp_path / "DS", val=0)
    train_keys = {"select": "validation", "validation_fraction": 0.3, "iterations": 1, "seed": 4}
    folder = train(_config(dataset, "full", train=train_keys), tmp_path / "run")
    rest, held_out = group_split(dataset.split("train"), 0.3, 4)
    for key, cases in (("train", rest), ("validation", held_out)):
        assert folder.environment()[key]["checksum"] == split_checksum(case.case_id for case in cases)


def test_weak_method_trains_with_no_mask_on_disk(tmp_path):
    dataset = _make_dataset(tmp_path / "DS", masks=False)
    make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {"crf": CrfConfig(mode="off")}), jobs=1)
    train(_config(dataset, "gaze_partial", train={"iterations": 2}), tmp_path / "run")
    with pytest.raises(DataError, match=r"method 'full' learns from masks.*--masks DIR"):
        train(_config(dataset, "full"), tmp_path / "no")
    with pytest.raises(DataError, match="validation needs masks, but 3 of 3"):
        train(_config(dataset, "gaze_partial", train={"select": "validation"}), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_missing_pseudo_masks_name_the_command(tmp_path):
    dataset = _make_dataset(tmp_path / "DS")
    with pytest.raises(DataError) as error:
        train(_config(dataset, "gaze_unet"), tmp_path / "run")
    assert str(error.value) == f"{dataset.root / 'pseudo'} not found; run: gazeseg masks {dataset.root}"
    with pytest.raises(DataError, match=f"masks {dataset.root} --out {tmp_path / 'other'}"):
        train(_config(dataset, "gaze_unet", data={"pseudo": str(tmp_path / "other")}), tmp_path / "run")


def test_no_gaze_at_all_is_an_error(tmp_path):
    dataset = _make_dataset(tmp_path / "DS", silent=16)
    with pytest.raises(DataError, match="learns from gaze and no training image has a fixation"):
        train(_config(dataset, "gaze_unet"), tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"method": {"name": "gaze_nuet"}}, "did you mean 'gaze_unet'"),
        ({"method": {"levle": 1}}, "did you mean 'level'"),
        ({"method": {"level": 5}}, "method.level is 5"),
        ({"train": {"lr_min": 1.0}}, "train.lr_min 1 is above train.lr"),
        ({"pseudo": {"source": "crf"}}, "made with crf.mode off"),
        ({"data": {"normalise": "imagenet"}}, "imagenet"),
        ({"data": {"path": "nowhere"}}, "nowhere: no data set folder"),
    ],
)
def test_errors_before_the_run_leave_nothing_behind(dataset, tmp_path, sections, message):
    with pytest.raises(GazeSegError) as error:
        train(_config(dataset, "gaze_unet", **sections), tmp_path / "a" / "run")
    assert message in str(error.value)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("existed", [True, False])
def test_failure_in_the_first_step_takes_the_folder_away(dataset, tmp_path, monkeypatch, existed):
    def broken(self, batch, step):
        raise ZeroDivisionError

    monkeypatch.setattr(Full, "training_step", broken)
    if existed:
        (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError):
        train(_config(dataset, "full"), tmp_path / "run")
    assert (tmp_path / "run").exists() == existed
    assert not existed or not list((tmp_path / "run").iterdir())


def test_unwritable_place_is_one_line(dataset, tmp_path, monkeypatch):
    def read_only(self, *arguments, **options):
        raise OSError(30, os.strerror(30), str(self))

    config = _config(dataset, "full")
    train(config.model_copy(update={"train": config.train.model_copy(update={"iterations": 1})}), tmp_path / "warm")
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(DataError, match=r"Read-only file system.*--out") as error:
        train(config, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_only_train_and_val_are_asked_for(dataset, tmp_path, monkeypatch):
    asked, real = [], Dataset.split
    monkeypatch.setattr(Dataset, "split", lambda self, name: asked.append(name) or real(self, name))
    train(_config(dataset, "full", train={"iterations": 1, "select": "validation"}), tmp_path / "run")
    assert set(asked) == {"train", "val"}


def test_log_is_strict_json_with_the_documented_keys(weak_run):
    for line in weak_run.metrics_file.read_text().splitlines():
        row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert set(row) == {"step", "time_s", "lr", "loss", "loss/bce", "it_per_s", "loader_share", "memory_mb"}
    assert set(run._flat(weak_run.config().model_dump(mode="json"))) >= run.MAY_CHANGE
