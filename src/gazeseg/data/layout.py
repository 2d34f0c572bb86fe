"""The files of a dataset folder, read and written: whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, get_args

from gazeseg.config import write_yaml
from gazeseg.data.images import safe_name
from gazeseg.data.schema import COLUMNS, Case, DatasetInfo, Roots
from gazeseg.errors import DataError, near_miss, suggest
from gazeseg.gaze.io.table import write_fixation_table
from gazeseg.types import Fixations, Split

_REQUIRED: Final = COLUMNS[:7]


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``root`` that becomes ``root`` if the block ends well, and vanishes if not.

    Raises:
        DataError: if ``root`` exists and holds something, or the disk is full or read-only.
    """
    root = Path(root)
    if (root / "dataset.yaml").is_file():
        raise DataError(f"{root}: already exists; remove it or choose another")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: is there already and holds something else; choose another")
    temporary = root.parent / f".{root.name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if root.exists():
            root.rmdir()  # empty, as checked; renaming onto a folder is not portable
        os.rename(temporary, root)
    except OSError as error:
        raise DataError(
            f"{root}: cannot be written ({error.strerror or error}); free some space or choose another"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_tables(
    folder: Path, info: DatasetInfo, cases: Iterable[Case], fixations: Iterable[Fixations], *, final: Path
) -> None:
    """Write the three files of a dataset into ``folder``, which :func:`staging` renames to ``final`` later.

    A root inside ``folder`` is stored relative to it; any other one absolute, with its relative twin.
    """
    cases, fixations, roots = tuple(cases), tuple(fixations), info.roots
    known: set[str] = set()
    for case in cases:
        if case.case_id in known:
            raise DataError(f"case '{case.case_id}' is there twice; give every image its own id")
        known.add(case.case_id)
    for fix in fixations:
        if fix.image_id not in known:
            raise DataError(f"gaze of an unknown case '{fix.image_id}'{near_miss(fix.image_id, known)}")
    info = info.model_copy(update={"roots": _stored_roots(info.roots, folder, final)})
    rows = [_row(case, roots) for case in cases]
    (folder / "gaze").mkdir()
    write_yaml(folder / "dataset.yaml", info)
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_fixation_table(folder / "gaze" / "fixations.csv", [fix for fix in fixations if len(fix)])


def _stored_roots(roots: Roots, folder: Path, final: Path) -> Roots:
    stored: dict[str, Path | None] = {}
    for name, path in (("images", roots.images), ("masks", roots.masks)):
        if path is None:
            continue
        full, here = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
        if full.is_relative_to(here):
            stored[name] = full.relative_to(here)
            continue
        stored[name] = full
        with suppress(ValueError):  # another drive on Windows
            stored[f"{name}_relative"] = Path(os.path.relpath(full, os.path.abspath(final)))
    return Roots(**stored)


def resolve_root(root: Path, path: Path | None, twin: Path | None) -> Path | None:
    """Return the folder that a root of ``dataset.yaml`` stands for.

    Args:
        root: The dataset folder.
        path: The root: absolute, or relative to the dataset folder.
        twin: The relative twin, taken where it exists and ``path`` does not.
    """
    if path is None:
        return None
    first = Path(os.path.abspath(root / path))
    second = Path(os.path.abspath(root / twin)) if twin is not None else first
    return second if second.is_dir() and not first.is_dir() else first


def copy_files(folder: Path, info: DatasetInfo, cases: tuple[Case, ...]) -> tuple[DatasetInfo, tuple[Case, ...]]:
    """Copy images and masks to ``folder/images`` and ``folder/masks``; return the description and cases that say so.

    Raises:
        DataError: if a file is missing.
    """
    copied = []
    for case in cases:
        moved: dict[str, Path | None] = {"image": case.image, "mask": case.mask}
        for field, path in moved.items():
            if path is not None:
                target = folder / f"{field}s" / f"{safe_name(case.case_id)}{path.suffix.lower()}"
                target.parent.mkdir(exist_ok=True)
                if not path.is_file():
                    raise DataError(f"{path} (case '{case.case_id}'): no such file; restore it or remove the case")
                moved[field] = Path(shutil.copyfile(path, target))
        copied.append(dataclasses.replace(case, image=moved["image"], mask=moved["mask"]))
    roots = {name: folder / name if (folder / name).is_dir() else None for name in ("images", "masks")}
    return info.model_copy(update={"roots": Roots(**roots)}), tuple(copied)


def _row(case: Case, roots: Roots) -> dict[str, object]:
    spacing_y, spacing_x = case.spacing_mm or ("", "")
    return {
        "case_id": case.case_id,
        "patient_id": case.patient_id,
        "split": case.split,
        "image": _below(case.image, roots.images, case.case_id),
        "mask": _below(case.mask, roots.masks, case.case_id),
        "height": case.height,
        "width": case.width,
        "spacing_y_mm": spacing_y,
        "spacing_x_mm": spacing_x,
        "volume_id": case.volume_id,
        "slice_index": case.slice_index,
        "spacing_z_mm": "" if case.spacing_z_mm is None else case.spacing_z_mm,
    }


def _below(path: Path | None, root: Path | None, case_id: str) -> str:
    """Return ``path`` relative to its root, with forward slashes."""
    if path is None:
        return ""
    if root is None:
        raise DataError(f"{path} (case '{case_id}'): the data set names no folder for it; set its roots")
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(root)).as_posix()
    except ValueError:
        raise DataError(f"{path} (case '{case_id}'): lies outside the root '{root}'; keep the files below it") from None


def read_cases(file: Path, images: Path | None, masks: Path | None) -> Iterator[Case]:
    """Yield the rows of ``cases.csv``; ``images`` and ``masks`` are the resolved roots.

    Raises:
        DataError: naming the file and line for a missing column, a broken value or an id that is there twice.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = tuple(reader.fieldnames or ())
            for name in _REQUIRED:
                if name not in columns:
                    raise DataError(f"{file}: column '{name}' is missing{suggest(name, columns)}")
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; make the dataset folder again") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a CSV file ({error}); make the dataset folder again") from None
    seen: dict[str, int] = {}
    for line, row in rows:
        case = _parse(row, f"{file}, line {line}", images, masks)
        if case.case_id in seen:
            first = seen[case.case_id]
            raise DataError(f"{file}, line {line}: case '{case.case_id}' is already in line {first}; remove one")
        seen[case.case_id] = line
        yield case


def _parse(row: Mapping[str, str | None], where: str, images: Path | None, masks: Path | None) -> Case:
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not cells["case_id"]:
        raise DataError(f"{where}: case_id is empty; give every case an id")
    if cells["split"] not in get_args(Split):
        raise DataError(f"{where}: unknown split '{cells['split']}'{suggest(cells['split'], get_args(Split))}")
    try:
        height, width = int(cells["height"]), int(cells["width"])
        slice_index = int(cells["slice_index"] or 0)
        spacing = (float(cells["spacing_y_mm"]), float(cells["spacing_x_mm"])) if cells["spacing_y_mm"] else None
        between = float(cells["spacing_z_mm"]) if cells["spacing_z_mm"] else None
    except ValueError as error:
        raise DataError(f"{where}: not a number ({error}); give height, width and spacing as numbers") from None
    steps = (*(spacing or ()), *(() if between is None else (between,)))
    if min(height, width) <= 0 or not all(0 < step < math.inf for step in steps):
        raise DataError(f"{where}: height, width and spacing must be positive, got {height}, {width}, {list(steps)}")
    return Case(
        case_id=cells["case_id"],
        patient_id=cells["patient_id"] or cells["case_id"],
        split=cells["split"],  # type: ignore[arg-type]  # checked above against the same Literal
        image=images / cells["image"] if images is not None and cells["image"] else None,
        mask=masks / cells["mask"] if masks is not None and cells["mask"] else None,
        height=height,
        width=width,
        spacing_mm=spacing,
        volume_id=cells["volume_id"],
        slice_index=slice_index,
        spacing_z_mm=between,
    )
