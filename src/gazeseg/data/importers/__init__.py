"""One importer a data set. A module of this folder with ``NAME``, ``SUMMARY`` and ``run`` is found by itself.

``run(out, *, ...) -> Dataset`` makes the dataset folder ``out``; its arguments are keywords, and those a data set can
do without are optional. A module whose name starts with an underscore is a shared part.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from gazeseg.data.dataset import Dataset
from gazeseg.errors import ConfigError, suggest


@dataclass(frozen=True, slots=True)
class Importer:
    """A way from files as they are published to a dataset folder."""

    name: str
    summary: str
    run: Callable[..., Dataset]


def available() -> dict[str, Importer]:
    """Return the importers by name, sorted."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            loaded = importlib.import_module(f"{__name__}.{module.name}")
            found[loaded.NAME] = Importer(loaded.NAME, loaded.SUMMARY, loaded.run)
    return dict(sorted(found.items()))


def get(name: str) -> Importer:
    """Return one importer.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    known = available()
    if name not in known:
        raise ConfigError(f"no importer '{name}'{suggest(name, known)}")
    return known[name]
