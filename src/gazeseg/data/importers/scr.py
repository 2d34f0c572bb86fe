"""SCR on JSRT: chest radiographs with lungs, heart and clavicles.

Images: Shiraishi et al., "Development of a Digital Image Database for Chest Radiographs", AJR 2000 (raw .IMG files of
2048 x 2048 big-endian 16-bit numbers, dark where the film is bright). Masks: van Ginneken, Stegmann & Loog,
"Segmentation of Anatomical Structures in Chest Radiographs", MedIA 2006 (one image a structure, 1024 x 1024).

The structures overlap. A class map holds one class a pixel, so clavicles lie over the heart and the heart over lungs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from gazeseg.console import track, warn
from gazeseg.data.dataset import Dataset, DatasetInfo, Roots
from gazeseg.data.images import read_image
from gazeseg.data.importers._slices import Volume, import_volumes, split_in_order
from gazeseg.errors import DataError
from gazeseg.types import UInt8Array

NAME: Final = "scr"
SUMMARY: Final = "SCR chest radiographs: JSRT images (raw .IMG or PNG) with lungs, heart and clavicles"

PAINTED: Final = ("left lung", "right lung", "heart", "left clavicle", "right clavicle")  # a later one lies above
MERGED: Final = {
    "left lung": "lungs",
    "right lung": "lungs",
    "left clavicle": "clavicles",
    "right clavicle": "clavicles",
}
SIDE: Final = 2048
RAW_MM: Final = 0.175  # of a pixel of a raw image
LEVELS: Final = 4096
COUNTS: Final = (172, 25, 50)  # of 247 patients
LAYOUT: Final = (
    "<root>/**/JPCLN001.IMG (raw, 2048 x 2048) or JPCLN001.png, and <root>/**/masks/<structure>/JPCLN001.gif (or .png) "
    f"with the structures {', '.join(PAINTED)}"
)


def run(out: Path, *, root: Path, merge_sides: bool = True, simulate_gaze: bool = False, seed: int = 0) -> Dataset:
    """Make a dataset folder of SCR; images are written into it as PNG, at the size of the masks.

    Sorted patients are shared out to train, val and test as 172 / 25 / 50; the labelled subsets take them in that
    order.

    Args:
        out: The folder to make.
        root: Folder of the data, searched through.
        merge_sides: Make left and right one class: lungs, heart, clavicles. Else there are five.
        simulate_gaze: Draw the gaze of the training cases from their masks.
        seed: Decides the simulated gaze.

    Raises:
        DataError: if something is missing, broken or does not fit together; nothing is written then.
    """
    images, masks = _find(root)
    split_of = split_in_order(images, COUNTS)
    names = [MERGED.get(name, name) if merge_sides else name for name in PAINTED]
    classes = ("background", *dict.fromkeys(names))
    info = DatasetInfo(
        name="SCR",
        classes=classes,
        modality="radiograph",
        roots=Roots(),
        split_note="own split by sorted patients in the proportion 172 / 25 / 50; not a published split",
        labelled_order=tuple(name for name, split in split_of.items() if split == "train"),
        citation="Shiraishi et al., Development of a Digital Image Database for Chest Radiographs, AJR 174, 2000; van "
        "Ginneken et al., Segmentation of Anatomical Structures in Chest Radiographs, MedIA 10(1), 2006",
    )

    def volumes() -> Iterator[Volume]:
        for name, path in track(images.items(), "reading radiographs", len(images)):
            labels = _painted(masks[name], [classes.index(found) for found in names], name)
            pixels, spacing_mm = _pixels(path, labels.shape)
            spacing = None if spacing_mm is None else (1.0, spacing_mm, spacing_mm)
            yield Volume(name, name, split_of[name], pixels[None], labels[None], path, spacing)

    return import_volumes(out, info, volumes(), single=True, simulate_seed=seed if simulate_gaze else None)


def _find(root: Path) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """Return the image of each patient, and the mask of each of its structures."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that holds JSRT's images and SCR's masks")
    images: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("JPC*")):
        structure = path.parent.name.lower().replace("_", " ")
        if structure in PAINTED:
            masks.setdefault(path.stem, {})[structure] = path
        elif path.suffix.lower() in (".img", ".png", ".tif", ".tiff"):
            if path.stem in images:
                raise DataError(f"{path}: '{path.stem}' is there already as {images[path.stem]}; keep one of the two")
            images[path.stem] = path
    if not images or not masks:
        raise DataError(f"{root}: no {'mask' if images else 'image'} of SCR below it; expected {LAYOUT}")
    for name in images:
        lost = [structure for structure in PAINTED if structure not in masks.get(name, {})]
        if lost:
            raise DataError(f"{root}: no mask of the {lost[0]} of '{name}'; expected {LAYOUT}")
    without = sorted(set(masks) - set(images))
    if without:
        warn(f"{root}: {len(without)} masked patients have no image and are left out, e.g. '{without[0]}'")
    return images, masks


def _painted(files: Mapping[str, Path], indices: list[int], name: str) -> UInt8Array:
    """Paint the structures of one patient over each other, (H, W)."""
    labels: UInt8Array | None = None
    for structure, index in zip(PAINTED, indices, strict=True):
        path = files[structure]
        try:
            with Image.open(path) as picture:
                inside = np.asarray(picture.convert("L")) > 127
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{path}: cannot be read ({error}); download it again") from None
        if labels is None:
            labels = np.zeros(inside.shape, np.uint8)
        if inside.shape != labels.shape:
            raise DataError(f"{path}: {inside.shape}, but the other masks of '{name}' are {labels.shape}")
        labels[inside] = index
    assert labels is not None  # noqa: S101 -- there are structures
    return labels


def _pixels(path: Path, size: tuple[int, ...]) -> tuple[npt.NDArray[Any], float | None]:
    """Read a radiograph at the size of its masks, by averaging blocks; also the mm of a pixel where they are known."""
    if path.suffix.lower() != ".img":
        return _shrunk(read_image(path, 1)[..., 0], size, path)[0], None
    content = path.read_bytes()
    if len(content) != 2 * SIDE * SIDE:
        raise DataError(
            f"{path}: {len(content)} bytes, expected {2 * SIDE * SIDE} of a raw {SIDE} x {SIDE} image; restore it"
        )
    film = np.frombuffer(content, ">u2").reshape(SIDE, SIDE)
    pixels, factor = _shrunk((LEVELS - 1) - film.astype(np.float64), size, path)
    return pixels, RAW_MM * factor


def _shrunk(image: npt.NDArray[Any], size: tuple[int, ...], path: Path) -> tuple[npt.NDArray[Any], int]:
    factor = image.shape[0] // size[0]
    if factor < 1 or image.shape != (size[0] * factor, size[1] * factor):
        raise DataError(
            f"{path}: the image is {image.shape[0]} x {image.shape[1]} but its masks are {size[0]} x {size[1]}; "
            "expected the size of the masks or a multiple of it"
        )
    if factor == 1:
        return image, 1
    means = image.reshape(size[0], factor, size[1], factor).mean(axis=(1, 3))
    return (np.rint(means).astype(np.uint8) if image.dtype == np.uint8 else means), factor
