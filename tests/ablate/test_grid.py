"""Grid files: what they stand for, and what is refused."""

from pathlib import Path

import pytest
import yaml

from gazeseg.ablate.grid import flatten, load_grid, nest
from gazeseg.config import RunConfig
from gazeseg.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def test_cells_are_the_base_with_dotted_or_nested_keys_on_top(write_grid):
    path = write_grid(
        {"base": None, "a": {"train.lr": 0.1, "data": {"augment.scale": 0.2}}, "b": {"train": {"lr": 0.2}}},
        seeds=[3, 1],
        reference="base",
    )
    grid = load_grid(path)
    base, a, b = grid.cells
    assert base.changes == {}
    assert a.changes == {"train.lr": 0.1, "data.augment.scale": 0.2}
    assert (a.values["train"]["lr"], b.values["train"]["lr"], base.values["train"]["lr"]) == (0.1, 0.2, 5e-3)
    assert a.values["train"]["iterations"] == 4
    assert [run.name for run in grid.runs(Path("o"))] == [f"{c}/seed{s}" for s in (3, 1) for c in ("base", "a", "b")]
    assert RunConfig.model_validate(a.asked(3)).train.seed == 3


def test_the_base_is_a_file_relative_to_the_grid_and_a_cell_may_have_its_own(tmp_path):
    (tmp_path / "one.yaml").write_text("method: {name: gaze_unet, level: 0}\ntrain: {lr: 0.1}\n")
    (tmp_path / "two.yaml").write_text("method: {name: full}\ntrain: {lr: 0.2}\n")
    (tmp_path / "grids").mkdir()
    path = tmp_path / "grids" / "g.yaml"
    cells = {"a": {}, "bound": {"base": "../two.yaml", "train.lr": 0.3}}
    path.write_text(yaml.safe_dump({"base": "../one.yaml", "reference": "a", "cells": cells}))
    a, bound = load_grid(path).cells
    assert a.values == {"method": {"name": "gaze_unet", "level": 0}, "train": {"lr": 0.1}}
    assert bound.values == {"method": {"name": "full"}, "train": {"lr": 0.3}}
    assert bound.changes == {"base": "../two.yaml", "train.lr": 0.3}


def test_another_method_starts_without_the_keys_of_the_first(write_grid):
    path = write_grid({"a": {"method.level": 0}, "b": {"method.name": "full"}, "c": {"method": {"name": "gaze_unet"}}})
    a, b, c = load_grid(path, {"method": {"loss": "ce_dice"}}).cells
    assert a.values["method"] == {"name": "gaze_unet", "loss": "ce_dice", "level": 0}
    assert b.values["method"] == {"name": "full"}
    assert c.values["method"] == {"name": "gaze_unet", "loss": "ce_dice"}


def test_command_line_keys_change_the_base_and_a_cell_keeps_its_own(write_grid, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = write_grid({"a": {}, "b": {"train.lr": 0.5}}, slurm={"cpus": 2})
    over = {"train": {"lr": 0.1}, "data": {"cache": "here"}, "slurm": {"partition": "gpu"}}
    grid = load_grid(path, over, seeds=[7])
    assert [cell.values["train"]["lr"] for cell in grid.cells] == [0.1, 0.5]
    assert grid.cells[0].values["data"]["cache"] == str(tmp_path / "here")  # any folder may run it
    assert (grid.slurm.partition, grid.slurm.cpus) == ("gpu", 2)
    assert grid.seeds == (7,)


def test_nesting_and_flattening_undo_each_other():
    flat = {"a.b.c": 1, "a.d": [1, 2], "e": None}
    assert flatten(nest(flat)) == flat


@pytest.mark.parametrize(
    ("cells", "keys", "said"),
    [
        ({"a": {}, "b": {"train.iteration": 3}}, {}, ["cell 'b'", "train.iteration", "did you mean 'iterations'"]),
        ({"a": {"trian.lr": 3}}, {}, ["cell 'a'", "trian", "did you mean 'train'"]),
        ({"a": {"train.lr": "fast"}}, {}, ["cell 'a'", "train.lr", "'fast'"]),
        ({"a": {"train.seed": 3}}, {}, ["cell 'a'", "train.seed", "seeds"]),
        ({"a b": {}}, {}, ["cell 'a b'", "letters"]),
        ({"../a": {}}, {}, ["cell '../a'"]),
        ({"a": 3}, {}, ["cells.a"]),
        ({"a": {}}, {"seeds": [0, 1, 0]}, ["seeds", "different", "[0, 1, 0]"]),
        ({"a": {}}, {"seeds": []}, ["seeds"]),
        ({"a": {}}, {"seeds": [-1]}, ["seeds"]),
        ({"base": {}, "b": {}}, {"reference": "bsae"}, ["reference 'bsae'", "did you mean 'base'"]),
        ({"a": {}}, {"sedes": [1]}, ["sedes", "did you mean 'seeds'"]),
        ({"a": {}}, {"slurm": {"partion": "x"}}, ["slurm.partion", "did you mean 'partition'"]),
        ({"a": {}}, {"base": "gone.yaml"}, ["gone.yaml", "no such file"]),
        ({"a": {"base": 3}}, {}, ["cell 'a'", "base", "got 3"]),
        ({"a": {}}, {"base": {"train": {"lr": 1}}}, ["cell 'a'", "method.name"]),
        ({"a": {}}, {"protocol": "old"}, ["protocol"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write_grid, cells, keys, said):
    path = write_grid(cells, **keys)
    with pytest.raises(ConfigError) as error:
        load_grid(path)
    line = str(error.value)
    assert "\n" not in line
    assert all(word in line for word in said), line


def test_a_cell_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "g.yaml"
    path.write_text("base: {method: {name: full}}\nreference: a\ncells:\n  a: {}\n  b: {}\n  a: {train.lr: 1}\n")
    with pytest.raises(ConfigError, match="'a' stands twice in the section at line 4"):
        load_grid(path)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "ablations").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_that_come_along_can_be_read(path):
    grid = load_grid(path)
    assert len(grid.seeds) >= 2
    assert len(grid.cells) >= 5
