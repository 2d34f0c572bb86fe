"""Two-stream batches of a semi-supervised run, and the largest component of each class of its pseudo-labels.

The published way (SSL4MIS's loader and BCP's clean-up, written here plainly): an h5 file a slice, opened, turned and
zoomed for every item of every batch; and a labelling of the whole slice for every class.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from ledger import Row, time_pair
from scipy import ndimage

from gazeseg.config import AugmentConfig, DataConfig, NetworkConfig, PartialConfig, PseudoConfig
from gazeseg.data.cache import Store
from gazeseg.data.dataset import Case
from gazeseg.data.loader import TrainLoader
from gazeseg.data.schema import no_fixations
from gazeseg.methods import create
from gazeseg.supervision.components import largest_components

NATIVE, SIZE = (256, 216), (256, 256)  # the median slice of ACDC, and the network's input
COUNT, LABELLED, BATCH = 72, 24, 24
CLASSES = 4
AUGMENT = AugmentConfig(flip_horizontal=0, flip_vertical=0, rates=(0.5, 0.25, 0.25))


def rows() -> list[Row]:
    torch.set_num_threads(1)
    torch.ones(7 * 2**20)  # teaches the allocator to keep freed memory, as a network in training does; see stage loader
    with tempfile.TemporaryDirectory() as folder:
        return [_loading(Path(folder)), _components()]


def _loading(folder: Path) -> Row:
    rng = np.random.default_rng(0)
    for k in range(COUNT):
        with h5py.File(folder / f"{k}.h5", "w") as file:
            file.create_dataset("image", data=rng.random(NATIVE, dtype=np.float32), compression="gzip")
            file.create_dataset("label", data=_labels(NATIVE, k), compression="gzip")
    draws, step = np.random.default_rng(1), iter(range(10**9))
    loader = _loader()

    def published() -> tuple[torch.Tensor, torch.Tensor]:
        chosen = [*draws.integers(0, LABELLED, BATCH // 2), *draws.integers(LABELLED, COUNT, BATCH // 2)]
        items = [_item(folder / f"{k}.h5", draws) for k in chosen]
        images, labels = (np.stack(part) for part in zip(*items, strict=True))
        return torch.from_numpy(images)[:, None], torch.from_numpy(labels)

    slow, fast = time_pair(published, lambda: loader.batch(next(step)), repeats=5, inner=2)
    name = "two-stream batch, 12 + 12 at 256, from the cache"
    return Row(name, slow, fast, "transforms drawn at random", ">= 20x", slow / fast >= 20)


def _item(path: Path, rng: np.random.Generator) -> tuple[Any, Any]:
    with h5py.File(path) as file:
        image, label = file["image"][:], file["label"][:]
    if rng.random() > 0.5:
        turns, axis = rng.integers(0, 4), rng.integers(0, 2)
        image, label = (np.flip(np.rot90(array, turns), axis).copy() for array in (image, label))
    elif rng.random() > 0.5:
        angle = rng.integers(-20, 20)
        image, label = (ndimage.rotate(array, angle, order=0, reshape=False) for array in (image, label))
    zoom = [new / old for new, old in zip(SIZE, image.shape, strict=True)]
    return ndimage.zoom(image, zoom, order=0), ndimage.zoom(label, zoom, order=0)


def _loader() -> TrainLoader:
    rng = np.random.default_rng(0)
    path = Path("none")
    cases = tuple(Case(f"{k}", "a" if k < LABELLED else "b", "train", path, path, *NATIVE) for k in range(COUNT))
    store = Store(
        cases=cases,
        size=SIZE,
        num_classes=CLASSES,
        image=rng.integers(0, 256, (COUNT, *SIZE, 1), dtype=np.uint8),
        mask=np.stack([_labels(SIZE, k) for k in range(COUNT)]),
        heatmap=None,
        crf=None,
        levels=None,
        fixations=tuple(no_fixations(case.case_id, NATIVE) for case in cases),
    )
    return TrainLoader(
        store,
        data=DataConfig(size=SIZE, normalise="unit", labelled=("a",), labelled_per_batch=BATCH // 2, augment=AUGMENT),
        pseudo=PseudoConfig(),
        partial=PartialConfig(),
        needs={"mask", "labelled"},
        batch_size=BATCH,
        seed=0,
    )


def _components() -> Row:
    labels = np.stack([_labels(SIZE, k) for k in range(BATCH // 2)])

    def published() -> Any:
        out = np.zeros_like(labels)
        for image, kept in zip(labels, out, strict=True):
            for value in range(1, CLASSES):
                parts, count = ndimage.label(image == value, np.ones((3, 3)))
                if count:
                    kept[parts == 1 + np.bincount(parts.ravel())[1:].argmax()] = value
        return out

    slow, fast = time_pair(published, lambda: largest_components(labels, CLASSES), inner=5)
    equal = np.array_equal(published(), largest_components(labels, CLASSES))
    share = fast / _step_ms()
    name = "largest component a class, 12 slices at 256"
    note = f"{'equal' if equal else 'NOT equal'}; {share:.1%} of a small_unet BCP step"
    return Row(name, slow, fast, note, "<= 5 % of a step", equal and share <= 0.05)


def _step_ms() -> float:
    """CPU milliseconds of one step of BCP on the same batch, with the smallest network there is."""
    method = create(
        {"name": "bcp"}, network=NetworkConfig(name="small_unet"), in_channels=1, num_classes=CLASSES, levels=1, seed=0
    )
    batch = _loader().batch(0)
    start = time.process_time()
    torch.stack(list(method.training_step(batch, 0).losses.values())).sum().backward()
    return (time.process_time() - start) * 1e3


def _labels(size: tuple[int, int], seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Rings of three classes with specks around them, as an uncertain teacher leaves them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    away = np.hypot(y - size[0] / 2 - rng.normal(0, 9), x - size[1] / 2 - rng.normal(0, 9))
    noisy = away + 12 * ndimage.gaussian_filter(rng.normal(size=size), 2)
    return np.digitize(-noisy, [-40, -30, -20]).astype(np.uint8)
