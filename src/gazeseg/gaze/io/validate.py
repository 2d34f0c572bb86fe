"""What the readers of fixation tables share: columns, numbers and case ids, each error with file, row and fix."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError, near_miss, suggest
from gazeseg.types import Fixations, FloatArray

DELIMITERS: Final = ",\t;"
IMAGE_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"})


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a delimited file by column, and the row of the file each came from (the header is row 1)."""

    path: Path
    cells: Mapping[str, Sequence[str]]
    row: Sequence[int]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a CSV or TSV file; the delimiter (comma, tab or semicolon) is the most frequent one of its header.

        Raises:
            DataError: if the file is missing, unreadable, empty or ragged, or names a column twice.
        """
        columns: list[list[str]] = []
        rows: list[int] = []
        line = 0
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                delimiter = max(DELIMITERS, key=stream.readline().count)
                stream.seek(0)
                reader = csv.reader(stream, delimiter=delimiter)
                header = _header(path, next(reader, []))
                columns = [[] for _ in header]
                for record in reader:
                    line = reader.line_num
                    if not record:
                        continue  # a blank line
                    if len(record) != len(header):
                        raise DataError(
                            f"{path}, row {line}: {len(record)} cells under {len(header)} columns; complete or remove "
                            "the row"
                        )
                    rows.append(line)
                    for column, cell in zip(columns, record, strict=True):
                        # ids come in runs: one string for a run keeps a long table a third smaller
                        column.append(column[-1] if column and column[-1] == cell else cell)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; give the path of a fixation table") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: not UTF-8 text after row {line}; save the table as UTF-8") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a readable file") from None
        except csv.Error as error:
            raise DataError(f"{path}, row {line + 1}: no delimited text ({error}); save it as CSV") from None
        return cls(path, dict(zip(header, columns, strict=True)), rows)

    def require(self, names: Sequence[str]) -> None:
        """Check that the columns are there.

        Raises:
            DataError: for the first that is missing, with the nearest one the file has.
        """
        for name in names:
            if name not in self.cells:
                others = [known for known in self.cells if known not in names]
                raise DataError(f"{self.path}: no column '{name}'{suggest(name, others or self.cells)}")

    def numbers(self, column: str) -> FloatArray:
        """(N,) the cells of a column.

        Raises:
            DataError: for the first cell that is no finite number.
        """
        cells = self.cells[column]
        try:
            values = np.array(cells, dtype=np.float64)
        except ValueError:
            values = np.array([_number(cell) for cell in cells])
        self.refuse(column, ~np.isfinite(values), "is not a finite number; correct the cell or remove the row")
        return values

    def unit_interval(self, column: str) -> FloatArray:
        """(N,) the cells of a column of normalised coordinates.

        Raises:
            DataError: for the first cell that is no number in 0..1.
        """
        values = self.numbers(column)
        self.refuse(
            column,
            (values < 0) | (values > 1),
            "lies outside 0..1; remove fixations off the image, or name the columns x_px and y_px if these are pixels",
        )
        return values

    def durations(self, column: str) -> FloatArray:
        """(N,) the cells of a column of durations.

        Raises:
            DataError: for the first cell that is no positive number.
        """
        values = self.numbers(column)
        self.refuse(column, values <= 0, "must be a duration in ms above 0; correct the cell or remove the row")
        return values

    def refuse(self, column: str, bad: npt.NDArray[np.bool_], reason: str) -> None:
        """Raise a DataError that names the first bad cell, and counts the others."""
        if not bad.any():
            return
        first = int(np.argmax(bad))
        others = int(bad.sum()) - 1
        more = f" ({others} more such row{'s' * (others > 1)})" if others else ""
        raise DataError(f"{self.path}, row {self.row[first]}: {column} '{self.cells[column][first]}' {reason}{more}")

    def case_ids(self, column: str, known: Mapping[str, object], spelled: Mapping[str, str]) -> list[str]:
        """The case of every row: the name itself, or the name without an image ending; ``spelled`` goes first.

        Raises:
            DataError: for the first name that is no case, with the nearest id.
        """
        resolved: dict[str, str] = {}
        for name, row in zip(self.cells[column], self.row, strict=True):
            if name in resolved:
                continue
            candidates = (spelled.get(name), spelled.get(_stem(name)), name, _stem(name))
            found = next((case for case in candidates if case is not None and case in known), None)
            if found is None:
                hint = near_miss(_stem(name), known) or f" ({_examples(known)})"
                raise DataError(
                    f"{self.path}, row {row}: {column} '{name}' is no case of the data set{hint}; rename it, or remove "
                    "its rows"
                )
            resolved[name] = found
        return [resolved[name] for name in self.cells[column]]


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    header = [name.strip() for name in cells]
    if not any(header):
        raise DataError(f"{path}: the first row is empty; it must name the columns")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: column '{twice[0]}' is there twice; remove one of them")
    return header


def group_by_case(
    table: Table,
    cases: Sequence[str],
    sizes: Mapping[str, tuple[int, int]],
    *,
    x_px: FloatArray,
    y_px: FloatArray,
    onset_ms: FloatArray,
    duration_ms: FloatArray,
    order: FloatArray,
    readers: Sequence[str],
    onset_column: str,
) -> dict[str, Fixations]:
    """Split the rows into one :class:`Fixations` a case, sorted by ``order`` and then by row.

    Raises:
        DataError: if a case has two readers, or its onsets fall along ``order``.
    """
    members: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        members.setdefault(case, []).append(index)
    out: dict[str, Fixations] = {}
    for case, listed in members.items():
        rows = np.array(listed)
        rows = rows[np.argsort(order[rows], kind="stable")]
        names = sorted({readers[row] for row in rows})
        if len(names) > 1:
            raise DataError(
                f"{table.path}: case '{case}' has fixations of {len(names)} readers ({', '.join(map(repr, names))}); "
                "keep the rows of one reader in a table"
            )
        falling = np.flatnonzero(np.diff(onset_ms[rows]) < 0)
        if len(falling):
            row = rows[falling[0] + 1]
            raise DataError(
                f"{table.path}, row {table.row[row]}: {onset_column} '{table.cells[onset_column][row]}' is earlier "
                f"than that of the fixation before it in case '{case}'; keep one reader and one viewing a case"
            )
        reader = sys.intern(readers[rows[0]])  # else one cell a case would keep the memory of the whole table
        out[case] = Fixations(x_px[rows], y_px[rows], onset_ms[rows], duration_ms[rows], sizes[case], case, reader)
    return out


def pixels(normalised: FloatArray, extents: FloatArray) -> FloatArray:
    """Image px of positions in 0..1: ``x * W - 0.5``.

    The right edge, exactly 1, counts as the last pixel, although pixels are half-open intervals otherwise.
    """
    edge: FloatArray = np.nextafter(extents - 0.5, 0)
    return np.minimum(normalised * extents - 0.5, edge)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _stem(name: str) -> str:
    path = PurePath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in IMAGE_ENDINGS else name


def _examples(known: Mapping[str, object]) -> str:
    examples = ", ".join(f"'{case}'" for case in sorted(known)[:3])
    return f"its ids look like {examples}" if examples else "it has none"
