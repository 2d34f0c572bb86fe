"""How numbers are written on the page."""

from __future__ import annotations

import math
from pathlib import Path


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with a fixed count of decimals, an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def interval(values: tuple[float, float] | None, digits: int = 3) -> str:
    """Write an interval as ``low–high``."""
    return "–" if values is None else f"{number(values[0], digits)}–{number(values[1], digits)}"


def p_value(p: float) -> str:
    """Write a p-value the way journals do."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def plural(count: float, noun: str) -> str:
    """Return ``1 case`` or ``2 cases``; thousands are set apart.

    Examples:
        >>> plural(1, "case"), plural(1200, "case")
        ('1 case', '1,200 cases')
    """
    return f"{count:,g} {noun}{'' if count == 1 else 's'}"


def how_to_evaluate(run: Path, split: str) -> str:
    """Say which command makes the missing evaluation."""
    plain, _, variant = split.partition("-")
    option = " --legacy" if variant == "legacy" else ""
    return f"Run: gazeseg evaluate {run} --split {plain}{option}"
