"""The table of a grid, on results that are written by hand: numbers, incomplete grids, labels."""

import json
import math

import numpy as np
import pytest
import yaml
from scipy import stats

from gazeseg.ablate.grid import load_grid
from gazeseg.ablate.table import make_table
from gazeseg.config import RunConfig, write_yaml
from gazeseg.errors import DataError
from gazeseg.evaluate.results import write_results
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import CaseScore

N = 14
RNG = np.random.default_rng(0)
START = np.linspace(0.3, 0.9, N)
CELLS = {
    "half": {"train.lr": 1e-3},
    "base": {},
    "order": {"gaze.control": "shuffled_order", "gaze.scope": "track"},
    "double": {"train.lr": 2e-3, "data.augment": {"scale": 0.1, "flip_vertical": 0.0}, "train.batch_size": 3},
}


def finish(run, dices, *, gaze="recorded", status="baseline"):
    """Write what a finished run leaves behind, with the given Dice by case."""
    config = RunConfig.model_validate(run.cell.asked(run.seed))
    folder = RunFolder(run.folder)
    folder.checkpoints.joinpath("step-000004").mkdir(parents=True)
    folder.checkpoints.joinpath("last").write_text("step-000004\n")
    run.asked_file.write_text(yaml.safe_dump(run.cell.asked(run.seed)))
    write_yaml(folder.config_file, config)
    folder.write_task(
        Task("made", ("background", "x"), 3, 1, (0.5,), gaze=gaze, mask_supervised=False, train_cases=9, parameters=1)
    )
    scores = [
        CaseScore(
            case_id=f"case {i}",
            patient_id=f"case {i}",
            class_index=1,
            dice=dice,
            iou=dice / (2 - dice),
            sensitivity=dice,
            precision=dice,
            hd95=math.nan if dice == 0 else 10 * (1 - dice),
            hd95_max=math.nan if dice == 0 else 20 * (1 - dice),
            asd=1 - dice,
            assd=1 - dice,
            unit="px",
            empty="prediction" if dice == 0 else "none",
        )
        for i, dice in enumerate(dices)
    ]
    header = {"dataset": "made", "split": "test", "by": "case", "method": "gaze_unet", "status": status, "gaze": gaze}
    folder.evaluation("test").mkdir(parents=True)
    write_results(
        folder.evaluation("test"),
        scores,
        classes=("background", "x"),
        config=config.evaluate,
        protocol="gazeseg",
        diagonals={f"case {i}": 100.0 for i in range(N)},
        header={**header, "resize": config.evaluate.resize},
    )


@pytest.fixture
def made(write_grid, tmp_path):
    """A grid of four cells and two seeds; its runs, to be finished by the test."""
    grid = load_grid(write_grid(CELLS, seeds=[0, 1], reference="base", title="Steps", note="A note."))
    runs = {run.name: run for run in grid.runs(tmp_path / "out")}
    return grid, runs, tmp_path / "out"


def _around(shift):
    return np.clip(START + shift + 0.02 * RNG.normal(size=N), 0.01, 0.99)


def test_numbers_and_holm_are_as_by_hand(made):
    grid, runs, out = made
    dices = {name: _around({"half": -0.02, "base": 0, "order": 0.004, "double": 0.01}[name[:-6]]) for name in runs}
    for name, run in runs.items():
        finish(run, dices[name])
    table = make_table(grid, out)
    document = json.loads(table.to_json())
    cells = {cell["name"]: cell for cell in document["cells"]}
    assert list(cells) == ["base", "half", "order", "double"]  # the reference first, the rest as declared
    assert document["complete"] is True
    assert document["missing"] == []
    assert document["n_cases"] == N

    mean = {cell: (dices[f"{cell}/seed0"] + dices[f"{cell}/seed1"]) / 2 for cell in CELLS}
    p = {cell: stats.wilcoxon(mean["base"], mean[cell]).pvalue for cell in CELLS if cell != "base"}
    running, holm = 0.0, {}
    for rank, cell in enumerate(sorted(p, key=p.get)):  # Holm 1979: smallest times 3, next times 2, last times 1
        running = max(running, (3 - rank) * p[cell])
        holm[cell] = min(1.0, running)
    assert cells["base"]["against"] is None
    for cell in p:
        against = cells[cell]["against"]
        assert against["p"] == pytest.approx(p[cell])
        assert against["p_holm"] == pytest.approx(holm[cell])
        assert against["difference"] == pytest.approx((mean[cell] - mean["base"]).mean())
        low, high = against["ci95"]
        assert low < against["difference"] < high
        dice = cells[cell]["metrics"]["dice"]
        assert dice["mean"] == pytest.approx(mean[cell].mean())
        per_seed = [dices[f"{cell}/seed{seed}"].mean() for seed in (0, 1)]
        assert dice["seed_sd"] == pytest.approx(np.std(per_seed, ddof=1))
    assert cells["half"]["changes"] == {"train.lr": 1e-3}


def test_the_page_names_changes_controls_and_the_rules(made):
    grid, runs, out = made
    for run in runs.values():
        simulated = "simulated (uses ground truth)"
        finish(run, _around(0), gaze=simulated, status="reconstruction")
    table = make_table(grid, out)
    table.write(out)
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.startswith("# Steps\n\nA note.\n\nmade test, 14 cases, protocol gazeseg\n")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "train.lr 0.001" in rows["half"]
    assert "gaze.control shuffled_order" in rows["order"]
    assert "simulated (uses ground truth)" in rows["base"]
    assert rows["double"].count("2 of 2") == 1
    assert "Simulated gaze uses ground truth" in text
    assert "Controls, in which something was spoilt on purpose: order (gaze shuffled_order, tracks only)." in text
    assert "reconstruction was not checked" in text
    assert "Holm over 3 tests" in text
    assert "Incomplete" not in text
    assert json.loads((out / "table.json").read_text(encoding="utf-8"))["cells"][2]["control"].startswith("gaze")


def test_an_incomplete_grid_says_what_is_missing(made):
    grid, runs, out = made
    for name in ("base/seed0", "base/seed1", "order/seed0"):
        finish(runs[name], _around(0))
    table = make_table(grid, out, {"half/seed1": "diverged"})
    text = table.to_text()
    assert "**Incomplete: 3 of 8 runs.** Missing: half/seed0, double/seed0, half/seed1 (failed)" in text
    assert "1 of 2" in text
    assert "Holm over 1 test." in text
    document = json.loads(table.to_json())
    assert document["complete"] is False
    assert {"run": "half/seed1", "error": "diverged"} in document["missing"]
    assert {"run": "order/seed1", "error": None} in document["missing"]


def test_without_the_reference_nothing_is_tested(made):
    grid, runs, out = made
    finish(runs["half/seed0"], _around(0))
    finish(runs["order/seed0"], _around(0))
    table = make_table(grid, out)
    assert "'base' has no finished run yet, so nothing is tested" in table.to_text()
    assert all(cell["against"] is None for cell in json.loads(table.to_json())["cells"])


def test_a_missed_case_costs_the_diagonal(made):
    grid, runs, out = made
    dices = _around(0)
    dices[3] = 0.0
    finish(runs["base/seed0"], dices)
    finish(runs["base/seed1"], _around(0))
    [cell] = json.loads(make_table(grid, out).to_json())["cells"]
    assert cell["missed"] == 0.5
    assert cell["metrics"]["hd95_penalised"]["mean"] > cell["metrics"]["hd95"]["mean"]


def test_cells_of_the_same_configuration_stay_apart(write_grid, tmp_path):
    grid = load_grid(write_grid({"base": {}, "again": {}}))
    for run in grid.runs(tmp_path / "out"):
        finish(run, START)
    document = json.loads(make_table(grid, tmp_path / "out").to_json())
    assert [cell["name"] for cell in document["cells"]] == ["base", "again"]
    assert document["cells"][1]["against"]["p"] == 1.0


def test_an_unfinished_run_does_not_count(made):
    grid, runs, out = made
    finish(runs["base/seed0"], START)
    pointer = runs["base/seed0"].folder / "checkpoints" / "last"
    pointer.with_name("step-000002").mkdir()
    pointer.write_text("step-000002\n")
    with pytest.raises(DataError, match=r"no run of .* is finished there"):
        make_table(grid, out)
