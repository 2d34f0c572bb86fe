"""Commands of README and docs, run as they are shown, on generated data and a run of a few iterations.

What takes a network, a tracker, hours, or data that cannot be generated is checked by its syntax alone, in
``test_commands.py``; the way from import to report has its own test in ``tests/cli/test_verbs.py``.
"""

import re
import shlex
from pathlib import Path

import pytest
from pages import PAGES, commands

from gazeseg.cli import main
from gazeseg.data.dataset import Dataset
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset

RUNNABLE = {"check", "inspect", "status", "evaluate", "explain", "compare", "report", "ledger", "methods"}
FOREIGN = ("--predictions", "--gif", "best", "volume")  # need files or checkpoints that these two do not have
SHOWN = {
    command: page.name
    for page in PAGES
    for command in commands(page)
    if command.split()[1] in RUNNABLE and not any(word in command for word in FOREIGN)
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with a data set ``DS`` and an evaluated run ``runs/made``."""
    root = tmp_path_factory.mktemp("docs")
    made = make_demo_dataset(root / "DS", cases=8, size=(40, 40))
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}), jobs=1)
    keys = ["--data.size", "32,32", "--network.name", "small_unet", "--network.features", "4,8,8"]
    keys += ["--train.iterations", "3", "--train.batch_size", "2", "--train.threads", "1", "--train.device", "cpu"]
    run = str(root / "runs" / "made")
    assert main(["train", "--method", "gaze_partial", "--data", str(made.root), "--out", run, *keys]) == 0
    assert main(["evaluate", run, "--split", "test"]) == 0
    return root


def translated(command: str, lab: Path) -> list[str]:
    """Put the data set, the run and a case in the place of the names that the page gives them."""
    case = Dataset.load(lab / "DS").split("test")[0].case_id
    words = []
    for word in shlex.split(command)[1:]:
        if word in ("DS", "kvasir", "ours"):
            words.append(str(lab / "DS"))
        elif word in ("RUN", "runs/*") or re.fullmatch(r"runs/\w+", word):
            words.append(str(lab / "runs" / "made"))
        elif word == "runs":
            words.append(str(lab / "runs"))
        else:
            words.append(case if word == "CASE" else word)
    return words


def test_enough_of_them_are_run():
    assert len({command.split()[1] for command in SHOWN}) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("command", SHOWN)
def test_it_does_what_it_says(command, lab, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = translated(command, lab)
    assert main(words) == 0, capsys.readouterr().err
    if "--out" in words:
        assert (tmp_path / words[words.index("--out") + 1]).exists()
