"""The declared grid: a YAML file that says which runs are compared, and the list of runs that it stands for.

::

    title: GradTrack on Kvasir-SEG            # optional, heads the table
    note: 96 px, 3,000 iterations             # optional, below the title
    base: ../kvasir_gradtrack_small.yaml      # a run configuration, relative to this file; or its sections inline
    seeds: [0, 1]
    split: test                               # what every run is scored on (default)
    hold_out_seed: 0                          # with split: val of a data set without one: the part of train kept apart
    protocol: gazeseg                         # or legacy: empty masks as in released code
    by: case                                  # or volume: the slices of a volume are scored as one
    reference: base                           # the cell that every other one is tested against
    cells:
      base: {}                                # the base as it is
      no_attention_loss: {method.lambda_att: 0}
      shuffled_order: {gaze.control: shuffled_order, gaze.scope: track}
      longer: {train: {iterations: 6000}}     # nested keys do as well as dotted ones
      bound: {base: ../kvasir_full_small.yaml}   # another configuration, with or without keys on top

A cell is the base with the cell's keys on top. A cell that changes ``method.name`` starts with an empty ``method``
section, because the keys of one method mean nothing to another. Keys from the command line change the base of every
cell; where a cell sets the same key, the cell's own value stays.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field

from gazeseg.config import RunConfig, Section, build, merge, read_yaml
from gazeseg.errors import ConfigError, suggest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+=-]*")  # a folder name on every system


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    twice = [seed for seed, count in Counter(seeds).items() if count > 1]
    if not seeds or twice or min(seeds) < 0:
        raise ValueError("seeds must be one or more different numbers from 0 up")
    return seeds


Seeds = Annotated[tuple[int, ...], AfterValidator(_distinct)]


class SlurmConfig(Section):
    """What a SLURM job asks for; ``--slurm.KEY value``."""

    partition: str | None = None
    account: str | None = None
    timeout_min: int = Field(240, ge=1)  # a job that reaches it is queued again and goes on from its checkpoint
    cpus: int = Field(4, ge=1)
    gpus: int = Field(0, ge=0)
    memory_gb: int = Field(16, ge=1)


class GridFile(Section):
    """The keys of a grid file."""

    base: str | dict[str, Any]
    cells: dict[str, dict[str, Any] | None] = Field(min_length=1)
    reference: str
    seeds: Seeds = (0,)
    split: str = "test"
    hold_out_seed: int | None = Field(None, ge=0)
    protocol: Literal["gazeseg", "legacy"] = "gazeseg"
    by: Literal["case", "volume"] = "case"
    title: str = ""
    note: str = ""
    slurm: SlurmConfig = SlurmConfig()


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table: a configuration that runs once a seed."""

    name: str
    changes: Mapping[str, Any]  # dotted key -> value, what sets the cell apart from the base; ``base`` is another base
    values: Mapping[str, Any]  # nested explicit keys of the run, without the seed; paths are absolute

    def asked(self, seed: int) -> dict[str, Any]:
        """Return the nested keys of the run with this seed, which ``{seed}`` in ``train.init_from`` stands for."""
        values = merge(self.values, {"train": {"seed": seed}})
        start = values["train"].get("init_from")
        return merge(values, {"train": {"init_from": start.replace("{seed}", str(seed))}}) if start else values


@dataclass(frozen=True, slots=True)
class Run:
    """One cell with one seed, in the folder of the grid's results ``out``."""

    cell: Cell
    seed: int
    out: Path

    @property
    def name(self) -> str:
        """``cell/seed``, as messages name it."""
        return f"{self.cell.name}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """The run folder; what is asked of it and its log lie beside it."""
        return self.out / self.cell.name / f"seed{self.seed}"

    @property
    def asked_file(self) -> Path:
        """The configuration as the grid asked for it: ``gazeseg train --config`` repeats the run."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log_file(self) -> Path:
        """What the run printed."""
        return self.folder.with_name(f"{self.folder.name}.log")


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid that has been read and checked."""

    path: Path
    cells: tuple[Cell, ...]  # in the order of the file
    reference: str
    seeds: tuple[int, ...]
    split: str
    hold_out_seed: int | None
    protocol: Literal["gazeseg", "legacy"]
    by: Literal["case", "volume"]
    title: str
    note: str
    slurm: SlurmConfig

    @property
    def evaluation(self) -> str:
        """Name of the evaluation folder of each run."""
        volume = "-volume" if self.by == "volume" else ""
        return self.split + volume + ("-legacy" if self.protocol == "legacy" else "")

    def runs(self, out: Path) -> list[Run]:
        """Return every run, seed by seed, so that a first table of all cells is there early."""
        return [Run(cell, seed, out) for seed in self.seeds for cell in self.cells]


def load_grid(path: Path, overrides: Mapping[str, Any] | None = None, seeds: Sequence[int] | None = None) -> Grid:
    """Read a grid file.

    Args:
        path: The YAML file.
        overrides: Nested keys that change the base of every cell, and the section ``slurm``.
        seeds: In place of those of the file.

    Raises:
        ConfigError: for an unknown key (named with its cell and the nearest known one), a value that does not fit,
            a reference that is no cell, or a base that is not there.
    """
    document = read_yaml(path)
    _refuse_doubled(path)
    return make_grid(document, path, overrides, seeds)


def make_grid(
    document: Mapping[str, Any],
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
) -> Grid:
    """Check the content of a grid file; ``path`` names it in errors, and a base is relative to it.

    The rest as :func:`load_grid`.
    """
    document, over = dict(document), dict(overrides or {})
    document["slurm"] = merge(document.get("slurm") or {}, over.pop("slurm", {}))
    if seeds is not None:
        document["seeds"] = list(seeds)
    file = build(GridFile, document, str(path))
    if file.reference not in file.cells:
        raise ConfigError(f"{path}: reference '{file.reference}' is no cell{suggest(file.reference, file.cells)}")
    return Grid(
        path=path,
        cells=tuple(_cell(path, file, name, keys or {}, over) for name, keys in file.cells.items()),
        reference=file.reference,
        seeds=file.seeds,
        split=file.split,
        hold_out_seed=file.hold_out_seed,
        protocol=file.protocol,
        by=file.by,
        title=file.title or path.stem,
        note=file.note,
        slurm=file.slurm,
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested sections into dotted keys.

    Examples:
        >>> flatten({"train": {"lr": 0.1}, "seed": 1})
        {'train.lr': 0.1, 'seed': 1}
    """
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys, at any depth, into nested sections.

    Examples:
        >>> nest({"train.lr": 0.1, "train": {"augment.scale": 2}})
        {'train': {'lr': 0.1, 'augment': {'scale': 2}}}
    """
    out: dict[str, Any] = {}
    for key, value in values.items():
        inner = nest(value) if isinstance(value, Mapping) else value
        for part in reversed(str(key).split(".")):
            inner = {part: inner}
        out = merge(out, inner)
    return out


def _cell(path: Path, file: GridFile, name: str, keys: Mapping[str, Any], over: Mapping[str, Any]) -> Cell:
    where = f"{path}: cell '{name}'"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a cell names a folder; use letters, digits and _ + = - only")
    changes = nest(keys)
    own_base = changes.pop("base", file.base)
    values = merge(_base(path, own_base, where), over)
    if "train" in changes and "seed" in changes["train"]:
        raise ConfigError(f"{where}: train.seed is set by the grid; list it under seeds")
    if file.hold_out_seed is not None:
        if changes.get("train", {}).keys() & {"hold_out_seed", "validation_fraction"}:
            raise ConfigError(
                f"{where}: the grid's hold_out_seed holds the same cases out of every cell; leave that to it"
            )
        values = merge(values, {"train": {"hold_out_seed": file.hold_out_seed}})
    method = changes.get("method", {})
    if "name" in method and method["name"] != values.get("method", {}).get("name"):
        values["method"] = {}
    values = merge(values, changes)
    if "name" not in values.get("method", {}):
        raise ConfigError(f"{where}: no method; give method.name in the cell or in the base")
    config = build(RunConfig, values, where)
    described = flatten({"base": own_base} if own_base is not file.base else {}) | flatten(changes)
    return Cell(name, described, _plain(config.model_dump(exclude_unset=True)))


def _base(path: Path, base: object, where: str) -> dict[str, Any]:
    """Return the sections of a base: those of a file relative to the grid's, or inline ones."""
    if isinstance(base, str):
        return read_yaml(path.parent / base)
    if isinstance(base, Mapping):
        return nest(base)
    raise ConfigError(f"{where}: base is the path of a run configuration or its sections, got {base!r}")


def _plain(value: Any) -> Any:
    """Return what YAML can hold, with absolute paths."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return os.path.abspath(value.expanduser()) if isinstance(value, Path) else value


def _refuse_doubled(path: Path) -> None:
    """Refuse a key that stands twice in one section: YAML would silently keep the last, and a cell would be lost."""
    waiting = [yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            names = Counter(str(key.value) for key, _ in node.value)
            for name, count in names.items():
                if count > 1:
                    line = node.start_mark.line + 1
                    raise ConfigError(f"{path}: key '{name}' stands twice in the section at line {line}; rename one")
            waiting += [inner for _, inner in node.value]
