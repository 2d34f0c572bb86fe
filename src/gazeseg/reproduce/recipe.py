"""Named recipes: what is trained, on which split of which data set, and the figure it is held against.

A recipe lies in the package as ``recipes/<group>/<name>.yaml``::

    summary: two nested gaze levels, cross-level consistency
    dataset: Kvasir-SEG          # of recipes/datasets.yaml: split, checksums, thresholds, how to import it
    published: gazemedseg        # of recipes/published.yaml: figures with their sources
    config: {method: {name: gazemedseg}}
    scales: {cpu-small: {}, paper: {train: {compile: true}}}   # the recipe's own keys over recipes/scales/<scale>.yaml
    pretrain: {paper: {train: {iterations: 10000}}}   # optional: a run before, from which the run of this scale starts

A run is the keys of its scale, then those of the recipe, then the recipe's own for that scale. A group with scales of
its own keeps them in ``recipes/scales/<group>``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal, TypeVar

from pydantic import Field

from gazeseg.ablate.grid import flatten
from gazeseg.config import RunConfig, Section, build, merge, parse_yaml
from gazeseg.errors import ConfigError, suggest
from gazeseg.methods import create
from gazeseg.train.run import MAY_CHANGE

PAPER = "paper"  # the one scale whose figures may be held against published ones

S = TypeVar("S", bound=Section)


class SplitPart(Section):
    """One split of a data set, known by its checksum."""

    cases: int = Field(ge=1)
    checksum: str = Field(pattern="^[0-9a-f]{16}$")


class DatasetEntry(Section):
    """A data set as the published figures used it."""

    split: str
    train: SplitPart
    test: SplitPart
    gaze: Literal["recorded", "simulated", "none"]
    by: Literal["case", "volume"] = "case"  # what the figures are means over; ``test`` counts them
    protocol: Literal["gazeseg", "legacy"] | None = None  # rules for empty masks, where they are known
    thresholds: tuple[float, ...]  # of the pseudo-mask levels
    importer: str  # the command that makes its folder


class Published(Section):
    """A figure that somebody printed; see recipes/published.yaml for the meaning of the fields."""

    label: str
    venue: str
    supervision: Literal["gaze", "masks", "point", "box", "scribble"]
    figures: Mapping[str, tuple[float, float | None]]  # data set -> mean Dice, standard deviation over seeds
    seeds: int = Field(3, ge=1)
    source: str
    read: Literal["own", "second-hand"]
    selected: str
    differs: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


class Scale(Section):
    """A training budget."""

    about: str
    config: dict[str, Any]


class _RecipeFile(Section):
    summary: str
    dataset: str
    published: str
    needs: str = ""
    train: SplitPart | None = None
    config: dict[str, Any]
    scales: dict[str, dict[str, Any]] = Field(min_length=1)
    pretrain: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that has been read and checked."""

    name: str  # group/name
    summary: str
    dataset_name: str
    dataset: DatasetEntry
    published: Published
    needs: str  # what has to be prepared beside pseudo-masks; empty: nothing
    train: SplitPart  # cases that the method learns from
    scales: tuple[str, ...]
    _config: Mapping[str, Any]
    _own: Mapping[str, Mapping[str, Any]]  # by scale
    _before: Mapping[str, Mapping[str, Any]]  # keys of the run before over those of the run, by scale

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self._config["method"]["name"])

    @property
    def budgets(self) -> Mapping[str, Scale]:
        """The training budgets of its group."""
        return scales(self.name.partition("/")[0])

    def pretrained(self, scale: str) -> bool:
        """Return whether a run at this scale starts from another one."""
        return scale in self._before

    def pretrain_config(self, scale: str) -> dict[str, Any]:
        """Return the nested keys of the run from which that of ``scale`` starts."""
        return merge(self.config(scale), self._before[scale])

    def config(self, scale: str) -> dict[str, Any]:
        """Return the nested keys of a run, without data set and seed.

        Raises:
            ConfigError: if the recipe has no such scale.
        """
        if scale not in self.scales:
            raise ConfigError(f"recipe {self.name} has no scale '{scale}'{suggest(scale, self.scales)}")
        values = merge(self.budgets[scale].config, {"pseudo": {"thresholds": list(self.dataset.thresholds)}})
        return merge(merge(values, self._config), self._own[scale])

    def changes(self, config: RunConfig, scale: str) -> list[str]:
        """Return the dotted keys in which a run differs from what this recipe makes at ``scale``.

        Seed, paths and keys that say where and how fast to compute are left out; whether a run starts from another one
        counts.
        """
        if (config.train.init_from is not None) != self.pretrained(scale):
            return ["train.init_from"]
        given = config.model_dump(mode="json")
        wanted = build(RunConfig, self.config(scale), self.name)
        plain = _differing(wanted.model_dump(mode="json", exclude={"method"}), given)
        return plain or _differing(_method_keys(wanted), given)  # building a method costs more than a comparison

    def made(self, config: RunConfig) -> str | None:
        """Return the scale at which this recipe makes the run of ``config``, None where it does not."""
        return next((scale for scale in self.scales if not self.changes(config, scale)), None)


@functools.cache
def recipes() -> Mapping[str, Recipe]:
    """Return every recipe of the package by its name."""
    found = {}
    for group in _sorted(_root()):
        if not group.is_dir() or group.name == "scales":
            continue
        for file in _sorted(group):
            recipe = _recipe(f"{group.name}/{file.name.removesuffix('.yaml')}", file)
            found[recipe.name] = recipe
    return found


def find_recipe(name: str) -> Recipe:
    """Return the recipe called ``name``.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    known = recipes()
    if name not in known:
        raise ConfigError(f"unknown recipe '{name}'{suggest(name, known)}")
    return known[name]


@functools.cache
def published() -> Mapping[str, Published]:
    """Return every published figure by its id."""
    return _table("published.yaml", Published)


@functools.cache
def datasets() -> Mapping[str, DatasetEntry]:
    """Return the data sets of the published figures by their names."""
    return _table("datasets.yaml", DatasetEntry)


@functools.cache
def scales(group: str = "") -> Mapping[str, Scale]:
    """Return the training budgets by their names: those of a group of recipes, if it has its own."""
    folder = _root() / "scales"
    own = folder / group if group and (folder / group).is_dir() else folder
    files = [file for file in _sorted(own) if file.is_file()]
    return {f.name.removesuffix(".yaml"): build(Scale, _yaml(f), f"scale {f.name}") for f in files}


def recognise(config: RunConfig, dataset: str) -> tuple[Recipe, str] | None:
    """Return the recipe and the scale that make the run of ``config`` on ``dataset``, None where none does."""
    for recipe in recipes().values():
        if recipe.dataset_name == dataset and recipe.method == config.method.get("name"):
            scale = recipe.made(config)
            if scale is not None:
                return recipe, scale
    return None


def _recipe(name: str, file: Traversable) -> Recipe:
    document = build(_RecipeFile, _yaml(file), f"recipe {name}")
    entry = datasets()[document.dataset]
    return Recipe(
        name=name,
        summary=document.summary,
        dataset_name=document.dataset,
        dataset=entry,
        published=published()[document.published],
        needs=document.needs,
        train=document.train or entry.train,
        scales=tuple(document.scales),
        _config=document.config,
        _own=document.scales,
        _before=document.pretrain,
    )


def _method_keys(config: RunConfig) -> dict[str, Any]:
    """Return the section ``method`` with every key filled in, as a run writes it down."""
    method = create(
        config.method,
        network=config.network,
        in_channels=3,
        num_classes=2,
        levels=len(config.pseudo.thresholds or ()),
        seed=0,
    )
    return {"method": {"name": method.name, **method.config.model_dump(mode="json")}}


def _differing(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    flat = flatten(given)
    free = MAY_CHANGE | {"train.seed"}
    fixed = {key: value for key, value in flatten(wanted).items() if key not in free}
    return [key for key, value in fixed.items() if not key.startswith("evaluate.") and flat.get(key) != value]


def _table(name: str, model: type[S]) -> dict[str, S]:
    return {key: build(model, values, f"{name}: {key}") for key, values in _yaml(_root() / name).items()}


def _yaml(file: Traversable) -> dict[str, Any]:
    document: dict[str, Any] = parse_yaml(file.read_text(encoding="utf-8"))
    return document


def _root() -> Traversable:
    return resources.files("gazeseg.reproduce") / "recipes"


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda entry: entry.name)
