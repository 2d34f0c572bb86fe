"""Which runs form a row of a table, and what the row is called: runs of one configuration that differ in the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gazeseg.config import RunConfig
from gazeseg.train.runfolder import RunFolder

_NO_EFFECT: Final = (  # keys that change where and how loudly a run computes, not what
    "train.seed",
    "train.device",
    "train.threads",
    "train.resident",
    "train.log_every",
    "train.log",
    "train.checkpoint_every",
    "data.cache",
)
_FOLDERS: Final = ("data.path", "data.pseudo", "text.path")
_LIMIT: Final = 3  # configuration keys named in a label


def group_runs(runs: Sequence[Path]) -> list[list[Path]]:
    """Return run folders in groups whose configurations differ in the seed alone, in the order given."""
    groups: dict[str, list[Path]] = {}
    for run in runs:
        key = json.dumps(deciding(RunFolder(run).config()), sort_keys=True)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def deciding(config: RunConfig) -> dict[str, Any]:
    """Return the dotted keys of a run that change what it computes, but for its seed."""
    flat = _flatten(config.model_dump(mode="json"))
    flat["train.init_from"] = flat.get("train.init_from") is not None  # every seed starts from a run of its own
    return {key: value for key, value in flat.items() if key not in _NO_EFFECT}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= _flatten(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def name_rows(configs: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> list[str]:
    """Name each row by its method, and by the keys in which rows of one method differ.

    Where these are many, the first row of a method bears its name alone and the others what they change of it.

    Args:
        configs: What :func:`deciding` says of a run of each row.
        folders: The folder of that run, for rows that differ in too much.
    """
    labels = []
    for config, folder in zip(configs, folders, strict=True):
        method = str(config["method.name"])
        rivals = [other for other in configs if other["method.name"] == method]
        keys = sorted({key for other in rivals for key in other})
        differing = [key for key in keys if len({json.dumps(other.get(key)) for other in rivals}) > 1]
        if len(differing) > _LIMIT:
            differing = [key for key in differing if config.get(key) != rivals[0].get(key)]
        if config.get("text.control", "none") != "none":  # a control is named even beside other methods alone
            differing = ["text.control", *(key for key in differing if key != "text.control")]
        shown = [f"{key} {_short(key, config.get(key))}" for key in differing[:_LIMIT]]
        if len(differing) > _LIMIT:
            shown.append(f"and {len(differing) - _LIMIT} more keys; {folder.name}")
        labels.append(f"{method} ({', '.join(shown)})" if shown else method)
    # beyond the limit two rows may read the same: the position tells them apart
    return [f"{name} #{i + 1}" if labels.count(name) > 1 else name for i, name in enumerate(labels)]


def _short(key: str, value: Any) -> str:
    if key in _FOLDERS and value is not None:
        return Path(value).name  # where it lies is no business of a table
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
