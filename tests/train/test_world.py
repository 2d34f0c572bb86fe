"""Two processes against one: the same losses and weights, whoever computes the micro-batches, and however often."""

import multiprocessing
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import as_rank, train_part

from gazeseg.cli import main
from gazeseg.config import TrainConfig
from gazeseg.errors import ConfigError
from gazeseg.train import checkpoint
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.world import World, make_fabric


def run_two(*arguments) -> None:
    processes = multiprocessing.get_context("forkserver")  # imports torch once
    processes.set_forkserver_preload(["gazeseg.train.trainer"])
    port = _free_port()
    started = [processes.Process(target=as_rank, args=(rank, port, *arguments)) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        assert process.exitcode == 0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _losses(folder: Path) -> list[float]:
    return [row["loss"] for row in RunFolder(folder).metrics()]


def test_two_processes_learn_as_one_and_take_over_from_one_another(tmp_path):
    for name in ("one", "two", "grown", "shrunk"):
        (tmp_path / name).mkdir()
    train_part(tmp_path / "one", 12)
    reference = _losses(tmp_path / "one")
    assert len(reference) == 4

    run_two(tmp_path / "two", 12)
    train_part(tmp_path / "grown", 5)  # in the middle of a window of the log
    run_two(tmp_path / "grown", 12, True)
    run_two(tmp_path / "shrunk", 5)
    train_part(tmp_path / "shrunk", 12, True)
    weights = checkpoint.load_weights(RunFolder(tmp_path / "one"))
    for name in ("two", "grown", "shrunk"):
        assert _losses(tmp_path / name) == pytest.approx(reference, abs=1e-6)
        others = checkpoint.load_weights(RunFolder(tmp_path / name))
        for key, value in weights.items():
            torch.testing.assert_close(others[key], value, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_torchrun_trains_a_run_folder_as_one_process_does(tmp_path):
    from gazeseg.data.pseudo import make_masks, resolve_config
    from gazeseg.data.synthetic import make_demo_dataset

    made = make_demo_dataset(tmp_path / "DS", cases=8, size=(40, 40))
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}), jobs=1)
    keys = {
        "data.size": "32,32", "network.name": "small_unet", "network.features": "4,8,8", "train.iterations": "6",
        "train.batch_size": "2", "train.accumulate": "2", "train.log_every": "1", "train.threads": "1",
        "train.device": "cpu", "train.optimizer": "adamw", "train.lr": "0.01",
    }  # fmt: skip
    arguments = ["train", "--method", "gaze_partial", "--data", str(made.root)]
    arguments += [part for key, value in keys.items() for part in (f"--{key}", value)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gazeseg"]
    two = [*launcher, *arguments, "--out", str(tmp_path / "two")]
    subprocess.run(two, check=True, capture_output=True, timeout=300)
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), abs=1e-6)
    assert {entry.name for entry in (tmp_path / "two").iterdir()} == {
        entry.name for entry in (tmp_path / "one").iterdir()
    }


def test_micro_batches_are_shared_out_evenly():
    shares = [list(World(rank, 3, 3).parts(6)) for rank in range(3)]
    assert shares == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ConfigError, match=r"--train\.accumulate 4"):
        make_fabric(TrainConfig(accumulate=3), torch.device("cpu"), World(0, 2, 2))


def test_without_torchrun_there_is_one_process():
    assert World.from_environment() == World(0, 1, 1)
    assert World().writes
