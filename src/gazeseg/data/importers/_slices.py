"""Volumes cut into cases: one slice a case, stored in the data set folder as 8-bit PNG.

Grey values other than 8 bits are scaled to 0..255 from the minimum and maximum of their **volume**, as the published
protocols do, never slice by slice. Everything behind the import works on 8 bits, so nothing deeper is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazeseg.console import warn
from gazeseg.data.dataset import Dataset
from gazeseg.data.images import safe_name, write_image
from gazeseg.data.layout import staging, write_tables
from gazeseg.data.schema import Case, DatasetInfo, Roots
from gazeseg.data.simulated import simulate_gaze
from gazeseg.data.split import check_splits
from gazeseg.errors import DataError
from gazeseg.types import IGNORE, Split, UInt8Array


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume, or one image as a volume of a single slice, ready to be written."""

    volume_id: str
    patient_id: str
    split: Split
    image: npt.NDArray[Any]  # (D, H, W), any real type
    labels: npt.NDArray[Any] | None  # (D, H, W) class indices, 255 = ignore
    origin: Path  # the file that errors name
    spacing_mm: tuple[float, float, float] | None = None  # (z, y, x)


def import_volumes(
    out: Path, info: DatasetInfo, volumes: Iterable[Volume], *, single: bool = False, simulate_seed: int | None = None
) -> Dataset:
    """Write volumes as a dataset folder, whole or not at all, and load it.

    A case is called ``<volume>_slice_<k>`` with k from 0.

    Args:
        out: The folder to make.
        info: The description; its roots are filled in.
        volumes: What to write; read one by one, so that a generator keeps memory small.
        single: The volumes are single images: a case bears the name of its image and belongs to no volume.
        simulate_seed: Draw gaze from the masks of the training cases with this seed; ``None``: no gaze.

    Raises:
        DataError: if image and labels do not fit together, a label is outside the classes, a patient stands in two
            splits, there is no volume, or the folder cannot be written.
    """
    with staging(out) as folder:
        cases: list[Case] = []
        bare: list[str] = []
        for volume in volumes:
            cases += _write_slices(folder, volume, len(info.classes), single=single)
            if volume.labels is not None and not np.isin(volume.labels, (0, IGNORE), invert=True).any():
                bare.append(volume.volume_id)
        if not cases:
            raise DataError(f"{info.name}: no volume to import; check the folder")
        if bare:
            warn(f"{len(bare)} volumes show no class in any slice of their labels, e.g. '{bare[0]}'")
        check_splits(cases)
        roots = Roots(**{name: folder / name for name in ("images", "masks") if (folder / name).is_dir()})
        fixations = []
        if simulate_seed is not None:
            gaze = simulate_gaze(cases, seed=simulate_seed, num_classes=len(info.classes), encoding="index")
            fixations, info = list(gaze.fixations.values()), info.model_copy(update={"gaze": gaze.info})
        info = info.model_copy(update={"roots": roots, "mask_encoding": "index", "channels": 1})
        write_tables(folder, info, cases, fixations, final=out)
    return Dataset.load(out)


def _write_slices(folder: Path, volume: Volume, num_classes: int, *, single: bool) -> Iterator[Case]:
    labels = _checked(volume, num_classes)
    for index, pixels in enumerate(_to_uint8(volume)):
        case_id = volume.volume_id if single else f"{volume.volume_id}_slice_{index}"
        image = folder / "images" / f"{safe_name(case_id)}.png"
        write_image(image, pixels)
        mask = None
        if labels is not None:
            mask = folder / "masks" / image.name
            write_image(mask, labels[index])
        height, width = pixels.shape
        case = Case(case_id, volume.patient_id, volume.split, image, mask, height, width)
        if volume.spacing_mm is not None:
            case = replace(case, spacing_mm=volume.spacing_mm[1:])
        if not single:
            between = None if volume.spacing_mm is None else volume.spacing_mm[0]
            case = replace(case, volume_id=volume.volume_id, slice_index=index, spacing_z_mm=between)
        yield case


def _checked(volume: Volume, num_classes: int) -> UInt8Array | None:
    """Return the labels as uint8, or None for a volume without."""
    where = f"{volume.origin} (volume '{volume.volume_id}')"
    if volume.image.ndim != 3 or volume.image.size == 0:
        raise DataError(f"{where}: the image is {volume.image.shape}, expected (slices, H, W)")
    if volume.labels is None:
        return None
    if volume.labels.shape != volume.image.shape:
        raise DataError(
            f"{where}: the labels are {_listed(volume.labels.shape)} but the image is {_listed(volume.image.shape)} "
            "(slices x H x W); give labels drawn on this image"
        )
    present = np.unique(volume.labels)
    foreign = [f"{value:g}" for value in present if value not in range(num_classes) and value != IGNORE]
    if foreign:
        raise DataError(
            f"{where}: labels {', '.join(foreign[:8])} are outside the declared classes 0..{num_classes - 1}; "
            "check that this is the label file of this data set"
        )
    return volume.labels.astype(np.uint8)


def _to_uint8(volume: Volume) -> UInt8Array:
    """Return (D, H, W) uint8: as it is, or round(255 (x - min) / (max - min)) over the volume."""
    if volume.image.dtype == np.uint8:
        return volume.image
    values = volume.image.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(
            f"{volume.origin} (volume '{volume.volume_id}'): the image holds NaN or infinity; export it again"
        )
    low, high = values.min(), values.max()
    scaled: UInt8Array = np.rint((values - low) * (255.0 / max(high - low, 1e-300))).astype(np.uint8)
    return scaled


def _listed(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def split_in_order(patients: Iterable[str], counts: tuple[int, int, int]) -> dict[str, Split]:
    """Share out patients, sorted, to train, val and test in the proportion of ``counts``; one patient at least trains.

    Examples:
        >>> split_in_order("abcde", (3, 1, 1))
        {'a': 'train', 'b': 'train', 'c': 'train', 'd': 'val', 'e': 'test'}
    """
    ordered = sorted(set(patients))
    first = max(1, len(ordered) * counts[0] // sum(counts))
    second = first + len(ordered) * counts[1] // sum(counts)
    names: tuple[Split, Split, Split] = ("train", "val", "test")
    return {name: names[(index >= first) + (index >= second)] for index, name in enumerate(ordered)}
