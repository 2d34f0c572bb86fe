"""The loop against a plain one, and the promise that a killed run ends with the same bits."""

import json
import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import tiny
import torch

from gazeseg.config import NetworkConfig, TrainConfig
from gazeseg.errors import ConfigError, DataError, GazeSegError
from gazeseg.methods.base import StepOutput
from gazeseg.nets import build_network
from gazeseg.train import checkpoint
from gazeseg.train.optim import lr_at
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.trainer import fit, resolve_device


def _fit(out: Path, method=None, loader=None, resume=False, **keys):
    out.mkdir(exist_ok=True)
    method = method or tiny.Tiny()
    defaults = {"iterations": 12, "batch_size": 4, "lr": 0.05, "lr_min": 1e-3, "log_every": 5, "device": "cpu"}
    config = TrainConfig(**{**defaults, "threads": 1, **keys})
    fit(method, loader or tiny.TinyLoader(), config=config, folder=RunFolder(out), resume=resume)
    return method, config


def _same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_equals_a_plain_loop(tmp_path):
    ours, config = _fit(tmp_path, optimizer="sgd", channels_last=False)
    plain, loader = tiny.Tiny(), tiny.TinyLoader()
    torch.manual_seed(config.seed)
    optimizer = torch.optim.SGD(plain.parameters(), lr=1, momentum=0.99, nesterov=True, weight_decay=4e-4)
    for step in range(config.iterations):
        optimizer.param_groups[0]["lr"] = lr_at(step, config)
        out = plain.training_step(loader.batch(step), step)
        optimizer.zero_grad()
        (out.losses["bce"] + out.losses["l2"]).backward()
        optimizer.step()
        with torch.no_grad():
            plain.after_step(step)
    assert _same(ours, plain)


def test_accumulation_averages_micro_batches(tmp_path):
    class NoNoise(tiny.Tiny):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Sequential(self.first[0])  # batch norm and dropout depend on the batch

    class Joined(tiny.TinyLoader):
        def batch(self, step):
            parts = [super(Joined, self).batch(3 * step + k) for k in range(3)]
            image, mask = (torch.cat([getattr(p, f) for p in parts]) for f in ("image", "mask"))
            return tiny.Batch(ids=("",) * 12, image=image, mask=mask)

    loader = tiny.TinyLoader()
    parts, _ = _fit(tmp_path / "a", NoNoise(), loader, accumulate=3, clip_norm=0.1)
    whole, _ = _fit(tmp_path / "b", NoNoise(), Joined(), clip_norm=0.1)
    assert loader.asked == list(range(36))
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[key], value)


def test_clipping_bounds_the_step(tmp_path):
    method = tiny.Tiny()
    before = torch.cat([p.detach().flatten().clone() for p in method.parameters()])
    method.scale = 1e4
    _fit(tmp_path, method, iterations=1, clip_norm=0.01, momentum=0, weight_decay=0, lr=1.0)
    after = torch.cat([p.detach().flatten() for p in method.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_log_rows_are_means_over_the_window(tmp_path):
    _fit(tmp_path)
    rows = RunFolder(tmp_path).metrics()
    assert [row["step"] for row in rows] == [5, 10, 12]
    for row in rows:
        assert {"time_s", "lr", "loss", "loss/bce", "loss/l2", "log/mean", "it_per_s"} <= row.keys()
        assert row["loss"] == pytest.approx(row["loss/bce"] + row["loss/l2"])
    plain, single = RunFolder(tmp_path / "single"), []
    _fit(plain.path, log_every=1)
    single = [row["loss/bce"] for row in plain.metrics()]
    assert rows[0]["loss/bce"] == pytest.approx(sum(single[:5]) / 5)
    assert rows[2]["loss/bce"] == pytest.approx(sum(single[10:]) / 2)
    assert RunFolder(tmp_path).curves_file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("log_every", [5, 100])
def test_divergence_names_step_and_term_and_keeps_no_poisoned_weights(tmp_path, log_every):
    method = tiny.Tiny()
    method.poison = 7
    with pytest.raises(GazeSegError, match=r"step 8: loss term bce is nan.*train\.lr") as error:
        _fit(tmp_path, method, log_every=log_every, checkpoint_every=4)
    assert "\n" not in str(error.value)
    loaded = checkpoint.load(RunFolder(tmp_path))
    assert loaded.step == 4
    assert all(value.isfinite().all() for value in loaded.weights.values())


def test_best_checkpoint_follows_validation(tmp_path):
    values = iter([0.2, 0.9, 0.4])
    method, modes = tiny.Tiny(), []

    def validate() -> float:
        modes.append((method.training, torch.is_grad_enabled()))
        return next(values)

    config = TrainConfig(iterations=12, validate_every=5, checkpoint_every=3, device="cpu", threads=1, lr=0.01)
    fit(method, tiny.TinyLoader(), config=config, folder=RunFolder(tmp_path), validate=validate)
    assert checkpoint.load(RunFolder(tmp_path), "best").step == 10
    assert checkpoint.load(RunFolder(tmp_path), "last").step == 12
    assert modes == [(False, False)] * 3
    assert method.training
    rows = [(row["step"], row["val/dice"]) for row in RunFolder(tmp_path).metrics() if "val/dice" in row]
    assert rows == [(5, 0.2), (10, 0.9), (12, 0.4)]


def test_bf16_and_channels_last_train(tmp_path):
    method, _ = _fit(tmp_path, precision="bf16-mixed", iterations=40)
    rows = RunFolder(tmp_path).metrics()
    assert method.first[0].weight.dtype == torch.float32
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_compiled_bodies_learn_the_same_under_the_same_names(tmp_path, monkeypatch):
    class WithNet(tiny.Tiny):
        def __init__(self):
            super().__init__()
            config = NetworkConfig(name="small_unet", features=(4, 4))
            self.net = build_network(config, in_channels=1, num_classes=2, seed=0)

        def training_step(self, batch, step):
            image = torch.nn.functional.pad(batch.image, (0, 4, 0, 4))  # networks want 16 px
            return StepOutput({"mse": self.net(image).square().mean()})

    compiled, real = [], torch.nn.Module.compile

    def compile_lightly(self):
        compiled.append(self)
        real(self, backend="aot_eager")  # all of the machinery but the C++ compiler, which takes a minute

    monkeypatch.setattr(torch.nn.Module, "compile", compile_lightly)
    method, _ = _fit(tmp_path / "compiled", WithNet(), compile=True, iterations=3)
    plain, _ = _fit(tmp_path / "plain", WithNet(), iterations=3)
    assert compiled == [method.net.body]
    stored = checkpoint.load_weights(RunFolder(tmp_path / "compiled"))
    assert stored.keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(stored[name], value)


def test_threads_are_given_back(tmp_path):
    before = torch.get_num_threads()
    _fit(tmp_path, iterations=1, threads=before + 1)
    assert torch.get_num_threads() == before


def test_absent_gpu_is_a_config_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match=r"--train\.device cpu"):
        resolve_device("cuda")


def test_resume_without_checkpoint_starts_over_and_drops_old_rows(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "loss": 1.0}\n')
    resumed, _ = _fit(tmp_path, resume=True)
    fresh, _ = _fit(tmp_path / "fresh")
    assert _same(resumed, fresh)
    assert [row["step"] for row in RunFolder(tmp_path).metrics()] == [5, 10, 12]


def test_checkpoint_of_another_method_is_named(tmp_path):
    _fit(tmp_path)
    other = tiny.Tiny()
    other.extra = torch.nn.Linear(2, 2)
    with pytest.raises(DataError, match="not a checkpoint of this method") as error:
        _fit(tmp_path, other, resume=True, iterations=20)
    assert "\n" not in str(error.value)


def _stable(folder: RunFolder) -> list[dict]:
    return [
        {k: v for k, v in row.items() if k not in ("time_s", "it_per_s", "loader_share", "memory_mb")}
        for row in folder.metrics()
    ]


def test_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    reference = RunFolder(tmp_path / "whole")
    tiny.train_tiny(reference.path, resume=False)
    killed = RunFolder(tmp_path / "killed")
    moments = np.random.default_rng(0)
    processes = multiprocessing.get_context("forkserver")  # imports torch once, then every child is a fresh process
    processes.set_forkserver_preload(["gazeseg.train.trainer"])
    kills = 0
    for lowest in (4, 24, 44):  # some moment in each third of the run
        arguments = {"resume": True, "wait_s": 0.02}
        process = processes.Process(target=tiny.train_tiny, args=(killed.path,), kwargs=arguments)
        process.start()
        moment = lowest + moments.integers(10)
        while process.is_alive():
            rows = killed.metrics()
            if rows and rows[-1]["step"] >= moment:
                time.sleep(moments.uniform(0, 0.1))
                process.kill()
                break
            time.sleep(0.005)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills == 3
    tiny.train_tiny(killed.path, resume=True)
    for which in ("last", "best"):
        ours, theirs = (safetensors.torch.load_file(checkpoint.find(f, which) / "model.safetensors")
                        for f in (killed, reference))  # fmt: skip
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert _stable(killed) == _stable(reference)
    assert checkpoint.find(killed).name == "step-000060"
    states = [checkpoint.load(f).state for f in (killed, reference)]
    assert torch.equal(states[0]["rng_cpu"], states[1]["rng_cpu"])
    assert json.loads(killed.metrics_file.read_text().splitlines()[-1])["step"] == 60
