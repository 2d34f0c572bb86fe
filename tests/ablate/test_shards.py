"""Masks made in shards against masks made at once."""

import csv

import pytest

from gazeseg.ablate.shards import Cost, estimate, make_masks_in_shards
from gazeseg.cli import main
from gazeseg.data.dataset import Dataset
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.errors import ConfigError, GazeSegError


def _files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.png")}


def _rows(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return sorted(tuple(row) for row in csv.reader(stream))


def test_shards_make_what_one_process_makes_and_can_go_on(dataset, tmp_path, monkeypatch):
    made = Dataset.load(dataset)
    config = resolve_config(made, {"crf": {"mode": "off"}})
    whole = make_masks(made, tmp_path / "whole", config, jobs=1)

    from gazeseg.ablate import shards

    real, done = shards.make_masks, []

    def fail_once(part, out, config, **keys):
        if out.name == "1-of-3" and not done:
            done.append(out)
            raise GazeSegError("disk full")
        return real(part, out, config, **keys)

    monkeypatch.setattr(shards, "make_masks", fail_once)
    with pytest.raises(GazeSegError, match=r"1 of 3 shards failed \(1: .*disk full"):
        make_masks_in_shards(made, tmp_path / "parts", config, shards=3, cluster="debug")
    parts = make_masks_in_shards(made, tmp_path / "parts", config, shards=3, cluster="debug")
    assert _files(parts.path) == _files(whole.path)
    for name in ("index.csv", "quality.csv"):
        assert _rows(parts.path / name) == _rows(whole.path / name)
    assert not (parts.path / ".shards").exists()


def test_the_cost_is_said_before_anything_starts(dataset, tmp_path):
    assert Cost(7200, 0.5, 2).core_hours == pytest.approx(1.0)
    assert "1.00 core hours, about 30.0 min on 2 free cores" in Cost(7200, 0.5, 2).to_text()
    made = Dataset.load(dataset)
    cost = estimate(made, resolve_config(made, {"crf": {"mode": "off"}}), workers=3)
    assert cost.images == sum(case.split != "test" for case in made.cases)
    assert 0 < cost.core_s < 5


def test_a_control_is_refused(dataset, tmp_path):
    made = Dataset.load(dataset)
    config = resolve_config(made, {"gaze": {"control": "shuffled_cases"}})
    with pytest.raises(ConfigError, match="leave --shards out"):
        make_masks_in_shards(made, tmp_path / "x", config, shards=2, cluster="debug")
    assert not (tmp_path / "x").exists()


def test_keys_of_a_job_without_a_job_are_refused(dataset, tmp_path, capsys):
    assert main(["masks", str(dataset), "--slurm.cpus", "2", "--out", str(tmp_path / "x")]) == 2
    assert "--shards N" in capsys.readouterr().err


@pytest.mark.slow
def test_from_the_command_line_with_processes(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["masks", str(dataset), "--crf.mode", "off", "--out", str(out), "--shards", "2", "--slurm.cpus", "1"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "core hours" in said.err
    assert "threshold 0.5" in said.out
    wanted = [case for case in Dataset.load(dataset).cases if case.split != "test"]  # nothing may learn from those
    assert len(list((out / "levels").glob("*.png"))) == len(wanted)
