"""Gaze controls in a run: what is refused before anything is written, what the batches hold, what every result says."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from gazeseg.cli import main
from gazeseg.config import RunConfig, build, merge, read_yaml
from gazeseg.data.dataset import Dataset
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate.compare import compare_runs
from gazeseg.evaluate.evaluate import evaluate_run
from gazeseg.report.datasets import open_sources, pseudo_context
from gazeseg.report.report import write_report
from gazeseg.report.runs import Run
from gazeseg.train import run
from gazeseg.train.plan import make_plan
from gazeseg.train.run import train
from gazeseg.types import Batch

SMALL = {
    "data": {"size": [32, 32], "augment": {"flip_horizontal": 0, "flip_vertical": 0}},
    "network": {"name": "small_unet", "features": [4, 8, 8]},
    "train": {"iterations": 2, "batch_size": 9, "optimizer": "adamw", "lr": 5e-3, "threads": 1, "device": "cpu"},
    "evaluate": {"bootstrap": 100},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Generated images with pseudo-masks of the true gaze and of another case's."""
    made = make_demo_dataset(tmp_path_factory.mktemp("plan") / "DS", cases=15, size=(40, 48), seed=0)
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}), jobs=1)
    spoilt = resolve_config(made, {"gaze": {"control": "shuffled_cases"}})
    make_masks(made, made.root / "pseudo-shuffled_cases", spoilt, jobs=1)
    return made


def config(dataset: Dataset, method: str, /, **sections) -> RunConfig:
    values = merge(SMALL, {"method": {"name": method}, "data": {"path": str(dataset.root)}})
    return build(RunConfig, merge(values, sections), "test")


@pytest.mark.parametrize(
    ("method", "gaze", "said"),
    [
        ("full", {"control": "webcam"}, "'full' looks at no gaze"),
        ("gaze_unet", {"control": "shuffled_order"}, "does not look at the track"),
        ("gaze_unet", {"control": "shuffled_cases", "scope": "track"}, "gaze.scope is track"),
    ],
)
def test_a_control_that_changes_nothing_is_refused(dataset, method, gaze, said):
    with pytest.raises(ConfigError) as caught:
        make_plan(config(dataset, method, gaze=gaze))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["--gaze.control", "webcam"], "{ds}/pseudo-webcam not found; run: gazeseg masks {ds} --gaze.control webcam"),
        (
            ["--gaze.control", "shuffled_cases", "--gaze.seed", "4"],
            "run: gazeseg masks {ds} --gaze.control shuffled_cases --gaze.seed 4",
        ),
        (
            ["--gaze.control", "shuffled_cases", "--data.pseudo", "{ds}/pseudo"],
            "leave data.pseudo out and run: gazeseg masks {ds} --gaze.control shuffled_cases",
        ),
        (["--data.pseudo", "{ds}/pseudo-shuffled_cases"], "leave data.pseudo out and run: gazeseg masks {ds}"),
        (
            [
                "--gaze.control",
                "shuffled_cases",
                "--gaze.scope",
                "track",
                "--data.pseudo",
                "{ds}/pseudo-shuffled_cases",
            ],
            "was made with gaze.control shuffled_cases (seed 0), the run needs none",
        ),
        (["--gaze.control", "jitter"], "jitter:20"),
    ],
)
def test_masks_of_another_control_are_refused_with_the_command_to_run(dataset, tmp_path, capsys, keys, said):
    arguments = [key.format(ds=dataset.root) for key in keys]
    out = tmp_path / "run"
    assert main(["train", "--method", "gradtrack", "--data", str(dataset.root), "--out", str(out), *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gazeseg: ")]
    assert len(lines) == 1
    assert said.format(ds=dataset.root) in lines[0]
    assert not out.exists()


def test_the_command_of_a_refusal_makes_the_run_possible(dataset, capsys):
    wanted = config(dataset, "gradtrack", gaze={"control": "jitter:5%", "seed": 2})
    with pytest.raises(DataError, match="run: gazeseg masks") as caught:
        make_plan(wanted)
    command = str(caught.value).partition("run: gazeseg ")[2]
    assert main(command.split()) == 0
    assert "pseudo-jitter-5pct-seed2, gaze jitter 5%" in capsys.readouterr().out.replace("\n", "")
    assert make_plan(wanted).pseudo == dataset.root / "pseudo-jitter-5pct-seed2"


def first_batch(config: RunConfig, out: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """What a run would see in its first step."""
    seen: list[Batch] = []
    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", lambda method, loader, **_: seen.append(loader.batch(0)))
        train(config, out)
    return seen[0]


def test_batches_hold_the_controlled_gaze(dataset, tmp_path, monkeypatch):
    gazes = {
        "plain": {},
        "order": {"control": "shuffled_order"},
        "track": {"control": "shuffled_cases", "scope": "track"},
        "all": {"control": "shuffled_cases"},
    }
    batches = {
        name: first_batch(config(dataset, "gradtrack", gaze=gaze), tmp_path / name, monkeypatch)
        for name, gaze in gazes.items()
    }
    plain = batches["plain"]
    assert all(batch.ids == plain.ids for batch in batches.values())
    assert all(batch.image.equal(plain.image) for batch in batches.values())
    assert batches["order"].pseudo.equal(plain.pseudo)
    assert batches["track"].pseudo.equal(plain.pseudo)
    assert not batches["all"].pseudo.equal(plain.pseudo)
    assert not batches["order"].track.equal(plain.track)
    assert batches["all"].track.equal(batches["track"].track)
    assert sorted(batches["track"].track_length.tolist()) == sorted(plain.track_length.tolist())  # others', all kept
    assert batches["track"].track_length.tolist() != plain.track_length.tolist()


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory) -> dict[str, Path]:
    """Runs of one method and seed, evaluated: of the true gaze, and under two controls."""
    folder = tmp_path_factory.mktemp("runs")
    gazes = {
        "plain": {},
        "order": {"control": "shuffled_order"},
        "track": {"control": "shuffled_cases", "scope": "track"},
    }
    for name, gaze in gazes.items():
        train(config(dataset, "gradtrack", gaze=gaze), folder / name)
        evaluate_run(folder / name, "test")
    return {name: folder / name for name in gazes}


LABELS = {
    "plain": "simulated (uses ground truth)",
    "order": "simulated (uses ground truth), shuffled order",
    "track": "simulated (uses ground truth), of another case (track only)",
}


def test_every_file_of_a_run_names_its_control(runs):
    for name, path in runs.items():
        control = LABELS[name].partition("), ")[2]
        assert json.loads((path / "task.json").read_text())["gaze_control"] == control
        assert json.loads((path / "environment.json").read_text())["gaze_control"] == (control or None)
        assert json.loads((path / "evaluation" / "test" / "summary.json").read_text())["gaze"] == LABELS[name]


def test_runs_of_different_controls_are_no_seeds_of_one_another(runs):
    table = compare_runs(list(runs.values()))
    assert [row.gaze for row in table.rows] == list(LABELS.values())
    assert all(len(row.runs) == 1 for row in table.rows)
    assert "gaze.control shuffled_order" in table.rows[1].label
    text = table.to_text()
    assert all(f"| {label} " in text for label in LABELS.values())
    assert "rows differ in their gaze" in text


def test_the_report_marks_controls_and_lets_the_true_gaze_lead(runs, tmp_path):
    page = write_report(list(runs.values()), tmp_path / "report.html").read_text(encoding="utf-8")
    for control in ("shuffled order", "of another case (track only)"):
        assert f"control: gaze {control}<" in page
    assert "Learned from simulated gaze (uses ground truth);" in page
    alone = write_report([runs["order"]], tmp_path / "alone.html").read_text(encoding="utf-8")
    assert "Learned from simulated gaze (uses ground truth), gaze shuffled order;" in alone


@pytest.mark.parametrize("gaze", [{}, {"control": "shuffled_order", "seed": 1}, {"control": "webcam"}])
def test_resuming_under_another_control_is_refused(runs, dataset, tmp_path, gaze):
    folder = Path(shutil.copytree(runs["order"], tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"gaze\.(control|seed|scope) was"):
        train(config(dataset, "gradtrack", gaze=gaze), folder, resume=True)


def test_the_report_shows_the_data_of_a_control_and_of_the_true_gaze_once(runs, dataset, tmp_path):
    folder = Path(shutil.copytree(runs["track"], tmp_path / "run"))
    values = merge(read_yaml(folder / "config.yaml"), {"data": {"pseudo": str(dataset.root / "pseudo-shuffled_cases")}})
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    spoilt, plain = (Run.load(path, "test") for path in (folder, runs["plain"]))
    (source,) = open_sources([spoilt, plain])
    assert source.pseudo.path == dataset.root / "pseudo"
    (alone,) = open_sources([spoilt])
    assert alone.pseudo.config.gaze.control == "shuffled_cases"
    assert "Control: gaze of another case" in pseudo_context(alone)["caption"]


def test_a_run_of_before_there_were_controls_reads_as_a_plain_one(runs, dataset, tmp_path):
    folder = Path(shutil.copytree(runs["plain"], tmp_path / "run"))
    values = read_yaml(folder / "config.yaml")
    del values["gaze"]
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    task = json.loads((folder / "task.json").read_text())
    del task["gaze_control"]
    (folder / "task.json").write_text(json.dumps(task))
    done = train(config(dataset, "gradtrack"), folder, resume=True)
    assert (done.task().gaze_control, done.config().gaze.control) == ("", "none")
