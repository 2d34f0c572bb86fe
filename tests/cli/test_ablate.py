"""``gazeseg ablate`` from the command line."""

import json

import pytest
import yaml

from gazeseg.cli import main

GRID = {
    "base": {
        "method": {"name": "gaze_unet"},
        "data": {"size": [32, 32]},
        "network": {"name": "small_unet", "features": [4, 8, 8]},
        "train": {"iterations": 3, "batch_size": 2, "optimizer": "adamw", "lr": 2e-3, "threads": 1, "device": "cpu"},
    },
    "reference": "base",
    "cells": {"base": {}, "wild": {"train.optimizer": "sgd", "train.lr": 1e30}},
}


@pytest.fixture
def dataset(lab, tmp_path):
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    assert main(["masks", str(tmp_path / "ds"), "--crf.mode", "off"]) == 0
    return tmp_path / "ds"


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid é.yaml"
    path.write_text(yaml.safe_dump(GRID), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_grid_with_a_failure_ends_with_a_table_and_status_2(grid, dataset, refused, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["ablate", str(grid), "--data", str(dataset), "--out", str(out), "--evaluate.bootstrap", "100"]
    line = refused([*command, "--jobs", "2"])
    assert "1 of 2 runs failed (wild/seed0: step" in line
    assert "diverged" in line
    text = (out / "table.md").read_text(encoding="utf-8")
    assert "| base " in text
    assert "Missing: wild/seed0 (failed)" in text

    capsys.readouterr()
    assert main([*command, "--table-only"]) == 0
    assert "**Incomplete: 1 of 2 runs.**" in capsys.readouterr().out
    assert main([*command, "--only", "base"]) == 0
    assert json.loads((out / "table.json").read_text(encoding="utf-8"))["cells"][0]["seeds"] == [0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "0,0"], "seeds"),
        (["--seeds", "a"], "--seeds takes whole numbers"),
        (["--only", "bsae"], "did you mean 'base'"),
        (["--table-only"], "no run of"),
        (["--exectuor", "local"], "--executor"),
        (["--train.iteration", "3"], "did you mean 'iterations'"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_calls_are_answered_in_one_line(grid, refused, tmp_path, arguments, said):
    assert said in refused(["ablate", str(grid), "--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_a_missing_grid_is_named(refused, tmp_path):
    assert "no.yaml" in refused(["ablate", str(tmp_path / "no.yaml"), "--out", str(tmp_path / "out")])


def test_an_output_folder_below_a_file_is_named(grid, dataset, refused, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert str(tmp_path / "file") in refused(["ablate", str(grid), "--data", str(dataset), "--out", str(out)])
