"""An explanation as arrays: what a method shows of one case, for whoever draws it. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gazeseg.types import Float32Array

Kind = Literal["probability", "attention", "target", "difference", "mask"]


@dataclass(frozen=True, slots=True)
class Map:
    """One layer: values (h, w) of any size, stretched to the image; see :class:`gazeseg.methods.base.Layer`."""

    row: str
    title: str
    values: Float32Array
    kind: Kind


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a trained method shows of one case."""

    case_id: str
    method: str
    status: str  # of the method's reference, e.g. "reconstruction"
    maps: tuple[Map, ...]
    description: str = ""  # the text that was read, empty without
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> dict[str, list[Map]]:
        """The maps by line of the figure, in the order in which the method names the lines."""
        lines: dict[str, list[Map]] = {}
        for layer in self.maps:
            lines.setdefault(layer.row, []).append(layer)
        return lines
