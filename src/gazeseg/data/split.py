"""Splits: drawn by patient, read from lists, checked for overlap, named by a checksum."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np

from gazeseg.data.schema import Case
from gazeseg.errors import DataError, near_miss
from gazeseg.types import Split

LISTS: Final[tuple[Literal["train", "val", "test"], ...]] = ("train", "val", "test")


def group_split(cases: Sequence[Case], fraction: float, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Hold out about ``fraction`` of the cases, whole patients only; return (rest, held_out) in the given order.

    Patients are shuffled with ``seed`` and taken while that brings the held-out share nearer to ``fraction``; both
    sides get at least one patient. The order of ``cases`` has no influence on who is held out.

    Raises:
        DataError: if ``fraction`` is not between 0 and 1, or there are fewer than two patients.
    """
    if not 0 < fraction < 1:
        raise DataError(f"a split needs a fraction between 0 and 1, got {fraction:g}")
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.patient_id] = counts.get(case.patient_id, 0) + 1
    if len(counts) < 2:
        raise DataError(
            f"{len(counts)} patient(s) cannot be split in two; give patients of at least two, or split lists"
        )
    patients = sorted(counts)
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    wanted, taken = fraction * len(cases), 0
    held_out: set[str] = set()
    for patient in order[:-1]:  # the last patient always stays
        nearer = abs(taken + counts[patient] - wanted) < abs(taken - wanted)
        if nearer or not held_out:
            held_out.add(patient)
            taken += counts[patient]
        if taken >= wanted:
            break
    rest = tuple(case for case in cases if case.patient_id not in held_out)
    return rest, tuple(case for case in cases if case.patient_id in held_out)


def check_splits(cases: Iterable[Case]) -> None:
    """Make sure that no case and no patient stands in two splits; ``none`` is no split.

    Raises:
        DataError: naming the case or patient, the two splits, and how many more there are.
    """
    cases = [case for case in cases if case.split != "none"]
    _check_overlap("case", [(case.case_id, case.split) for case in cases])
    _check_overlap("patient", [(case.patient_id, case.split) for case in cases])


def shared_images(cases: Iterable[Case]) -> list[tuple[Case, ...]]:
    """Return the cases whose image file, byte for byte, stands in two or more splits; ``none`` is no split.

    Files are read only where two have the same length. A picture that was resized or compressed anew is not found.

    Returns:
        One tuple an image, its cases in the given order.
    """
    by_length: dict[int, list[Case]] = {}
    for case in cases:
        if case.split != "none" and case.image is not None and case.image.is_file():
            by_length.setdefault(case.image.stat().st_size, []).append(case)
    by_content: dict[str, list[Case]] = {}
    for members in by_length.values():
        if len({case.split for case in members}) < 2:
            continue
        for case in members:
            if case.image is not None:
                by_content.setdefault(hashlib.sha256(case.image.read_bytes()).hexdigest(), []).append(case)
    return [tuple(members) for members in by_content.values() if len({case.split for case in members}) > 1]


def split_checksum(ids: Iterable[str]) -> str:
    """Return the first 16 hex digits of the SHA-256 of the sorted ids, joined by newlines.

    Examples:
        >>> split_checksum(["b", "a"]) == split_checksum(["a", "b"])
        True
    """
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def read_split_lists(
    folder: Path, known: Iterable[str], *, files: Mapping[Split, str] | None = None, strict: bool = True
) -> dict[str, Split]:
    """Read ``train.txt``, ``val.txt`` and ``test.txt`` (those that are there), one id or file name a line.

    Args:
        folder: The folder with the lists.
        known: The ids of the cases; a line may also name a case with its file ending or folder.
        files: Other names of the lists, by split.
        strict: Whether an unknown id is an error; otherwise it is left out.

    Returns:
        Split by case id, for the listed cases only.

    Raises:
        DataError: if there is no list, an id is unknown (with the nearest known one), or stands in two places.
    """
    names = files or {split: f"{split}.txt" for split in LISTS}
    present = {split: folder / name for split, name in names.items() if (folder / name).is_file()}
    if not present:
        raise DataError(f"{folder}: no split list; expected {', '.join(names.values())} with one id a line")
    known = frozenset(known)
    found: dict[str, Split] = {}
    for split, file in present.items():
        for number, line in _lines(file):
            case_id = _match(line, known)
            if case_id is None:
                if strict:
                    raise DataError(f"{file}, line {number}: no image '{line}'{near_miss(line, known)}")
                continue
            if case_id in found:
                raise DataError(f"{file}, line {number}: '{line}' is listed already in {found[case_id]}; remove one")
            found[case_id] = split
    return found


def read_split_list(file: Path) -> list[str]:
    """Return the ids of one list as they are spelt there, blank lines left out.

    Raises:
        DataError: if the file is no text.
    """
    return [line for _, line in _lines(file)]


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file}: not a list of ids ({error}); expected text with one id a line") from None
    lines = unicodedata.normalize("NFC", text).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _match(line: str, known: frozenset[str]) -> str | None:
    path = PurePosixPath(line.replace("\\", "/"))
    for candidate in (line, path.with_suffix("").as_posix(), path.name, path.stem):
        if candidate in known:
            return candidate
    return None


def _check_overlap(kind: str, pairs: Iterable[tuple[str, str]]) -> None:
    where: dict[str, set[str]] = {}
    for name, split in pairs:
        where.setdefault(name, set()).add(split)
    shared = sorted(name for name, splits in where.items() if len(splits) > 1)
    if shared:
        first, more = shared[0], f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        splits = " and ".join(sorted(where[first]))
        raise DataError(
            f"{kind} '{first}' is in {splits}{more}; a {kind} may be in one split only, so remove it from one"
        )
