"""Checkpoints: round trip, every moment at which a process may die, corrupt files, a full disk."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from gazeseg.errors import DataError
from gazeseg.train import checkpoint, runfolder
from gazeseg.train.runfolder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def _weights(value: float) -> dict[str, torch.Tensor]:
    kernel = torch.full((2, 3, 4, 4), float(value)).to(memory_format=torch.channels_last)
    return {"a.weight": kernel, "b.weight": kernel, "count": torch.tensor(7), "none": torch.zeros(0)}


def _save(folder: RunFolder, step: int, best_step: int | None = None) -> Path:
    return checkpoint.save(folder, step, _weights(step), {"step": step, "rng": torch.arange(3)}, best_step=best_step)


def test_round_trip_keeps_values_and_stores_tied_tensors_once(folder):
    path = _save(folder, 5)
    loaded = checkpoint.load(folder)
    assert loaded.step == 5
    assert loaded.path == path
    assert loaded.weights.keys() == _weights(5).keys()
    for name, value in _weights(5).items():
        assert torch.equal(loaded.weights[name], value)
    assert torch.equal(loaded.state["rng"], torch.arange(3))
    assert (path / "model.safetensors").stat().st_size < 2 * 2 * 3 * 16 * 4  # less than two copies of the kernel
    torch.load(path / "state.pt", weights_only=True)


def test_only_last_and_best_stay(folder):
    for step, best in ((10, 10), (20, 10), (30, 10), (40, 10)):
        _save(folder, step, best)
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["best", "last", "step-000010", "step-000040"]
    assert float(checkpoint.load_weights(folder, "best")["a.weight"][0, 0, 0, 0]) == 10
    assert float(checkpoint.load_weights(folder, "last")["a.weight"][0, 0, 0, 0]) == 40


class _Killed(BaseException):
    """Stands for the death of the process: nothing may catch it and tidy up."""


def test_death_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    calls = {"left": -1}

    def mortal(function):
        def call(*arguments, **options):
            if calls["left"] == 0:
                raise _Killed
            calls["left"] -= 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(runfolder.os, "fsync", mortal(os.fsync))
    monkeypatch.setattr(Path, "rename", mortal(Path.rename))
    monkeypatch.setattr(Path, "replace", mortal(Path.replace))
    monkeypatch.setattr(checkpoint.shutil, "rmtree", mortal(shutil.rmtree))
    moments = 0
    while True:
        folder = RunFolder(tmp_path / str(moments))
        folder.path.mkdir()
        calls["left"] = -1  # immortal
        _save(folder, 10, 10)
        _save(folder, 20, 10)
        calls["left"] = moments
        try:
            _save(folder, 30, 30)
        except _Killed:
            calls["left"] = -1
            loaded = checkpoint.load(folder)
            assert loaded.step in (20, 30)
            assert float(loaded.weights["a.weight"].mean()) == loaded.step
            assert checkpoint.load(folder, "best").step in (10, 30)
            _save(folder, 30, 30)  # a resumed run gets there again
            assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["best", "last", "step-000030"]
            moments += 1
            continue
        break
    assert moments >= 10


@pytest.mark.parametrize("file", ["model.safetensors", "state.pt"])
@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.99])
def test_truncated_file_is_one_line_with_a_fix(folder, file, keep):
    path = _save(folder, 5) / file
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(DataError, match="corrupt checkpoint") as error:
        checkpoint.load(folder)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert "--resume" in message


def test_missing_pieces_are_named(folder):
    with pytest.raises(DataError, match="no checkpoint 'last'"):
        checkpoint.load_weights(folder)
    path = _save(folder, 5)
    with pytest.raises(DataError, match="no checkpoint 'best'; take the last one"):
        checkpoint.load_weights(folder, "best")
    (path / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        checkpoint.load(folder)
    shutil.rmtree(path)
    with pytest.raises(DataError, match="'step-000005', which is not there"):
        checkpoint.find(folder)


def test_full_disk_is_one_line_and_keeps_the_last_checkpoint(folder, monkeypatch):
    _save(folder, 5)

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_flushed", full)
    with pytest.raises(DataError, match="No space left on device"):
        _save(folder, 6)
    assert checkpoint.load(folder).step == 5
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["last", "step-000005"]
