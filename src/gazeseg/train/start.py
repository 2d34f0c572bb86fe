"""Start a run from another one of the same method: its chosen weights, with the state of its optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazeseg.config import RunConfig
from gazeseg.errors import ConfigError
from gazeseg.methods.base import Method
from gazeseg.train import checkpoint
from gazeseg.train.runfolder import RunFolder


def find_start(path: Path, method: Method, config: RunConfig) -> Path:
    """Return the run folder ``path`` if a run of ``method`` can start from it.

    Raises:
        ConfigError: if it is a run of another method, network or optimiser.
        DataError: if it is no run, or has no checkpoint.
    """
    other = RunFolder(path).config()
    checkpoint.load_weights(RunFolder(path), _which(other))
    for key, theirs, ours in (
        ("method.name", other.method.get("name"), method.name),
        ("network", other.network, config.network),
        ("train.optimizer", other.train.optimizer, config.train.optimizer),
    ):
        if theirs != ours:
            raise ConfigError(
                f"train.init_from {path}: its {key} is {theirs}, not {ours}; start from a run of the same"
            )
    return path


def start_from(method: Method, path: Path | None) -> dict[str, Any] | None:
    """Load the weights of the run ``path`` into ``method``; return the state of its optimiser.

    The checkpoint is the one that the run selected: the best on validation, or the last.

    Raises:
        ConfigError: if the weights do not fit.
        DataError: if the checkpoint is missing or corrupt.
    """
    if path is None:
        return None
    folder = RunFolder(path)
    loaded = checkpoint.load(folder, _which(folder.config()))
    try:
        method.start_from(loaded.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"train.init_from {path}: its weights do not fit this method and network ({reason})"
        ) from None
    state: dict[str, Any] = loaded.state["optimizer"]
    return state


def _which(config: RunConfig) -> str:
    return "best" if config.train.select == "validation" else "last"
