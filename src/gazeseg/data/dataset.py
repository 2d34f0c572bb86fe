"""The dataset folder: ``dataset.yaml``, ``cases.csv`` and ``gaze/fixations.csv``; images by reference or copy.

::

    DS/dataset.yaml        DatasetInfo: names, classes, where images and masks lie, what the gaze is
    DS/cases.csv           one row a case: case_id,patient_id,split,image,mask,height,width,
                           spacing_y_mm,spacing_x_mm,volume_id,slice_index,spacing_z_mm
    DS/gaze/fixations.csv  case_id,reader_id,x_px,y_px,onset_ms,duration_ms in image pixels
    DS/images, DS/masks    only where the data set was made with a copy, or images had to be converted

``image`` and ``mask`` in ``cases.csv`` are paths below the roots of ``dataset.yaml``. A root is absolute, with a
relative twin as fallback, so that a data set moved together with its images keeps working. An empty ``image`` is a
case without pixels (gaze and mask can still be measured); an empty ``mask`` is a case without truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from gazeseg.config import build, read_yaml
from gazeseg.data.images import read_image, read_mask
from gazeseg.data.layout import copy_files, read_cases, resolve_root, staging, write_tables
from gazeseg.data.schema import FORMAT, Case, DatasetInfo, GazeInfo, Roots, no_fixations
from gazeseg.errors import DataError, near_miss, suggest
from gazeseg.gaze.io.table import read_fixation_table
from gazeseg.types import Fixations, Split, UInt8Array

__all__ = ["Case", "Dataset", "DatasetInfo", "GazeInfo", "Roots", "write_dataset"]


@dataclass(frozen=True)
class Dataset:
    """A dataset folder in memory: its description and its cases; pixels and gaze are read when asked for."""

    root: Path
    info: DatasetInfo
    cases: tuple[Case, ...]
    controlled_gaze: Mapping[str, Fixations] | None = None  # instead of the folder's, see gazeseg.data.controls

    @classmethod
    def load(cls, root: Path) -> Dataset:
        """Read a dataset folder.

        Raises:
            DataError: if it is none, its table is broken, or the folder of its images is gone.
            ConfigError: if ``dataset.yaml`` holds an unknown key or value.
        """
        root = Path(root)
        file = root / "dataset.yaml"
        if not file.is_file():
            raise DataError(f"{root}: no data set folder (dataset.yaml expected); make one with 'gazeseg import'")
        values = read_yaml(file)
        version = values.get("format", FORMAT)
        if version != FORMAT:
            raise DataError(f"{file}: format {version}, but this version reads format {FORMAT}; update gazeseg")
        info = build(DatasetInfo, values, str(file))
        images = resolve_root(root, info.roots.images, info.roots.images_relative)
        masks = resolve_root(root, info.roots.masks, info.roots.masks_relative)
        cases = tuple(read_cases(root / "cases.csv", images, masks))
        # a vanished folder of masks only matters to those who read one
        if images is not None and not images.is_dir() and any(case.image for case in cases):
            raise DataError(f"{file}: the folder of images '{images}' is gone; set roots.images to where they are now")
        return cls(root, info, cases)

    def split(self, name: str) -> tuple[Case, ...]:
        """Return the cases of one split, in the order of the table.

        Raises:
            DataError: for an unknown name.
        """
        if name not in get_args(Split):
            raise DataError(f"{self.root}: no split '{name}'{suggest(name, get_args(Split))}")
        return tuple(case for case in self.cases if case.split == name)

    def case(self, case_id: str) -> Case:
        """Return one case.

        Raises:
            DataError: for an unknown id, naming the nearest.
        """
        try:
            return self._by_id[case_id]
        except KeyError:
            raise DataError(f"{self.root}: no case '{case_id}'{near_miss(case_id, self._by_id)}") from None

    def image(self, case: Case) -> UInt8Array:
        """Return the pixels of a case, uint8 (H, W, C) with the channels of the data set.

        Raises:
            DataError: if the case has no image, or the file is broken or of another size than the table says.
        """
        if case.image is None:
            raise DataError(
                f"{self.root}: case '{case.case_id}' has no image; import again with --images to use its pixels"
            )
        pixels = read_image(case.image, self.info.channels, case_id=case.case_id)
        if pixels.shape[:2] != case.size:
            got, want = (f"{height} x {width}" for height, width in (pixels.shape[:2], case.size))
            raise DataError(
                f"{case.image} (case '{case.case_id}'): the image is {got} (H x W), cases.csv says {want}; import again"
            )
        return pixels

    def mask(self, case: Case) -> UInt8Array:
        """Return the truth of a case, uint8 (H, W) class indices, 255 = ignore.

        Raises:
            DataError: if the case has no mask, or the file is gone, broken, of another size or of other classes.
        """
        if case.mask is None:
            raise DataError(f"{self.root}: case '{case.case_id}' has no mask; import again with --masks")
        if not case.mask.exists():
            raise DataError(
                f"{case.mask} (case '{case.case_id}'): the mask is gone; set roots.masks in "
                f"{self.root / 'dataset.yaml'} to where the masks are now, or to null to work without"
            )
        return read_mask(case.mask, case.size, self.num_classes, case.case_id, self.info.mask_encoding)

    @cached_property
    def fixations(self) -> Mapping[str, Fixations]:
        """Fixations of every case by id; a case without gaze has none (length 0).

        Raises:
            DataError: if the table is broken or names an unknown case.
        """
        if self.controlled_gaze is not None:
            return self.controlled_gaze
        path = self.root / "gaze" / "fixations.csv"
        sizes = {case.case_id: case.size for case in self.cases}
        found = read_fixation_table(path, sizes) if path.exists() else {}
        return {case.case_id: found.get(case.case_id) or no_fixations(case.case_id, case.size) for case in self.cases}

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.case_id: case for case in self.cases}

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.info.classes)

    @property
    def has_masks(self) -> bool:
        """True where at least one case has a mask."""
        return any(case.mask is not None for case in self.cases)


def write_dataset(
    root: Path, info: DatasetInfo, cases: Iterable[Case], fixations: Iterable[Fixations], *, copy: bool = False
) -> Dataset:
    """Write a dataset folder, whole or not at all, and load it.

    Args:
        root: The folder to make; it must not exist or be empty.
        info: The description; ``roots`` name the folders above the cases' images and masks.
        cases: The cases; ids must be unique.
        fixations: Their gaze, with the case id as ``image_id``; cases may be missing.
        copy: Copy images and masks into the folder instead of pointing at them.

    Raises:
        DataError: if ``root`` holds something, an id is there twice, an image lies outside its root, the gaze names an
            unknown case, or the disk is full or read-only.
    """
    cases = tuple(cases)
    with staging(root) as folder:
        if copy:
            info, cases = copy_files(folder, info, cases)
        write_tables(folder, info, cases, fixations, final=root)
    return Dataset.load(root)
