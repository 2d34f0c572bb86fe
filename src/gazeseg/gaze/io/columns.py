"""Delimited files as trackers export them: any delimiter, encoding and line end, decimal points or commas.

Unlike :class:`gazeseg.gaze.io.validate.Table`, which refuses a bad row of a small table, this reads millions of rows in
which empty cells are lost samples.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from gazeseg.errors import DataError, suggest
from gazeseg.types import FloatArray

_HEAD_BYTES: Final = 200_000
_LOST: Final = ("", ".", "nan", "NaN", "NA", "n/a", "null", "None", "-nan(ind)")


def read_head(path: Path) -> str:
    """Return the beginning of a text file, every line end a newline; binary files give an empty text.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give the file of a tracker") from None
    encoding = _encoding(raw)
    if encoding == "utf-8-sig" and b"\0" in raw:
        return ""
    text = raw.decode(encoding, errors="replace")
    return re.sub(r"\r\n?", "\n", text)


def _encoding(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        raw[: len(raw) - 3].decode("utf-8-sig")  # a character may be cut at the end
    except UnicodeDecodeError as error:
        return "utf-8-sig" if error.start >= len(raw) - 6 else "cp1252"
    return "utf-8-sig"


@dataclass(frozen=True)
class Columns:
    """The cells of a file by column, as text."""

    path: Path
    frame: pd.DataFrame
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, *, text: str | None = None, wanted: Sequence[str] | None = None) -> Columns:
        """Read a file, or ``text`` as its content; ``wanted`` limits the columns to those that are there of them.

        A last row that is cut short is dropped with a warning.

        Raises:
            DataError: if the file is empty, a column is named twice, or a row other than the last is ragged.
        """
        if text is None:
            try:
                raw = path.read_bytes()
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a readable file") from None
            text = raw.decode(_encoding(raw), errors="replace")
        if "\r" in text:
            text = re.sub(r"\r\n?", "\n", text)
        header = text.partition("\n")[0]
        delimiter = max("\t;,", key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if not any(names):
            raise DataError(f"{path}: the first row is empty; it must name the columns")
        twice = [name for name in names if name and names.count(name) > 1]
        if twice:
            raise DataError(f"{path}: column '{twice[0]}' is there twice; remove one of them")
        lines = text.rstrip("\n").rpartition("\n")
        warnings = []
        if lines[0] and lines[2].count(delimiter) < header.count(delimiter):
            text = lines[0]
            warnings.append(f"{path.name}: the last row is cut short and was dropped; the file may be truncated")
        chosen = [i for i, name in enumerate(names) if name and (wanted is None or name in wanted)]
        try:
            frame = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                header=0,
                names=[name or f"_{i}" for i, name in enumerate(names)],
                usecols=chosen,
                index_col=False,
                dtype=str,
                keep_default_na=False,
            )
        except (pd.errors.ParserError, ValueError) as error:
            raise DataError(f"{path}: no delimited text ({' '.join(str(error).split())}); export it again") from None
        return cls(path, frame, tuple(warnings))

    def __len__(self) -> int:
        return len(self.frame)

    def __contains__(self, name: str) -> bool:
        return name in self.frame.columns

    def first(self, *names: str) -> str | None:
        """Return the first of the names that is a column."""
        return next((name for name in names if name in self.frame.columns), None)

    def need(self, *names: str) -> str:
        """Return the first of the names that is a column.

        Raises:
            DataError: if none is.
        """
        found = self.first(*names)
        if found is None:
            raise DataError(f"{self.path}: no column '{names[0]}'{suggest(names[0], map(str, self.frame.columns))}")
        return found

    def text(self, name: str) -> npt.NDArray[np.object_]:
        """(N,) cells without surrounding blanks."""
        return self.frame[name].fillna("").str.strip().to_numpy(dtype=object)

    def numbers(self, name: str) -> FloatArray:
        """(N,) numbers, NaN for an empty cell; a comma counts as decimal point.

        Raises:
            DataError: for the first cell that is something else.
        """
        cells = self.frame[name].fillna("")
        try:
            return cells.replace("", "nan").to_numpy().astype(np.float64)
        except ValueError:
            cells = cells.str.strip()
        cells = cells.mask(cells.isin(_LOST), "nan").str.replace(",", ".", regex=False)
        values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, copy=True)
        bad = np.flatnonzero(np.isnan(values) & (cells != "nan").to_numpy())
        if len(bad):
            row = int(bad[0])
            more = f" ({len(bad) - 1} more such rows)" if len(bad) > 1 else ""
            raise DataError(
                f"{self.path}, row {row + 2}: {name} '{self.frame[name].iloc[row]}' is no number; correct "
                f"the cell{more}"
            )
        return values

    def one(self, name: str | None) -> str:
        """Return the only value of a column, empty where it has none; the most frequent of several."""
        if name is None:
            return ""
        values = [value for value in self.text(name) if value]
        return max(set(values), key=values.count) if values else ""

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Columns:
        """Return some of the rows."""
        return Columns(self.path, self.frame[chosen].reset_index(drop=True), self.warnings)
