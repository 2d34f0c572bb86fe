"""The only training loop.

It owns device, precision, optimiser, schedule, accumulation, clipping, seeding, the log and the checkpoints; only it
calls ``backward``; and it is never handed the test split: it sees a loader of training batches and, where the run
selects by validation, a function that returns the validation Dice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from gazeseg.config import TrainConfig
from gazeseg.console import make_progress, warn
from gazeseg.errors import ConfigError, DataError, GazeSegError
from gazeseg.methods.base import Method
from gazeseg.nets import SegmentationNet
from gazeseg.train import checkpoint
from gazeseg.train.collapse import CollapseWatch
from gazeseg.train.optim import build_optimizer, lr_at
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.runlog import RunLog
from gazeseg.train.trackers import Tracker
from gazeseg.train.world import World, make_fabric
from gazeseg.types import Batch


class Loader(Protocol):
    """Where batches come from: a pure function of the step, so that a resumed run has no loader state to restore."""

    def batch(self, step: int) -> Batch:
        """Return micro-batch ``step`` (from 0)."""
        ...


def resolve_device(name: str) -> torch.device:
    """Turn ``train.device`` into a device; ``auto`` is the GPU where there is one.

    Raises:
        ConfigError: if ``cuda`` is asked for and PyTorch finds none.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError(f"train.device is cuda, but PyTorch {torch.__version__} finds no GPU; use --train.device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and found) else "cpu")


def fit(
    method: Method,
    loader: Loader,
    *,
    config: TrainConfig,
    folder: RunFolder,
    validate: Callable[[], float] | None = None,
    resume: bool = False,
    momentum: Mapping[str, Any] | None = None,
    fabric: Fabric | None = None,
    trackers: Sequence[Tracker] = (),
) -> None:
    """Train ``method`` for ``config.iterations`` steps and leave log, curves and checkpoints in ``folder``.

    One step is ``accumulate`` micro-batches ``loader.batch(step * accumulate + k)`` whose loss is averaged, then clip,
    update, ``method.after_step``. Under ``torchrun`` every process calls this, and they share out the micro-batches of
    a step: see :mod:`gazeseg.train.world`. On a CPU the outcome of one process depends on configuration, loader and
    thread count alone: a run killed at any moment and resumed ends with the same bits as one that was left alone.

    Args:
        method: What to train; it is moved to the device and stays there.
        loader: Training batches.
        config: The ``train`` section.
        folder: An existing run folder.
        validate: Returns the Dice of ``method`` on the validation cases, called in evaluation mode without gradients
            every ``validate_every`` steps and at the end; the best checkpoint is kept beside the last. None: no
            validation.
        resume: Go on from the last checkpoint, or from 0 where there is none.
        momentum: ``state_dict`` of the optimiser of another run of the same method, of which the state of each
            parameter is taken over where this run begins at 0.
        fabric: What :func:`~gazeseg.train.world.make_fabric` returned; made here by default.
        trackers: Where else the rows of the log go; they are closed at the end.

    Raises:
        GazeSegError: if a loss term is not finite, with the step and the term.
        DataError: if the checkpoint is corrupt or belongs to another method, or cannot be written.
        ConfigError: if the device is not there.
    """
    world = World.from_environment()
    fabric = fabric or make_fabric(config, resolve_device(config.device), world)
    with cpu_threads(config.threads):
        _fit(method, loader, config, folder, validate, resume, momentum, fabric, world, trackers)


def _fit(
    method: Method,
    loader: Loader,
    config: TrainConfig,
    folder: RunFolder,
    validate: Callable[[], float] | None,
    resume: bool,
    momentum: Mapping[str, Any] | None,
    fabric: Fabric,
    world: World,
    trackers: Sequence[Tracker],
) -> None:
    device = fabric.device
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # the input size never changes within a run
    method.to(device, memory_format=layout)  # type: ignore[call-overload]  # the stub omits memory_format beside device
    optimizer = build_optimizer(method.parameters(), config, fused=device.type == "cuda")
    state = _resume(method, optimizer, folder, device, settle=world.writes) if resume else _State()
    if momentum is not None and state.step == 0:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": momentum["state"]})
    if config.compile:
        for network in method.modules():
            if isinstance(network, SegmentationNet):
                network.body.compile()  # in place, so that the names in the checkpoint stay; the head is one matmul
    if world.rank:  # process 0 goes on with the saved state, the others with noise of their own
        torch.manual_seed(hash((config.seed, state.step, world.rank)) % 2**63)
    module, update = fabric.setup(_Step(method), optimizer)
    method.train()
    parts = world.parts(config.accumulate)
    fabric.barrier()  # process 0 may remove old checkpoints only after all have read theirs

    began = time.monotonic() - state.time_s
    window = _Window(state.pending, state.step, fabric)
    with RunLog(folder, state.step, trackers, writes=world.writes) as log, make_progress() as progress:
        watch = CollapseWatch(folder.metrics())
        bar = progress.add_task("training", total=config.iterations, completed=state.step, note="")
        for step in range(state.step, config.iterations):
            rate = lr_at(step, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            for part in parts:
                with window.waiting():
                    batch = loader.batch(step * config.accumulate + part).to(device, non_blocking=True)
                image = batch.image.contiguous(memory_format=layout)
                with fabric.no_backward_sync(module, enabled=world.size > 1 and part != parts[-1]):
                    losses, logs = module(_Parcel(dataclasses.replace(batch, image=image), step))
                    loss = torch.stack(list(losses.values())).sum()
                    fabric.backward(loss / len(parts))
                window.add(step, loss, losses, logs)
            if config.clip_norm is not None:
                fabric.clip_gradients(module, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
            update.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                method.after_step(step)
            state.step = step + 1
            progress.advance(bar)

            last = state.step == config.iterations
            if last or state.step % config.log_every == 0:
                row = window.close(state.step)
                state.time_s = time.monotonic() - began
                entry: dict[str, Any] = {"step": state.step, "time_s": round(state.time_s, 3), "lr": rate, **row}
                if (warning := watch.see(entry)) is not None:
                    entry["warning"] = warning
                    warn(warning)
                log.write(entry)
                progress.update(bar, note=f"{row['it_per_s']:.1f} it/s, loss {row['loss']:.4f}")
            validated = validate is not None and (last or state.step % config.validate_every == 0)
            if validate is not None and validated:
                window.fetch()  # never judge, or keep, weights that have diverged
                dice = _validated(method, validate, fabric)
                if dice > state.best:
                    state.best, state.best_step = dice, state.step
                log.write({"step": state.step, "time_s": round(time.monotonic() - began, 3), "val/dice": dice})
                log.draw()
            if last or validated or state.step % config.checkpoint_every == 0:
                window.fetch()
                state.time_s, state.pending = time.monotonic() - began, window.values
                if world.writes:
                    log.sync()
                    best_step = state.best_step if state.best_step >= 0 else None
                    packed = _pack(state, optimizer)
                    checkpoint.save(folder, state.step, method.state_dict(), packed, best_step=best_step)
        log.draw()


@dataclass(slots=True)
class _State:
    """What changes during a run beside weights and optimiser."""

    step: int = 0  # iterations done
    best: float = -math.inf
    best_step: int = -1
    time_s: float = 0.0
    pending: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # since the last row of the log


def _pack(state: _State, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return everything a resumed run needs beside the weights."""
    return {
        **dataclasses.asdict(state),
        "optimizer": optimizer.state_dict(),
        "rng_cpu": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _resume(
    method: Method, optimizer: torch.optim.Optimizer, folder: RunFolder, device: torch.device, *, settle: bool
) -> _State:
    """Load the last checkpoint into method, optimiser and random state; a fresh state where there is none."""
    if checkpoint.find(folder, "last") is None:
        return _State()
    loaded = checkpoint.load(folder, "last", device=device)
    saved = loaded.state
    try:
        method.load_state_dict(loaded.weights)
        groups = [{**group} for group in optimizer.param_groups]
        optimizer.load_state_dict(saved["optimizer"])
        for group, own in zip(optimizer.param_groups, groups, strict=True):
            group["fused"] = own["fused"]  # the kernel belongs to this device, not to the one that wrote the file
        state = _State(**{field.name: saved[field.name] for field in dataclasses.fields(_State)})
        torch.set_rng_state(saved["rng_cpu"].cpu())
        if device.type == "cuda" and len(saved["rng_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([generator.cpu() for generator in saved["rng_cuda"]])
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{loaded.path}: not a checkpoint of this method and network ({reason}); train anew") from None
    if settle:
        checkpoint.settle(folder, last_step=state.step, best_step=state.best_step if state.best_step >= 0 else None)
    return state


def _validated(method: Method, validate: Callable[[], float], fabric: Fabric) -> float:
    """Run the validation in evaluation mode and in the precision of the training."""
    method.eval()
    with torch.no_grad(), fabric.autocast():
        dice = validate()
    method.train()
    return dice


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Use ``count`` CPU threads inside, what the process had before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Parcel:
    """A batch and its step. No dataclass: Fabric would try to rebuild a frozen one field by field, and fail."""

    __slots__ = ("batch", "step")

    def __init__(self, batch: Batch, step: int) -> None:
        self.batch = batch
        self.step = step


class _Step(nn.Module):
    """What Fabric wraps: its ``forward`` is the method's training step, its result plain dictionaries."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, parcel: _Parcel) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        out = self.method.training_step(parcel.batch, parcel.step)
        return out.losses, out.logs


class _Window:
    """The values of the steps since the last row of the log.

    They stay on the device as they are; :meth:`fetch` brings all of them over in one copy, so that no step waits for
    the GPU.
    """

    def __init__(self, values: dict[str, list[float]], step: int, fabric: Fabric) -> None:
        self.values = values
        self._fabric = fabric
        self._waiting: list[tuple[int, str, Tensor]] = []
        self._opened_step = step
        self._opened_s = time.monotonic()
        self._waited_s = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for the loader."""
        began = time.monotonic()
        yield
        self._waited_s += time.monotonic() - began

    def add(self, step: int, loss: Tensor, losses: dict[str, Tensor], logs: dict[str, Tensor]) -> None:
        """Note one micro-batch."""
        self._waiting += [(step, f"loss/{name}", value.detach()) for name, value in losses.items()]
        self._waiting.append((step, "loss", loss.detach()))
        self._waiting += [(step, f"log/{name}", value.detach()) for name, value in logs.items()]

    def fetch(self) -> None:
        """Bring the waiting values over.

        Raises:
            GazeSegError: for the first loss term that is not finite.
        """
        if not self._waiting:
            return
        noted = torch.stack([value.reshape(()).float() for *_, value in self._waiting])
        if self._fabric.world_size > 1:
            gathered = self._fabric.all_gather(noted)  # (processes, values): all took note of the same names
            assert isinstance(gathered, Tensor)  # noqa: S101 -- for the type checker: a tensor goes in
            noted = gathered
        numbers: list[list[float]] = noted.reshape(-1, len(self._waiting)).T.tolist()
        for (step, name, _), values in zip(self._waiting, numbers, strict=True):
            number = next((value for value in values if not math.isfinite(value)), 0.0)
            if name.startswith("loss") and number:
                raise GazeSegError(
                    f"step {step + 1}: {name.replace('/', ' term ')} is {number}; the run has diverged: lower train.lr,"
                    " set train.clip_norm or use --train.precision 32-true"
                )
            self.values.setdefault(name, []).extend(values)
        self._waiting = []

    def close(self, step: int) -> dict[str, float]:
        """Return the means over the window and the speed in it, and open the next window at ``step``."""
        self.fetch()
        now = time.monotonic()
        row = {name: sum(series) / len(series) for name, series in self.values.items()}
        span = max(now - self._opened_s, 1e-9)
        row["it_per_s"] = round((step - self._opened_step) / span, 3)
        row["loader_share"] = round(self._waited_s / span, 3)
        row["memory_mb"] = round(_peak_memory_mb(self._fabric.device), 1)
        self.values = {}
        self._opened_step, self._opened_s, self._waited_s = step, now, 0.0
        return row


def _peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory of the GPU, or of this process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return 0.0  # not to be had there without another package
    import resource  # POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
