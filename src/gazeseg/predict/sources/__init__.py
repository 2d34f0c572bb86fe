"""Readers of what can be segmented, one kind of file a module, and the search for it in a folder."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gazeseg.data.images import IMAGE_SUFFIXES
from gazeseg.errors import DataError
from gazeseg.predict.sources.base import Source
from gazeseg.predict.sources.dicom import find_dicom, is_dicom
from gazeseg.predict.sources.images import ImageSource
from gazeseg.predict.sources.nifti import NiftiSource, suffix_of

__all__ = ["Found", "find_sources"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds."""

    sources: tuple[Source, ...]  # sorted by path and name; no two have one name
    failures: dict[Path, str]  # files of a known kind that cannot be read, and why
    others: tuple[Path, ...]  # files of no known kind


def find_sources(inputs: Path, out: Path) -> Found:
    """Find everything that can be segmented below ``inputs``.

    Two sources that differ in their ending alone keep it in their name: ``a.jpg`` and ``a.png``. Hidden files and what
    lies in ``out`` are left out.

    Args:
        inputs: A folder, searched through, or one file; one of an unknown ending is taken for an image.
        out: Where masks go.

    Raises:
        DataError: if ``inputs`` is missing or there is nothing to segment.
        MissingDependencyError: for DICOM files without pydicom.
    """
    if not inputs.exists():
        raise DataError(f"{inputs}: no such file or folder; give an image or the folder that holds the images")
    base = inputs if inputs.is_dir() else inputs.parent
    if out.resolve() == base.resolve():
        raise DataError(f"{out}: holds the images, which masks of the same name would replace; choose another folder")
    sources: list[Source] = []
    dicoms, others = [], []
    for path in _files(inputs, out) if inputs.is_dir() else [inputs]:
        if suffix_of(path):
            sources.append(NiftiSource.at(path, base))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            sources.append(ImageSource.at(path, base))
        elif is_dicom(path):
            dicoms.append(path)
        elif path == inputs:
            sources.append(ImageSource.at(path, base))
        else:
            others.append(path)
    failures: dict[Path, str] = {}
    if dicoms:
        found, failures, without = find_dicom(dicoms, base)
        sources += found
        others += without
    if not sources and not failures:
        kinds = ", ".join(sorted(suffix[1:] for suffix in (*IMAGE_SUFFIXES, ".nii", ".nii.gz", ".dcm")))
        raise DataError(f"{inputs}: no image in it ({kinds}); give an image or the folder that holds the images")
    return Found(tuple(_distinct(sorted(sources, key=lambda s: (s.path, s.name)))), failures, tuple(others))


def _distinct(sources: list[Source]) -> list[Source]:
    """Give sources that share their name the longer one."""
    count = Counter(source.name for source in sources)
    mixed = [source.name if count[source.name] == 1 else source.full_name for source in sources]
    # a.jpg, a.png and a.jpg.png: the longer name of the first is the shorter one of the third
    names: list[PurePosixPath] = mixed if len(set(mixed)) == len(mixed) else [source.full_name for source in sources]
    return [dataclasses.replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def _files(folder: Path, out: Path) -> Iterator[Path]:
    """Yield the files below ``folder``, sorted; neither hidden ones nor those in ``out``."""
    results = out.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and not path.resolve().is_relative_to(results):
            yield path
