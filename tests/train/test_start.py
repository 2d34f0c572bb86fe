"""A run that starts from another: its weights, its optimiser's state, and only from a run of its kind."""

import pytest
import torch

from gazeseg.errors import ConfigError, DataError
from gazeseg.train import checkpoint
from gazeseg.train.run import train

from .test_semi_supervised import _config, make_slices


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_slices(tmp_path_factory.mktemp("data") / "DS")


@pytest.fixture(scope="module")
def first(dataset, tmp_path_factory):
    config = _config(dataset, "bcp", method={"pretrain_iterations": 3}, data={"labelled_per_batch": 4})
    return train(config, tmp_path_factory.mktemp("runs") / "first")


def _start(dataset, first, **sections):
    train_keys = {"init_from": str(first.path), **sections.pop("train", {})}
    return _config(dataset, "bcp", train=train_keys, **sections)


def test_student_and_teacher_start_from_the_student_with_the_optimiser(dataset, first, tmp_path):
    still = {"iterations": 1, "lr": 1e-12, "lr_min": 0, "weight_decay": 0}
    run = train(_start(dataset, first, train=still), tmp_path / "second")
    before, after = checkpoint.load_weights(first), checkpoint.load_weights(run)
    for name, values in before.items():
        if name.startswith("network."):
            torch.testing.assert_close(after[name], values)
            torch.testing.assert_close(after[name.replace("network.", "teacher.", 1)], values)
    old, new = (checkpoint.load(r).state["optimizer"]["state"] for r in (first, run))
    assert old.keys() == new.keys()
    assert all(new[key]["step"] == old[key]["step"] + 1 for key in old)  # the first three steps were taken over
    assert run.config().train.init_from == first.path


def test_a_resumed_run_does_not_start_again(dataset, first, tmp_path):
    whole = train(_start(dataset, first), tmp_path / "whole")
    config = _start(dataset, first, train={"checkpoint_every": 1})
    run = train(config, tmp_path / "cut")
    pointer = run.checkpoints / "last"
    assert pointer.read_text().strip() == "step-000003"
    again = train(config, tmp_path / "cut", resume=True)
    one, other = checkpoint.load_weights(whole), checkpoint.load_weights(again)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_other_runs_are_refused_before_anything_is_written(dataset, first, tmp_path):
    with pytest.raises(ConfigError, match=r"its method.name is bcp, not full"):
        train(_config(dataset, "full", train={"init_from": str(first.path)}), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"its network is .*start from a run of the same"):
        train(_start(dataset, first, network={"features": [4, 8, 12]}), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"its train.optimizer is adamw, not sgd"):
        train(_start(dataset, first, train={"optimizer": "sgd", "lr_min": 0}), tmp_path / "run")
    with pytest.raises(DataError, match=r"no run folder"):
        train(_config(dataset, "bcp", train={"init_from": str(tmp_path)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
