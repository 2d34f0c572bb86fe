"""Any table through a small YAML file that says which column is what.

::

    kind: samples            # or fixations
    space: screen            # or image
    units: px                # or normalised: 0..1 of the space
    origin: top-left         # or bottom-left, centre
    time_unit: ms            # or s, us, ns
    columns:
      time: t                # of a sample, or onset of a fixation
      x: gx
      y: gy
      duration: d            # fixations only
      image: stimulus        # optional with --image
      reader: subject        # optional
      valid: ok              # optional: 0, false or empty is lost
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field

from gazeseg.config import Section, build, read_yaml
from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns
from gazeseg.gaze.io.trial import Marks, ReadOptions, Samples, Session, Space, Trial, rising, viewings
from gazeseg.types import FloatArray

NAME: Final = "table"
_MS: Final = {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6}
_FALSE: Final = ("", "0", "0.0", "false", "no", "invalid")


class MappedColumns(Section):
    """Names of the columns."""

    time: str
    x: str
    y: str
    duration: str | None = None
    image: str | None = None
    reader: str | None = None
    valid: str | None = None


class Mapping(Section):
    """The content of the YAML file."""

    kind: Literal["samples", "fixations"] = "samples"
    space: Literal["screen", "image"] = "screen"
    units: Literal["px", "normalised"] = "px"
    origin: Literal["top-left", "bottom-left", "centre"] = "top-left"
    time_unit: Literal["ms", "s", "us", "ns"] = "ms"
    columns: MappedColumns = Field()


def read(path: Path, options: ReadOptions) -> Session:
    """Read a table with the mapping of ``options``.

    Raises:
        DataError: if a column is missing, a cell is no number, or the mapping lacks what it needs.
        ConfigError: if the mapping holds an unknown key or value.
    """
    if options.mapping is None:
        raise DataError(f"{path}: a table of one's own needs --mapping FILE.yaml that names its columns")
    mapping = build(Mapping, read_yaml(options.mapping), str(options.mapping))
    names = mapping.columns
    table = Columns.read(path)
    x, y = _positions(path, table, mapping, options)
    raw = table.numbers(table.need(names.time))
    origin = float(np.nanmin(raw)) if mapping.time_unit == "ns" and len(raw) else 0.0
    time = (raw - origin) * _MS[mapping.time_unit]
    if names.valid is not None:
        lost = np.isin(np.char.lower(table.text(table.need(names.valid)).astype(str)), _FALSE)
        x, y = np.where(lost, np.nan, x), np.where(lost, np.nan, y)
    if options.image is None and names.image is None:
        raise DataError(f"{options.mapping}: columns.image is missing; add it, or say which case it is with --image")
    fixed = np.full(len(table), options.image or "", dtype=object)
    image = fixed if options.image is not None or names.image is None else table.text(table.need(names.image))
    reader = np.full(len(table), options.reader_id or "", dtype=object)
    if options.reader_id is None:
        reader = table.text(table.need(names.reader)) if names.reader else np.full(len(table), path.stem, dtype=object)
    trials, warnings = [], list(table.warnings)
    space: Space = "pixels" if mapping.space == "image" and mapping.units == "px" else mapping.space
    for (name, who), rows in viewings(image, reader):
        start = float(np.nanmin(time[rows]))
        if mapping.kind == "samples":
            samples, notes = rising(path, Samples(time[rows], x[rows], y[rows]))
            warnings += notes
            trials.append(Trial(name, who, space, samples, start_ms=start))
            continue
        if names.duration is None:
            raise DataError(f"{options.mapping}: columns.duration is missing; fixations need it")
        duration = table.numbers(table.need(names.duration)) * _MS[mapping.time_unit]
        good = rows[np.isfinite(x[rows]) & np.isfinite(y[rows]) & (duration[rows] > 0)]
        good = good[np.argsort(time[good], kind="stable")]
        trials.append(
            Trial(name, who, space, marks=Marks(x[good], y[good], time[good], duration[good]), start_ms=start)
        )
    return Session(
        NAME,
        path,
        tuple(trials),
        screen_px=options.screen_px,
        assumptions=(
            f"{mapping.kind} in {mapping.units} of the {mapping.space}, origin {mapping.origin}; {mapping.time_unit} "
            f"({options.mapping.name})",
        ),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _positions(path: Path, table: Columns, mapping: Mapping, options: ReadOptions) -> tuple[FloatArray, FloatArray]:
    """(N,) x and y: px of the screen or the image from the top left, or 0..1 of the image."""
    x, y = table.numbers(table.need(mapping.columns.x)), table.numbers(table.need(mapping.columns.y))
    if mapping.space == "image" and mapping.units == "px":
        if mapping.origin != "top-left":
            raise DataError(f"{options.mapping}: px of the image count from its top left; set origin top-left")
        return x, y
    width, height = options.screen_px or (0, 0)
    if mapping.space == "screen" and (mapping.units == "normalised" or mapping.origin != "top-left") and not width:
        raise DataError(f"{path}: these units need the size of the screen; give it with --screen WIDTHxHEIGHT")
    unit_x, unit_y = (1.0, 1.0) if mapping.units == "normalised" else (float(width), float(height))
    if mapping.origin == "centre":
        x, y = x + unit_x / 2, y + unit_y / 2
    if mapping.origin == "bottom-left":
        y = unit_y - y
    if mapping.space == "image" or mapping.units == "px":
        # from the corner of the corner pixel to its centre, where the origin was not that centre already
        half = 0.5 if mapping.space == "screen" and mapping.origin != "top-left" else 0.0
        return x - half, y - half
    return x * width - 0.5, y * height - 0.5
