"""What importers share: finding files by case, reading whichever gaze table there is, and splits with a name."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gazeseg.console import warn
from gazeseg.data.images import find_images, read_image_size
from gazeseg.data.schema import Case
from gazeseg.data.split import check_splits, group_split, read_split_list, read_split_lists, split_checksum
from gazeseg.errors import DataError, near_miss
from gazeseg.gaze.io.gazemedseg_csv import read_gazemedseg_csv
from gazeseg.gaze.io.table import read_fixation_table
from gazeseg.gaze.io.validate import Table
from gazeseg.types import Fixations, Split

OWN_SPLIT_SEED: Final = 0
_DEFAULT_LISTS: Final[dict[Split, str]] = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}


@dataclass(frozen=True, slots=True)
class PublishedSplit:
    """Split lists that somebody else published, known by the checksums of their sorted ids."""

    name: str
    checksums: Mapping[Split, str]
    files: Mapping[Split, str]  # file names of the lists, as published


def images_by_id(folder: Path, *, recursive: bool = False, without: Path | None = None) -> dict[str, Path]:
    """Return the images of a folder by case id: the stem, or the path below the folder where stems are not unique.

    Ids are in Unicode form NFC whatever the file system keeps, so that they meet the ids typed in tables.

    Args:
        folder: Where to look.
        recursive: Whether to look in sub-folders.
        without: A sub-folder to leave out: masks are often kept below the images.

    Raises:
        DataError: as :func:`~gazeseg.data.images.find_images`.
    """
    found = find_images(folder, recursive=recursive)
    if without is not None and without.resolve() != folder.resolve():
        hidden = without.resolve()
        found = {name: path for name, path in found.items() if not path.resolve().is_relative_to(hidden)}
    stems = {Path(name).name for name in found}
    short = len(stems) == len(found)
    return {unicodedata.normalize("NFC", Path(name).name if short else name): path for name, path in found.items()}


def masks_by_id(
    folder: Path | None, ids: Iterable[str], *, recursive: bool = False, ending: str = ""
) -> dict[str, Path]:
    """Return the masks of a folder for those of ``ids`` that have one; tell about both kinds of leftovers.

    Args:
        folder: Where to look; ``None`` for no masks.
        ids: The case ids.
        recursive: Whether to look in sub-folders.
        ending: What may follow the case id in the name of a mask, in lower case; the case of the name does not matter.

    Raises:
        DataError: if no mask at all bears the name of an image.
    """
    if folder is None:
        return {}
    ids = set(ids)
    found = images_by_id(folder, recursive=recursive)
    if ending:
        found = {name[: -len(ending)] if name.lower().endswith(ending) else name: path for name, path in found.items()}
    matched = {name: path for name, path in found.items() if name in ids}
    if not matched:
        stranger = next(iter(found))
        hint = near_miss(stranger, ids) or f"; an image is called '{min(ids)}'"
        raise DataError(f"{folder}: no mask bears the name of an image, e.g. '{stranger}'{hint}")
    if len(matched) < len(found):
        stranger = min(set(found) - ids)
        warn(f"{folder}: {len(found) - len(matched)} masks have no image and are left out, e.g. '{stranger}'")
    if len(matched) < len(ids):
        warn(f"{folder}: {len(ids) - len(matched)} images have no mask, e.g. '{min(ids - set(matched))}'")
    return matched


def check_mask_sizes(cases: Iterable[Case]) -> None:
    """Compare the size of every mask with its case, from the headers alone.

    Raises:
        DataError: naming the first mask of another size, and both sizes.
    """
    for case in cases:
        if case.mask is not None and (size := read_image_size(case.mask, case_id=case.case_id)) != case.size:
            raise DataError(
                f"{case.mask} (case '{case.case_id}'): the mask is {size[0]} x {size[1]} (H x W) but its image is "
                f"{case.height} x {case.width}; give a mask of the image's size"
            )


def read_gaze(path: Path | None, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Fixations]:
    """Read a fixation table of either form: GazeMedSeg's CSV (known by its columns) or our own.

    Args:
        path: The table, or ``None`` for no gaze.
        sizes: (H, W) by case id.

    Raises:
        DataError: as the readers do, and if GazeMedSeg's table says that an image was viewed at another size.
    """
    if path is None:
        return {}
    table = Table.read(path)
    if not any(column.upper() == "IMAGE" or column.startswith("CURRENT_FIX") for column in table.cells):
        return read_fixation_table(path, sizes)
    fixations = read_gazemedseg_csv(path, sizes)
    _check_viewed_sizes(table, sizes)
    return fixations


def _check_viewed_sizes(table: Table, sizes: Mapping[str, tuple[int, int]]) -> None:
    """The readers saw images of a known size; another one means other images, or cropped ones."""
    if not {"IMAGE_HEIGHT", "IMAGE_WIDTH"} <= table.cells.keys():
        return
    cases = table.case_ids("IMAGE", sizes, {})
    viewed = zip(cases, table.numbers("IMAGE_HEIGHT"), table.numbers("IMAGE_WIDTH"), table.row, strict=True)
    for case_id, height, width, row in viewed:
        if (height, width) != sizes[case_id]:
            want = "{} x {}".format(*sizes[case_id])
            raise DataError(
                f"{table.path}, row {row}: '{case_id}' was viewed at {height:g} x {width:g} (H x W) but the file here "
                f"is {want}; give the images at their original size"
            )


def with_splits(
    cases: Sequence[Case],
    folder: Path | None,
    *,
    published: Sequence[PublishedSplit] = (),
    held_out: float,
    strict: bool = True,
) -> tuple[tuple[Case, ...], str]:
    """Give every case its split: from lists where there are some, else drawn by patient; say which split it is.

    Args:
        cases: The cases.
        folder: Folder of the lists, or ``None``.
        published: Splits to recognise, the preferred one first.
        held_out: Share of the cases that an own split holds out for test.
        strict: Whether a listed id without a case is an error, or only told.

    Returns:
        The cases, and the note for ``DatasetInfo.split_note``.

    Raises:
        DataError: for broken lists, or a patient in two splits.
    """
    if folder is None:
        return _own_split(cases, held_out)
    files = next((p.files for p in published if (folder / p.files["train"]).is_file()), _DEFAULT_LISTS)
    if (folder / _DEFAULT_LISTS["train"]).is_file():
        files = _DEFAULT_LISTS
    split = read_split_lists(folder, (case.case_id for case in cases), files=files, strict=strict)
    listed = {name: read_split_list(folder / file) for name, file in files.items() if (folder / file).is_file()}
    note = _name_lists(listed, published)
    absent = sum(map(len, listed.values())) - len(split)
    if absent:
        warn(f"{folder}: {absent} listed cases are not among the files")
        note += f"; {absent} listed cases are not among the files"
    assigned = tuple(dataclasses.replace(case, split=split.get(case.case_id, "none")) for case in cases)
    check_splits(assigned)
    return assigned, note


def _own_split(cases: Sequence[Case], held_out: float) -> tuple[tuple[Case, ...], str]:
    by_image = len({case.patient_id for case in cases}) == len(cases)
    if len({case.patient_id for case in cases}) < 2:
        train = tuple(dataclasses.replace(case, split="train") for case in cases)
        return train, "own split: one patient, all for training; not a published split"
    _, test = group_split(cases, held_out, OWN_SPLIT_SEED)
    ids = {case.case_id for case in test}
    unit = "by image, as no patient is known for two of them" if by_image else "by patient"
    note = f"own split {unit}: {len(ids)} of {len(cases)} held out for test, seed {OWN_SPLIT_SEED}"
    assigned = (dataclasses.replace(case, split="test" if case.case_id in ids else "train") for case in cases)
    return tuple(assigned), f"{note}; not a published split"


def _name_lists(listed: Mapping[Split, Sequence[str]], published: Sequence[PublishedSplit]) -> str:
    counts = ", ".join(f"{len(ids)} {name}" for name, ids in listed.items())
    sums = {
        name: split_checksum(Path(line).stem if "." in line else line for line in ids) for name, ids in listed.items()
    }
    for known in published:
        agreeing = [name for name in listed if known.checksums.get(name) == sums[name]]
        if agreeing and len(agreeing) == len(listed) == len(known.checksums):
            return f"{known.name} ({counts}; checksums match)"
        if agreeing:
            return f"own lists ({counts}); only {' and '.join(agreeing)} as in {known.name}"
    return f"own lists ({counts}); not a published split"
