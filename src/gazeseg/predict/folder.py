"""Masks for a folder of images, or for one file: class-index PNGs at native size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from gazeseg.console import track, warn
from gazeseg.data.images import IMAGE_SUFFIXES, read_image, safe_name, write_image, write_map
from gazeseg.errors import DataError
from gazeseg.predict.predictor import Predictor
from gazeseg.types import UInt8Array

_CHUNK = 16  # native images held at once
_READERS = 2  # decoding threads; the codecs release the interpreter lock


def predict_folder(predictor: Predictor, inputs: Path, out: Path, *, probabilities: bool = False) -> dict[Path, str]:
    """Segment every image below ``inputs`` and write ``out/<same folders>/<stem>.png``.

    Masks hold class indices at native size, in the orientation in which a viewer displays the image (EXIF applied).
    Two images that differ in their ending alone keep it: ``a.jpg`` and ``a.png`` become ``a.jpg.png`` and
    ``a.png.png``. Hidden files and what lies in ``out`` are left out, files that are no image get a warning.

    Args:
        predictor: The model.
        inputs: A folder, searched through, or one image of any ending; any names.
        out: Where masks go; made if missing, files of the same name are replaced.
        probabilities: Also write ``out/probabilities/<class>/<same folders>/<stem>.png`` for each foreground class:
            16-bit grey, round(65535 p).

    Returns:
        The images that could not be done, each with the reason; the others are done.

    Raises:
        DataError: if ``inputs`` is missing or holds no image, ``out`` is the same folder, or a file cannot be written.
    """
    inputs, out = Path(inputs), Path(out)
    targets = _targets(inputs, out)
    try:
        out.mkdir(parents=True, exist_ok=True)  # before hours of prediction, not after
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error}); choose another folder") from None
    failures: dict[Path, str] = {}
    sources = iter(track(targets, "predict", len(targets)))
    with ThreadPoolExecutor(_READERS) as pool:
        while chunk := list(islice(sources, _CHUNK)):
            images: dict[Path, UInt8Array] = {}
            for path, image in zip(chunk, pool.map(_read, chunk), strict=True):
                if isinstance(image, DataError):
                    failures[path] = str(image).removeprefix(f"{path}: ")
                else:
                    images[path] = image
            for path, values in zip(images, predictor.probabilities(list(images.values())), strict=True):
                write_image(out / targets[path], values.argmax(axis=0).astype(np.uint8))
                for index, name in enumerate(predictor.task.classes[1:] if probabilities else (), start=1):
                    # an interpolated probability may leave [0, 1] by rounding alone
                    write_map(out / "probabilities" / safe_name(name) / targets[path], values[index].clip(0, 1))
    return failures


def _read(path: Path) -> UInt8Array | DataError:
    """Return the image, or what is wrong with it."""
    try:
        return read_image(path)
    except DataError as error:
        return error


def _targets(inputs: Path, out: Path) -> dict[Path, Path]:
    """Return the mask file of each image, relative to ``out``."""
    if not inputs.exists():
        raise DataError(f"{inputs}: no such file or folder; give an image or the folder that holds the images")
    base = inputs if inputs.is_dir() else inputs.parent
    if out.resolve() == base.resolve():
        raise DataError(f"{out}: holds the images, which masks of the same name would replace; choose another folder")
    sources = list(_images(inputs, out)) if inputs.is_dir() else [inputs]
    if not sources:
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise DataError(f"{inputs}: no image in it ({kinds}); give an image or the folder that holds the images")
    short = {path: path.relative_to(base).with_suffix(".png") for path in sources}
    full = {path: target.with_name(f"{path.name}.png") for path, target in short.items()}
    count = Counter(short.values())
    mixed = {path: target if count[target] == 1 else full[path] for path, target in short.items()}
    # a.jpg, a.png and a.jpg.png: the longer name of the first is the shorter one of the third
    return mixed if len(set(mixed.values())) == len(mixed) else full


def _images(folder: Path, out: Path) -> Iterator[Path]:
    """Yield the images below ``folder``, sorted."""
    others = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.resolve().is_relative_to(out.resolve()):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
        else:
            others.append(path.name)
    if others:
        warn(f"{folder}: {len(others)} files are no images by their ending and are left out, e.g. '{others[0]}'")
