"""Running a grid: nothing twice, nothing lost, one failure stops nobody else."""

import json
import shutil
from pathlib import Path

import pytest

from gazeseg.ablate.grid import load_grid
from gazeseg.ablate.job import BusyError, Job
from gazeseg.ablate.run import run_grid
from gazeseg.ablate.table import make_table
from gazeseg.config import RunConfig, build, read_yaml
from gazeseg.data.dataset import Dataset
from gazeseg.data.split import group_split
from gazeseg.errors import ConfigError, DataError, GazeSegError
from gazeseg.evaluate.evaluate import evaluate_run
from gazeseg.evaluate.results import read_cases, read_summary
from gazeseg.methods.gaze_unet import GazeUNet
from gazeseg.train.run import train
from gazeseg.train.runfolder import RunFolder


def _weights(run: Path) -> bytes:
    (file,) = (run / "checkpoints").rglob("model.safetensors")
    return file.read_bytes()


def _files(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_a_grid_trains_and_scores_every_run_and_never_one_twice(write_grid, inline, tmp_path):
    grid = load_grid(write_grid({"base": {}, "low": {"train.lr": 1e-3}}, seeds=[0, 1]))
    out = tmp_path / "out"
    outcome = run_grid(grid, out)
    assert (outcome.ran, outcome.before, outcome.failures) == (4, 0, {})
    assert inline == ["base/seed0", "low/seed0", "base/seed1", "low/seed1"]
    for name in inline:
        assert (out / name / "evaluation" / "test" / "summary.json").is_file()
    assert RunFolder(out / "low" / "seed1").config().train.seed == 1
    assert RunFolder(out / "low" / "seed1").config().train.lr == 1e-3

    before = _files(out)
    again = run_grid(grid, out)
    assert (again.ran, again.before) == (0, 4)
    assert _files(out) == before

    more = load_grid(write_grid({"base": {}, "low": {"train.lr": 1e-3}, "new": {"train.batch_size": 3}}, seeds=[0, 1]))
    assert run_grid(more, out, only=["new"]).before == 0
    assert inline[4:] == ["new/seed0", "new/seed1"]
    assert {path: time for path, time in _files(out).items() if path in before} == before


def test_a_run_of_a_grid_is_the_run_that_train_makes(write_grid, inline, tmp_path):
    grid = load_grid(write_grid({"base": {}}))
    run_grid(grid, tmp_path / "out")
    asked = tmp_path / "out" / "base" / "seed0.yaml"
    alone = train(build(RunConfig, read_yaml(asked), "asked"), tmp_path / "alone")
    assert _weights(alone.path) == _weights(tmp_path / "out" / "base" / "seed0")


def test_a_failed_run_is_reported_with_its_error_and_the_rest_goes_on(write_grid, inline, tmp_path, capsys):
    cells = {"base": {}, "wild": {"train.optimizer": "sgd", "train.lr": 1e30}, "low": {"train.lr": 1e-3}}
    grid = load_grid(write_grid(cells))
    outcome = run_grid(grid, tmp_path / "out")
    assert list(outcome.failures) == ["wild/seed0"]
    assert "diverged" in outcome.failures["wild/seed0"]
    assert inline == ["base/seed0", "wild/seed0", "low/seed0"]
    printed = capsys.readouterr().err
    assert "wild/seed0: failed: step" in printed
    assert str(tmp_path / "out" / "wild" / "seed0.log") in printed
    assert "low/seed0: Dice" in printed

    outcome = run_grid(grid, tmp_path / "out")  # a failed run is tried again, the others are not
    assert (outcome.ran, outcome.before, list(outcome.failures)) == (1, 2, ["wild/seed0"])


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bits(write_grid, inline, tmp_path, monkeypatch):
    grid = load_grid(write_grid({"base": {}}))
    run_grid(grid, tmp_path / "whole")

    def die(self, step):
        if step == 2:
            raise RuntimeError("power cut")

    monkeypatch.setattr(GazeUNet, "after_step", die)
    outcome = run_grid(grid, tmp_path / "out")
    assert outcome.failures == {"base/seed0": "RuntimeError: power cut"}
    assert (tmp_path / "out" / "base" / "seed0" / "checkpoints" / "last").read_text() == "step-000002\n"
    seen = []
    monkeypatch.setattr(GazeUNet, "after_step", lambda self, step: seen.append(step))
    assert run_grid(grid, tmp_path / "out").failures == {}
    assert seen == [2, 3]
    assert _weights(tmp_path / "out" / "base" / "seed0") == _weights(tmp_path / "whole" / "base" / "seed0")


def test_the_time_is_estimated_from_a_step_and_then_from_what_was_logged(
    write_grid, inline, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("gazeseg.ablate.run.seconds_per_step", lambda plan, threads: 150.0)
    grid = load_grid(write_grid({"base": {}, "low": {"train.lr": 1e-3}}))
    run_grid(grid, tmp_path / "out", only=["base"])
    before, after = capsys.readouterr().err.split("base/seed0: Dice", 1)[0].split("at a time; ", 1)[1].split("\n", 1)
    assert before == "about 10 min of training by one step of each method on random numbers"  # 4 iterations of 150 s
    assert "min of training at the median rate so far" in after  # as soon as the first rate is there
    rows = [{"step": 2, "time_s": 600.0, "it_per_s": 0.003}, {"step": 4, "time_s": 1200.0, "it_per_s": 0.003}]
    metrics = tmp_path / "out" / "base" / "seed0" / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_grid(grid, tmp_path / "out", jobs=1)
    # 4 iterations of the other run, 300 s each
    assert "1 finished, 1 to do, 1 at a time; about 20 min of training" in " ".join(capsys.readouterr().err.split())


def test_a_trained_run_without_a_score_is_only_scored(write_grid, inline, tmp_path):
    grid = load_grid(write_grid({"base": {}}))
    run_grid(grid, tmp_path / "out")
    run = tmp_path / "out" / "base" / "seed0"
    (run / "evaluation" / "test" / "summary.json").unlink()
    (run / "evaluation" / "test" / "cases.csv").unlink()
    for file in (run / "evaluation" / "test" / "predictions").iterdir():
        file.unlink()
    (run / "evaluation" / "test" / "predictions").rmdir()
    trained = (run / "metrics.jsonl").stat().st_mtime_ns
    assert run_grid(grid, tmp_path / "out").ran == 1
    assert (run / "evaluation" / "test" / "summary.json").is_file()
    assert (run / "metrics.jsonl").stat().st_mtime_ns == trained


def test_a_changed_grid_is_refused_with_the_key_that_changed(write_grid, inline, tmp_path, dataset):
    out = tmp_path / "out"
    run_grid(load_grid(write_grid({"base": {}, "low": {"train.lr": 1e-3}})), out)
    changed = load_grid(write_grid({"base": {}, "low": {"train.lr": 2e-3}}))
    with pytest.raises(ConfigError, match=r"low.seed0: train.lr was 0.001 .* asks for 0.002") as error:
        run_grid(changed, out, only=["base"])  # the table would mix them
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"method.loss was None .* asks for ce_dice"):
        run_grid(load_grid(write_grid({"base": {"method.loss": "ce_dice"}})), out)
    # where and how fast a run computes may change, unless that is what the cell is about
    cells = {"base": {}, "low": {"train.lr": 1e-3}}
    assert run_grid(load_grid(write_grid(cells), {"data": {"cache": str(tmp_path / "c")}}), out).ran == 0
    with pytest.raises(ConfigError, match=r"data.pseudo was None"):
        run_grid(load_grid(write_grid({"base": {"data.pseudo": str(dataset / "pseudo")}})), out)


def test_a_folder_that_the_grid_did_not_start_is_left_alone(write_grid, inline, tmp_path):
    foreign = tmp_path / "out" / "base" / "seed0"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="did not start"):
        run_grid(load_grid(write_grid({"base": {}})), tmp_path / "out")
    assert inline == []


def test_whatever_is_wrong_with_a_cell_is_found_before_the_first_run(write_grid, inline, tmp_path, unmasked):
    for cells, said in (
        ({"base": {}, "odd": {"method.name": "gaze_unte"}}, "cell 'odd': .*did you mean 'gaze_unet'"),
        ({"base": {}, "odd": {"method.lvel": 1}}, "cell 'odd': method: unknown key 'lvel'; did you mean 'level'"),
        ({"base": {}, "odd": {"data.pseudo": "/nowhere"}}, "cell 'odd': .*/nowhere"),
    ):
        with pytest.raises(GazeSegError, match=said):
            run_grid(load_grid(write_grid(cells)), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"--only: 'bsae' .*did you mean 'base'"):
        run_grid(load_grid(write_grid({"base": {}})), tmp_path / "out", only=["bsae"])
    with pytest.raises(DataError, match=r"has no mask in split 'test'.*--evaluate-data"):
        run_grid(load_grid(write_grid({"base": {}}), {"data": {"path": str(unmasked)}}), tmp_path / "out")
    assert inline == []
    assert not (tmp_path / "out").exists()


def test_training_without_masks_is_scored_on_a_data_set_that_has_them(write_grid, inline, tmp_path, dataset, unmasked):
    grid = load_grid(write_grid({"base": {}}), {"data": {"path": str(unmasked)}})
    assert run_grid(grid, tmp_path / "out", data=dataset).failures == {}
    assert RunFolder(tmp_path / "out" / "base" / "seed0").config().data.path == unmasked
    run_grid(load_grid(write_grid({"base": {}})), tmp_path / "masked")
    assert _weights(tmp_path / "out" / "base" / "seed0") == _weights(tmp_path / "masked" / "base" / "seed0")


def test_masks_of_a_gaze_control_are_made_once_before_the_runs(write_grid, inline, tmp_path, unmasked, dataset):
    cells = {"base": {}, "other": {"gaze.control": "shuffled_cases"}, "same": {"gaze": {"control": "shuffled_cases"}}}
    grid = load_grid(write_grid(cells), {"data": {"path": str(unmasked)}})
    assert run_grid(grid, tmp_path / "out", data=dataset).failures == {}
    made = unmasked / "pseudo-shuffled_cases"
    assert made.is_dir()
    runs = {name: tmp_path / "out" / name / "seed0" for name in cells}
    assert _weights(runs["other"]) == _weights(runs["same"]) != _weights(runs["base"])
    assert RunFolder(runs["other"]).config().data.pseudo == made
    assert run_grid(grid, tmp_path / "out", data=dataset).ran == 0


def test_an_output_folder_that_cannot_be_made_is_named(write_grid, inline, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run_grid(load_grid(write_grid({"base": {}})), tmp_path / "file" / "out")


def test_the_forecast_counts_runs_and_knows_the_time_of_those_that_ran(write_grid, inline, tmp_path, capsys):
    path = write_grid({"base": {}, "low": {"train.lr": 1e-3}})
    run_grid(load_grid(path), tmp_path / "out", only=["base"])
    assert "1 run: 0 finished, 1 to do" in capsys.readouterr().err
    metrics = tmp_path / "out" / "base" / "seed0" / "metrics.jsonl"
    metrics.write_text('{"step": 4, "time_s": 480.0, "it_per_s": 0.01}\n')  # two minutes an iteration
    run_grid(load_grid(path), tmp_path / "out", jobs=2)
    assert "2 runs: 1 finished, 1 to do, 2 at a time; about 4 min" in capsys.readouterr().err


def test_a_busy_run_is_reported_and_the_rest_goes_on(write_grid, inline, tmp_path, monkeypatch):
    start = Job.start

    def busy(job):
        if "low" in job.folder:
            raise BusyError(f"{job.folder}: another process is at this run")
        return start(job)

    monkeypatch.setattr(Job, "start", busy)
    outcome = run_grid(load_grid(write_grid({"base": {}, "low": {}, "mid": {}})), tmp_path / "out")
    assert list(outcome.failures) == ["low/seed0"]
    assert inline == ["base/seed0", "mid/seed0"]


@pytest.fixture
def without_val(dataset) -> Path:
    """The data set with its split val given to train."""
    other = dataset.with_name("without_val")
    if not other.exists():
        shutil.copytree(dataset, other, ignore=shutil.ignore_patterns(".cache"))
        table = (other / "cases.csv").read_text(encoding="utf-8")
        (other / "cases.csv").write_text(table.replace(",val,", ",train,"), encoding="utf-8")
    assert not Dataset.load(other).split("val")
    return other


def test_a_held_out_part_of_train_is_scored_and_learnt_by_no_cell(
    write_grid, inline, tmp_path, without_val, monkeypatch
):
    learnt: set[str] = set()
    step = GazeUNet.training_step

    def watch(self, batch, number):
        learnt.update(batch.ids)
        return step(self, batch, number)

    monkeypatch.setattr(GazeUNet, "training_step", watch)
    monkeypatch.setattr("gazeseg.ablate.run.seconds_per_step", lambda plan, threads: 1.0)  # learns from random numbers
    cells = {"base": {}, "best": {"train.select": "validation", "train.validate_every": 2}}
    keys = {"split": "val", "hold_out_seed": 3, "seeds": [0, 1]}
    over = {"data": {"path": str(without_val)}, "train": {"validation_fraction": 0.3, "iterations": 12}}
    out = tmp_path / "out"
    grid = load_grid(write_grid(cells, **keys), over)
    assert run_grid(grid, out).failures == {}

    _, expected = group_split(Dataset.load(without_val).split("train"), 0.3, 3)
    held_out = {case.case_id for case in expected}
    for name in inline:
        scored = read_cases(out / name / "evaluation" / "val")
        assert {score.case_id for score in scored} == held_out
        assert RunFolder(out / name).environment()["validation"]["cases"] == len(held_out)
        assert not (out / name / "evaluation" / "test").exists()
    assert len(inline) == 4
    train_cases = {case.case_id for case in Dataset.load(without_val).split("train")}
    assert learnt == train_cases - held_out
    for name, checkpoint in (("base", "step-000012"), ("best", None)):
        summary = read_summary(out / name / "seed0" / "evaluation" / "val")
        assert summary["select"] == ("last" if checkpoint else "validation")
        if checkpoint:
            assert summary["checkpoint"] == checkpoint
    table = make_table(grid, out)
    assert table.comparison.cases == len(held_out)


def test_a_grid_without_anything_held_out_is_refused_before_it_starts(
    write_grid, inline, tmp_path, dataset, without_val
):
    over = {"data": {"path": str(without_val)}}
    with pytest.raises(ConfigError, match=r"has no split 'val'; add hold_out_seed: 0 to the grid"):
        run_grid(load_grid(write_grid({"base": {}}, split="val"), over), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"cell 'base': the grid's hold_out_seed holds the same cases out"):
        load_grid(write_grid({"base": {"train.hold_out_seed": 1}}, split="val", hold_out_seed=0), over)
    # scored on a data set in which other cases are for training: some of them were learnt from
    with pytest.raises(DataError, match="has other training cases than"):
        run_grid(load_grid(write_grid({"base": {}}, split="val", hold_out_seed=0)), tmp_path / "out", data=without_val)
    assert inline == []
    grid = load_grid(write_grid({"base": {}}, split="val"))  # with a split val nothing has to be held out
    assert run_grid(grid, tmp_path / "out").failures == {}
    scored = {score.case_id for score in read_cases(tmp_path / "out" / "base" / "seed0" / "evaluation" / "val")}
    assert scored == {case.case_id for case in Dataset.load(dataset).split("val")}


def test_a_run_is_scored_on_what_it_held_out_itself_or_not_at_all(tmp_path, write_grid, inline, without_val):
    over = {"data": {"path": str(without_val)}}
    run_grid(load_grid(write_grid({"base": {}}), over), tmp_path / "plain")
    plain = tmp_path / "plain" / "base" / "seed0"
    with pytest.raises(ConfigError, match=r"was trained on all of 'train'.*--train.hold_out_seed 0"):
        evaluate_run(plain, "val")
    run_grid(load_grid(write_grid({"base": {}}, split="val", hold_out_seed=0), over), tmp_path / "held")
    held = tmp_path / "held" / "base" / "seed0"
    evaluate_run(held, "test")  # the choice is made; the one figure on test
    text = (held / "config.yaml").read_text(encoding="utf-8")
    (held / "config.yaml").write_text(text.replace("hold_out_seed: 0", "hold_out_seed: 5"), encoding="utf-8")
    with pytest.raises(DataError, match=r"other training cases than when .* held some of them out"):
        evaluate_run(held, "val")


def test_the_controls_of_gaze_prompt_are_scored_on_validation_cases():
    path = Path(__file__).parents[2] / "configs" / "ablations" / "gaze_prompt.yaml"
    grid = load_grid(path)
    assert grid.split == "val"
    for cell in grid.cells:
        config = build(RunConfig, cell.asked(1), cell.name)
        assert config.train.hold_out_seed == 0  # the same cases for every cell and seed
        assert config.train.select == "last"
