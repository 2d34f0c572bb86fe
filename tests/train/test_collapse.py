import pytest
import tiny
import torch

from gazeseg.config import TrainConfig
from gazeseg.methods.base import StepOutput
from gazeseg.train import trainer
from gazeseg.train.collapse import STEPS, CollapseWatch
from gazeseg.train.runfolder import RunFolder


def _rows(shares, *, every=20, target=0.15):
    steps = range(every, every * (len(shares) + 1), every)
    return [
        {"step": step, "log/foreground": share, "log/foreground_target": target}
        for step, share in zip(steps, shares, strict=True)
    ]


def _spoken(rows, watch=None):
    watch = watch or CollapseWatch()
    return [row["step"] for row in rows if watch.see(row)]


def test_a_run_without_foreground_is_warned_about_once():
    assert _spoken(_rows([0.0] * 40)) == [STEPS]
    message = next(filter(None, map(CollapseWatch().see, _rows([0.001] * 40))))
    assert "\n" not in message
    for part in ("15.0%", "train.lr", "--train.optimizer adamw", "--train.clip_norm 1"):
        assert part in message


@pytest.mark.parametrize(
    "rows",
    [
        _rows([0.0] * 14 + [0.05] + [0.0] * 14),  # foreground came back in time
        _rows([0.004] * 40),  # little, but there
        _rows([0.0] * 40, target=0.0),  # none is asked for
        [{"step": step, "loss": 0.3} for step in range(0, 1000, 20)],  # a method that logs no share
    ],
)
def test_other_runs_are_left_alone(rows):
    assert _spoken(rows) == []


def test_a_collapse_in_the_middle_is_seen():
    assert _spoken(_rows([0.1] * 10 + [0.0] * 30)) == [200 + STEPS]


@pytest.mark.parametrize("interrupted", [3, 14, 15, 20])
def test_an_interrupted_run_speaks_when_the_whole_one_would(interrupted):
    rows = _rows([0.0] * 40)
    before, after = rows[:interrupted], rows[interrupted:]
    assert _spoken(before) + _spoken(after, CollapseWatch(before)) == [STEPS]


class _Collapsed(tiny.Tiny):
    def training_step(self, batch, step):
        out = super().training_step(batch, step)
        return StepOutput(out.losses, {"foreground": torch.tensor(0.0), "foreground_target": torch.tensor(0.2)})


def test_the_trainer_warns_and_writes_it_down(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gazeseg.train.collapse.STEPS", 10)
    config = TrainConfig(iterations=20, batch_size=4, log_every=5, threads=1, device="cpu", lr=0.01)
    trainer.fit(_Collapsed(), tiny.TinyLoader(), config=config, folder=RunFolder(tmp_path))
    warned = {row["step"]: row["warning"] for row in RunFolder(tmp_path).metrics() if "warning" in row}
    assert list(warned) == [10]
    assert capsys.readouterr().err.replace("\n", " ").count("collapsed to background") == 1
    assert "lower train.lr" in warned[10]
