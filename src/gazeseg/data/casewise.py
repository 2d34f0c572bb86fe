"""Work that goes case by case into a folder, can be stopped at any time and does only what is not done.

A case is done when ``index.csv`` holds its key, a hash of what decides its files, and the files and table rows are
there. Rows are appended as the work goes, those of the index last: a killed run does the unfinished cases again and no
other.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gazeseg.console import track
from gazeseg.data.schema import Case

INDEX: Final = "index.csv"
INDEX_COLUMNS: Final = ("case_id", "key")

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file of the folder: its name, its columns (``case_id`` among them) and which cases have rows in it."""

    name: str
    columns: tuple[str, ...]
    expects: Callable[[Case], bool]


def complete(
    out: Path,
    keys: Mapping[Case, str],
    work: Callable[[Case], Mapping[str, Rows]],
    *,
    files: Callable[[Case], Iterable[Path]],
    tables: Sequence[Table],
    title: str,
    jobs: int,
) -> None:
    """Do what is not done; rows of cases that are no longer there are dropped.

    Args:
        out: The folder.
        keys: The cases, in the order of the index, and what decides their files.
        work: Writes the files of a case and returns its rows by table.
        files: The files of a case.
        tables: The tables beside the index.
        title: Of the progress bar.
        jobs: Threads.
    """
    index = {row["case_id"]: row["key"] for row in read_rows(out / INDEX)}
    found: dict[str, dict[str, Rows]] = {table.name: {} for table in tables}
    for table in tables:
        for row in read_rows(out / table.name):
            found[table.name].setdefault(row["case_id"], []).append(row)
    done: list[Case] = []
    todo: list[Case] = []
    for case, key in keys.items():
        whole = all(case.case_id in found[table.name] for table in tables if table.expects(case))
        fresh = index.get(case.case_id) == key and whole
        (done if fresh and all(path.is_file() for path in files(case)) else todo).append(case)
    write_rows(out / INDEX, INDEX_COLUMNS, [{"case_id": case.case_id, "key": keys[case]} for case in done])
    for table in tables:
        kept = [row for case in done for row in found[table.name].get(case.case_id, [])]
        write_rows(out / table.name, table.columns, kept)
    with ThreadPoolExecutor(jobs) as pool:
        for case, rows in track(zip(todo, pool.map(work, todo), strict=True), title, len(todo)):
            for table in tables:
                append_rows(out / table.name, table.columns, rows.get(table.name, []))
            append_rows(out / INDEX, INDEX_COLUMNS, [{"case_id": case.case_id, "key": keys[case]}])


def cores() -> int:
    """Return how many threads to start where nobody said."""
    return os.cpu_count() or 1


def read_rows(path: Path) -> Rows:
    """Return the rows of a table, none where it is not there."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table under a temporary name, then rename it; keys beyond ``columns`` are left out."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a table that :func:`write_rows` began."""
    with path.open("a", encoding="utf-8", newline="") as stream:
        csv.DictWriter(stream, columns, lineterminator="\n").writerows(rows)
