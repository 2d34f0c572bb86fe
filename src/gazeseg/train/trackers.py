"""Where else the rows of a run's log go: TensorBoard, MLflow, W&B, each an extra, behind one protocol.

``metrics.jsonl``, ``metrics.csv`` and ``curves.png`` are written always; a tracker is named in ``train.log``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Protocol

from gazeseg.errors import MissingDependencyError
from gazeseg.train.runfolder import RunFolder


class Tracker(Protocol):
    """What a run tells."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one row of the log; ``step`` is the iterations done."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TensorBoard:
    """Event files in ``RUN/tensorboard``; rows of a resumed run replace those beyond its checkpoint."""

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], start: int) -> None:
        """Open the event file; ``start`` is the iterations done."""
        _require("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder.path / "tensorboard", purge_step=start or None)
        if not start:
            self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class MLflow:
    """A run of MLflow, named as the run folder, in the experiment ``gazeseg``.

    The store is the one that the environment variable MLFLOW_TRACKING_URI names; without it, MLflow's own default.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], start: int) -> None:
        """Start the run, or go on with the one that an earlier process started."""
        self._mlflow = _require("mlflow", "mlflow")
        self._mlflow.set_experiment("gazeseg")
        note = folder.path / "mlflow.txt"
        known = note.read_text(encoding="utf-8").strip() if start and note.is_file() else None
        run = self._mlflow.start_run(run_id=known, run_name=None if known else folder.path.name)
        if known is None:
            note.write_text(f"{run.info.run_id}\n", encoding="utf-8")
            self._mlflow.log_params({key: str(value)[:250] for key, value in config.items()})  # MLflow's limit

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics."""
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


class WandB:
    """A run of Weights & Biases in the project ``gazeseg``, named as the run folder; WANDB_MODE=offline stays local."""

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], start: int) -> None:
        """Start the run, or go on with the one that an earlier process started."""
        wandb = _require("wandb", "wandb")
        note = folder.path / "wandb.txt"
        known = note.read_text(encoding="utf-8").strip() if start and note.is_file() else None
        self._run = wandb.init(
            project="gazeseg",
            name=folder.path.name,
            dir=str(folder.path),
            config=dict(config),
            id=known,
            resume="allow",
        )
        note.write_text(f"{self._run.id}\n", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log one row."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


TRACKERS: Final[Mapping[str, Callable[[RunFolder, Mapping[str, Any], int], Tracker]]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def open_trackers(
    names: Sequence[str], folder: RunFolder, config: Mapping[str, Any], start: int = 0
) -> tuple[Tracker, ...]:
    """Open the named trackers.

    Args:
        names: Keys of :data:`TRACKERS`, as ``train.log`` has them.
        folder: The run.
        config: Dotted keys of the run.
        start: Iterations done, above 0 for a resumed run.

    Raises:
        MissingDependencyError: if the package of one is not installed.
    """
    return tuple(TRACKERS[name](folder, config, start) for name in names)


def require_trackers(names: Sequence[str]) -> None:
    """Make sure that the packages are there, before anything is written.

    Raises:
        MissingDependencyError: for the first that is not.
    """
    for name in names:
        _require(name, name)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what of a row of the log a tracker takes: its numbers, without the step."""
    return {key: float(value) for key, value in row.items() if key != "step" and isinstance(value, int | float)}


def _require(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingDependencyError(module, extra) from None
