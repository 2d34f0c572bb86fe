"""Named recipes: what is trained, on which split of which data set, and the figure it is held against.

A recipe lies in the package as ``recipes/<group>/<name>.yaml``::

    summary: two nested gaze levels, cross-level consistency
    dataset: Kvasir-SEG          # of recipes/datasets.yaml: split, checksums, thresholds, how to import it
    published: gazemedseg        # of recipes/published.yaml: figures with their sources
    config: {method: {name: gazemedseg}}
    scales: {cpu-small: {}, paper: {train: {compile: true}}}   # the recipe's own keys over recipes/scales/<scale>.yaml

A run is the keys of its scale, then those of the recipe, then the recipe's own for that scale.
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
    config: dict[str, Any]
    scales: dict[str, dict[str, Any]] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that has been read and checked."""

    name: str  # group/name
    summary: str
    dataset_name: str
    dataset: DatasetEntry
    published: Published
    needs: str  # what has to be prepared beside pseudo-masks; empty: nothing
    scales: tuple[str, ...]
    _config: Mapping[str, Any]
    _own: Mapping[str, Mapping[str, Any]]  # by scale

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self._config["method"]["name"])

    def config(self, scale: str) -> dict[str, Any]:
        """Return the nested keys of a run, without data set and seed.

        Raises:
            ConfigError: if the recipe has no such scale.
        """
        if scale not in self.scales:
            raise ConfigError(f"recipe {self.name} has no scale '{scale}'{suggest(scale, self.scales)}")
        values = merge(scales()[scale].config, {"pseudo": {"thresholds": list(self.dataset.thresholds)}})
        return merge(merge(values, self._config), self._own[scale])

    def changes(self, config: RunConfig, scale: str) -> list[str]:
        """Return the dotted keys in which a run differs from what this recipe makes at ``scale``.

        Seed, paths and keys that say where and how fast to compute are left out.
        """
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
def scales() -> Mapping[str, Scale]:
    """Return the training budgets by their names."""
    files = _sorted(_root() / "scales")
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
    return Recipe(
        name=name,
        summary=document.summary,
        dataset_name=document.dataset,
        dataset=datasets()[document.dataset],
        published=published()[document.published],
        needs=document.needs,
        scales=tuple(document.scales),
        _config=document.config,
        _own=document.scales,
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
