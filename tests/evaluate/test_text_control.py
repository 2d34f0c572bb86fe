"""Runs on shuffled text stand beside those on true text in every table, and never among their seeds."""

import json
from pathlib import Path

import pytest

from gazeseg.config import RunConfig, write_yaml
from gazeseg.evaluate.compare import compare_runs
from gazeseg.evaluate.evaluate import describe
from gazeseg.evaluate.results import write_results
from gazeseg.report.runs import Run
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import CaseScore

RULES = "rules (stand-in for a vision-language model)"


@pytest.fixture
def make_run(tmp_path):
    def make(name: str, *, seed: int = 0, control: str = "none", method: str = "fgi", dice: float = 0.7) -> Path:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        config = RunConfig.model_validate(
            {"method": {"name": method}, "text": {"control": control}, "train": {"seed": seed}}
        )
        write_yaml(folder.config_file, config)
        text = RULES if control == "none" else f"{RULES}, shuffled between images (control)"
        text = text if method == "fgi" else "none"
        folder.write_task(Task("made", ("background", "x"), 3, 1, (0.5,), "recorded", False, 9, 1, text=text))
        scores = [
            CaseScore(f"c{i}", f"c{i}", 1, dice + i / 50, dice / 2, dice, dice, 9, 9, 9, 9, "px", "none")
            for i in range(6)
        ]
        target = folder.evaluation("test")
        target.mkdir(parents=True)
        header = {"dataset": "made", "split": "test", "by": "case", "method": method, "status": "paper"}
        header |= {"gaze": "recorded", "text": text, "select": "last", "resize": config.evaluate.resize}
        diagonals = {score.case_id: 90.0 for score in scores}
        write_results(
            target,
            scores,
            classes=("background", "x"),
            config=config.evaluate,
            protocol="gazeseg",
            diagonals=diagonals,
            header=header,
        )
        return folder.path

    return make


def test_shuffled_text_is_a_row_of_its_own_and_says_so(make_run):
    runs = [make_run("a"), make_run("b", seed=1), make_run("c", control="shuffled_cases", dice=0.6)]
    found = compare_runs(runs)
    assert [len(row.seeds) for row in found.rows] == [2, 1]
    assert found.rows[1].label == "fgi (text.control shuffled_cases)"
    assert "shuffled between images (control)" in found.rows[1].text
    shown = found.to_text()
    assert f"text of 'fgi (text.control none)': {RULES}." in shown
    assert "text of 'fgi (text.control shuffled_cases)'" in shown
    assert "shuffled" in json.loads(found.to_json())["rows"][1]["text"]


def test_a_control_is_named_beside_other_methods_alone(make_run):
    found = compare_runs([make_run("other", method="gaze_unet"), make_run("only", control="shuffled_cases")])
    assert [row.label for row in found.rows] == ["gaze_unet", "fgi (text.control shuffled_cases)"]
    assert found.rows[0].text == "none"
    assert "text of 'gaze_unet'" not in found.to_text()


def test_the_evaluation_and_the_report_name_the_text(make_run):
    path = make_run("only", control="shuffled_cases")
    assert f"text {RULES}, shuffled between images (control)" in describe(path / "evaluation" / "test")
    assert Run.load(path, "test").control == "text shuffled between images"
