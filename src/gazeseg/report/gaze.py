"""One page on the quality of recorded gaze: figures of every reading, what is worse than it should be, references."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gazeseg import __version__
from gazeseg.data.gaze import QUALITY
from gazeseg.data.images import write_bytes
from gazeseg.errors import DataError
from gazeseg.gaze.recording import LIMITS

# label, heading in tables, key, factor, digits, unit
_FIGURES: Final = (
    ("Lost samples", "Lost, %", "loss", 100, 1, "%"),
    ("Samples a second", "Rate, Hz", "sampling_hz", 1, 0, "Hz"),
    ("Jitter of the interval", "Jitter, %", "jitter", 100, 1, "%"),
    ("Precision, RMS from sample to sample", "RMS, °", "rms_s2s_deg", 1, 3, "°"),
    ("Precision, SD", "SD, °", "sd_deg", 1, 3, "°"),
    ("Precision, RMS from sample to sample", "RMS, px", "rms_s2s_px", 1, 2, "px"),
    ("Accuracy", "Accuracy, °", "accuracy_deg", 1, 2, "°"),
    ("Fixations an image", "Fixations", "fixations", 1, 0, ""),
    ("Median fixation", "Median, ms", "fixation_ms", 1, 0, "ms"),
    ("Fixations off the image", "Off image, %", "off_image", 100, 1, "%"),
)

REFERENCES: Final = (
    ("EyeLink 1000 (user manual, 1.3.1)", "accuracy 0.25 to 0.5 degrees, precision below 0.01 degrees RMS at 1000 Hz"),
    (
        "GazeMedSeg, EyeLink, Kvasir-SEG (MICCAI 2024; measured on the public table)",
        "27 fixations of 336 ms an image; 85 % of them inside the mask; centroid offset 0.040 of the side",
    ),
    (
        "Webcam trackers on known targets (73 public files; measured)",
        "30 Hz; median error 397 px, about 9 degrees at 45 px a degree",
    ),
    (
        "Webcam study on Kvasir-SEG (published)",
        "17 % of the fixations inside the mask (median); centroid offset 0.267 of the side",
    ),
)


def write_quality_page(folder: Path) -> Path:
    """Write ``quality.html`` beside ``quality.json`` in a folder of gaze, self-contained; return its path.

    Raises:
        DataError: if there is no ``quality.json``, or the page cannot be written.
    """
    source = folder / QUALITY
    try:
        report: dict[str, list[dict[str, Any]]] = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{source}: no such file; import recordings with 'gazeseg gaze import'") from None
    loader = PackageLoader("gazeseg.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, _, _ = loader.get_source(environment, "style.css")
    rows = report["readings"]
    html = environment.get_template("gaze.html").render(
        version=__version__,
        css=Markup(style),  # noqa: S704 - our own file
        name=folder.resolve().parent.name,
        files=report["files"],
        bad=sum(bool(row["warnings"]) for row in rows),
        cards=_summary(rows),
        readers=_readers(rows),
        rows=[_row(row) for row in sorted(rows, key=lambda row: (-len(row["warnings"]), row["case_id"]))],
        headings=[heading for _, heading, *_ in _FIGURES],
        limits=_limits(),
        references=REFERENCES,
    )
    page = folder / "quality.html"
    write_bytes(page, html.encode())
    return page


def _limits() -> str:
    return (
        f"A reading is marked where more than {LIMITS.loss:.0%} of its samples are lost, the precision is worse than "
        f"{LIMITS.precision_deg:g} degrees, the accuracy worse than {LIMITS.accuracy_deg:g} degree, more than "
        f"{LIMITS.off_image:.0%} of the fixations lie off the image, the sampling interval varies by more than "
        f"{LIMITS.jitter:.0%}, or there are fewer than {LIMITS.low_hz:g} samples a second."
    )


def _number(value: object, factor: float, digits: int) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{factor * value:,.{digits}f}"


def _summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Median over readings of every figure that some reading has."""
    cards = []
    for label, _, key, factor, digits, unit in _FIGURES:
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            spread = f"{_number(min(values), factor, digits)} to {_number(max(values), factor, digits)}"
            value = f"{_number(float(np.median(values)), factor, digits)} {unit}".strip()
            cards.append({"name": label, "value": value, "detail": f"median; {spread}"})
    return cards


def _readers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for reader in dict.fromkeys(row["reader_id"] for row in rows):
        own = [row for row in rows if row["reader_id"] == reader]
        cells = []
        for _, _, key, factor, digits, _ in _FIGURES:
            values = [row[key] for row in own if row[key] is not None]
            cells.append(_number(float(np.median(values)), factor, digits) if values else "–")
        found.append(
            {
                "reader": reader or "–",
                "count": len(own),
                "bad": sum(bool(row["warnings"]) for row in own),
                "cells": cells,
            }
        )
    return found


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": row["case_id"],
        "reader": row["reader_id"] or "–",
        "cells": [_number(row[key], factor, digits) for _, _, key, factor, digits, _ in _FIGURES],
        "warnings": "; ".join(row["warnings"]),
    }
