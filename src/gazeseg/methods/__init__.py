"""One file a method, found by scanning this folder; third parties through the entry point group ``gazeseg.methods``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from gazeseg.config import NetworkConfig, build
from gazeseg.console import warn
from gazeseg.errors import ConfigError, suggest
from gazeseg.methods.base import Method, Reference, Spec, StepOutput

__all__ = ["Method", "Reference", "Spec", "StepOutput", "available", "create", "find"]

GROUP = "gazeseg.methods"


def available() -> dict[str, type[Method]]:
    """Return every method by its name: those of this folder, then those of installed packages.

    A foreign entry that cannot be used is left out with a warning, so that it never blocks the others.
    """
    found = {method.name: method for method in _own()}
    for entry in entry_points(group=GROUP):
        try:
            method = entry.load()
        except (ImportError, AttributeError) as error:
            warn(f"method '{entry.name}' of {entry.value} cannot be imported ({error}); it is left out")
            continue
        if not (isinstance(method, type) and issubclass(method, Method)):
            warn(f"entry point '{entry.name}' of group {GROUP} is {entry.value}, which is no Method; it is left out")
        elif found.get(method.name, method) is not method:
            warn(f"method '{method.name}' of {entry.value} has the name of another method; it is left out")
        else:
            found[method.name] = method
    return dict(sorted(found.items()))


def _own() -> Iterator[type[Method]]:
    """Yield the methods that the modules of this folder define."""
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            defined_here = isinstance(value, type) and value.__module__ == module.__name__
            if defined_here and issubclass(value, Method) and "name" in vars(value):  # nameless: a shared base
                yield value


def find(name: str) -> type[Method]:
    """Return the method called ``name``.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    known = available()
    if name not in known:
        raise ConfigError(f"unknown method '{name}'{suggest(name, known)}")
    return known[name]


def create(
    method: Mapping[str, Any], *, network: NetworkConfig, in_channels: int, num_classes: int, levels: int, seed: int
) -> Method:
    """Build a method from the ``method:`` section of a run: ``name`` and the keys of that method's ``Config``.

    Args:
        method: The section.
        network: Which network to learn.
        in_channels: Channels of the image, 1 or 3.
        num_classes: Classes including background, at least 2.
        levels: Number of nested pseudo-mask levels.
        seed: Seed of the initial weights.

    Raises:
        ConfigError: for an unknown method, an unknown key, or a value that does not fit.
    """
    keys = dict(method)
    name = keys.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"method: key 'name' is missing; known: {', '.join(available())}")
    if num_classes < 2:
        raise ConfigError(f"a segmentation needs background and at least one class, got {num_classes} in all")
    kind = find(name)
    spec = Spec(network, in_channels, num_classes, levels, seed)
    return kind(build(kind.Config, keys, where="method"), spec)
