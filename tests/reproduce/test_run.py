"""A recipe from the command line, on generated data and a budget of four iterations."""

import dataclasses
import re

import pytest

from gazeseg.ablate.job import Job
from gazeseg.cli import main
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.reproduce.recipe import find_recipe
from gazeseg.reproduce.result import read_result
from gazeseg.reproduce.run import plan, reproduce
from gazeseg.train.runfolder import RunFolder

SMALL = [
    *("--data.size", "32,32", "--network.features", "4,8,8", "--train.iterations", "4", "--train.batch_size", "2"),
    *("--train.threads", "1", "--train.device", "cpu", "--evaluate.bootstrap", "100", "--data.augment", "{}"),
]


class Ended:
    """Stands for the process of a job that has ended well."""

    def poll(self):
        return 0


@pytest.fixture
def dataset(tmp_path):
    made = make_demo_dataset(tmp_path / "DS", cases=8, size=(40, 40))
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}), jobs=1)
    return made.root


@pytest.fixture
def _inline(monkeypatch):
    def start(job):
        job.run()
        return Ended()

    monkeypatch.setattr(Job, "start", start)
    monkeypatch.setattr("gazeseg.train.runlog.draw_curves", lambda rows, path: None)
    monkeypatch.setattr("gazeseg.ablate.run._POLL_S", {"local": 0.0})


@pytest.mark.usefixtures("_inline")
def test_a_recipe_ends_in_a_table_and_a_result_file(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["reproduce", "kvasir/gaze_unet", "--data", str(dataset), "--seeds", "2", "--out", str(out), *SMALL]
    command += ["--pseudo.source", "heatmap"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "Verdict: **not comparable**" in said
    assert "another data set" in said
    assert "train.iterations" in said
    assert "simulated" in said
    assert (out / "table.md").read_text(encoding="utf-8") in said
    (file,) = out.glob("*.result.json")
    result = read_result(file)
    assert (result.recipe, result.scale, result.seeds) == ("kvasir/gaze_unet", "cpu-small", (0, 1))
    assert result.published.dice == pytest.approx(0.7374)
    assert main([*command, "--table-only"]) == 0
    capsys.readouterr()

    assert main(["ledger", str(out), "--out", str(tmp_path / "board")]) == 0
    board = capsys.readouterr().out
    assert "Simulated gaze" in board
    assert re.search(r"gaze_unet \| baseline", board)
    assert (tmp_path / "board" / "leaderboard.html").is_file()


@pytest.mark.usefixtures("_inline")
def test_a_recipe_of_two_stages_starts_each_seed_from_the_run_before(tmp_path, monkeypatch):
    dataset = make_demo_dataset(tmp_path / "DS", cases=12, size=(40, 40)).root  # with a split val
    recipe = find_recipe("acdc/bcp")
    by_case = recipe.dataset.model_copy(update={"by": "case"})  # the drawn images are no slices of a volume
    recipe = dataclasses.replace(recipe, dataset=by_case)
    keys = {
        "data": {"size": [32, 32], "labelled": "3 patients", "normalise": "auto"},
        "network": {"name": "small_unet", "features": [4, 8, 8]},
        "train": {"iterations": 4, "validate_every": 2, "threads": 1, "device": "cpu"},
        "evaluate": {"by": "case", "bootstrap": 100},
    }
    grids = plan(recipe, "paper", [0, 1], dataset, keys)
    assert [grid.split for grid in grids] == ["val", "test"]
    assert all(grid.protocol == "legacy" for grid in grids)
    out = tmp_path / "out"
    found = reproduce(recipe, "paper", grids, out)
    assert (found.missing, found.failures) == ((), {})
    for seed in (0, 1):
        first, second = (RunFolder(out / part / "bcp" / f"seed{seed}") for part in ("pretrain", "."))
        assert second.config().train.init_from == first.path
        assert first.config().train.init_from is None
        assert first.config().method["pretrain_iterations"] == 10000
        assert second.config().method["pretrain_iterations"] == 0
        assert (second.evaluation("test-legacy") / "summary.json").is_file()
        assert not first.evaluation("test").exists()
    assert "train.init_from" not in found.result.changed
    assert found.result.protocol == "legacy"
    assert found.result.recipe == "acdc/bcp"

    def never(job):
        raise AssertionError(f"{job.folder} was begun again")

    monkeypatch.setattr(Job, "start", never)
    assert reproduce(recipe, "paper", grids, out).result == found.result


def test_the_list_names_every_recipe_with_its_figure(capsys):
    assert main(["reproduce", "--list"]) == 0
    out = capsys.readouterr().out
    assert "kvasir/gazemedseg" in out
    assert "77.80 +- 1.02" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no recipe given"),
        (["kvasir/gaze"], "did you mean 'kvasir/gaze_unet'"),
        (["kvasir/full"], "gazeseg import kvasir-seg"),
        (["kvasir/full", "--data", "DS", "--seeds", "x"], "--seeds takes a count"),
        (["nci_isbi/fgi", "--data", "DS"], "no scale 'cpu-small'"),
        (["kvasir/full", "--data", "DS", "--train.iteration", "3"], "did you mean 'iterations'"),
    ],
)
def test_bad_calls_are_answered_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
