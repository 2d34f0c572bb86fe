"""Trackers by their protocol, TensorBoard for real where it is installed."""

import csv
import sys
import types

import pytest
import tiny

from gazeseg.config import TrainConfig, build
from gazeseg.errors import ConfigError, MissingDependencyError
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.trackers import TRACKERS, open_trackers, require_trackers
from gazeseg.train.trainer import fit

CONFIG = TrainConfig(iterations=6, batch_size=4, lr=0.01, log_every=2, checkpoint_every=2, threads=1, device="cpu")


class Recorder:
    def __init__(self):
        self.rows, self.closed = [], 0

    def log(self, step, values):
        self.rows.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_a_tracker_gets_every_row_and_is_closed(tmp_path):
    recorder = Recorder()
    fit(tiny.Tiny(), tiny.TinyLoader(), config=CONFIG, folder=RunFolder(tmp_path), trackers=(recorder,))
    assert [step for step, _ in recorder.rows] == [2, 4, 6]
    assert all(type(value) is float for _, row in recorder.rows for value in row.values())
    assert {"loss", "loss/bce", "lr", "it_per_s", "loader_share", "memory_mb"} <= recorder.rows[0][1].keys()
    assert recorder.closed == 1


def test_it_is_closed_when_the_run_diverges_too(tmp_path):
    recorder, method = Recorder(), tiny.Tiny()
    method.poison = 3
    with pytest.raises(Exception, match="diverged"):
        fit(method, tiny.TinyLoader(), config=CONFIG, folder=RunFolder(tmp_path), trackers=(recorder,))
    assert recorder.closed == 1


def test_the_log_is_a_table_too(tmp_path):
    folder = RunFolder(tmp_path)
    fit(tiny.Tiny(), tiny.TinyLoader(), config=CONFIG, folder=folder, validate=lambda: 0.5)
    with folder.table_file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    logged = folder.metrics()
    assert [int(row["step"]) for row in rows] == [row["step"] for row in logged]
    assert [float(row["loss"]) for row in rows if row["loss"]] == [row["loss"] for row in logged if "loss" in row]
    assert rows[-1]["val/dice"] == "0.5"


def test_tensorboard_holds_the_rows(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(tmp_path)
    trackers = open_trackers(["tensorboard"], folder, {"train.lr": 0.01})
    fit(tiny.Tiny(), tiny.TinyLoader(), config=CONFIG, folder=folder, trackers=trackers)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("loss")]
    assert points == [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in folder.metrics()]
    assert "config/text_summary" in events.Tags()["tensors"]


def test_mlflow_is_resumed_as_the_same_run(tmp_path, monkeypatch):
    """Against the calls that MLflow documents: start_run, log_params, log_metrics(step), end_run."""
    calls = []

    def start_run(run_id=None, run_name=None):
        calls.append(("start_run", run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    module = types.SimpleNamespace(
        set_experiment=lambda name: None,
        start_run=start_run,
        log_params=lambda values: calls.append(("params", values)),
        log_metrics=lambda values, step: calls.append(("metrics", step, values)),
        end_run=lambda: calls.append(("end",)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    folder = RunFolder(tmp_path)
    for start in (0, 2):
        (tracker,) = open_trackers(["mlflow"], folder, {"a": 1}, start)
        tracker.log(start + 2, {"loss": 0.5})
        tracker.close()
    assert calls == [
        ("start_run", None, tmp_path.name), ("params", {"a": "1"}), ("metrics", 2, {"loss": 0.5}), ("end",),
        ("start_run", "r1", None), ("metrics", 4, {"loss": 0.5}), ("end",),
    ]  # fmt: skip


def test_wandb_is_resumed_as_the_same_run(tmp_path, monkeypatch):
    """Against the calls that W&B documents: init(id, resume), run.log(step), run.finish."""
    calls = []

    class Run:
        id = "w1"

        def log(self, values, step):
            calls.append(("log", step, values))

        def finish(self):
            calls.append(("finish",))

    def init(**keys):
        calls.append(("init", keys["id"], keys["resume"], keys["config"]))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for start in (0, 2):
        (tracker,) = open_trackers(["wandb"], RunFolder(tmp_path), {"a": 1}, start)
        tracker.log(start + 2, {"loss": 0.5})
        tracker.close()
    assert [call[:2] for call in calls] == [
        ("init", None), ("log", 2), ("finish",), ("init", "w1"), ("log", 4), ("finish",),
    ]  # fmt: skip


@pytest.mark.parametrize("name", TRACKERS)
def test_an_absent_package_is_named_with_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"gazeseg\[{name}\]"):
        require_trackers([name])


def test_one_name_or_several(tmp_path):
    assert build(TrainConfig, {"log": "tensorboard"}, "train").log == ("tensorboard",)
    assert build(TrainConfig, {"log": ["mlflow", "wandb"]}, "train").log == ("mlflow", "wandb")
    with pytest.raises(ConfigError, match="tensorbord"):
        build(TrainConfig, {"log": "tensorbord"}, "train")
