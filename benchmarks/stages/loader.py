"""The loader: image, label and two soft targets, from 530 x 621 files to a batch for the network.

The published way decodes and resizes all four files of every item in every epoch and transforms item by item.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ledger import Row, time_pair
from PIL import Image
from scipy import ndimage

from gazeseg.config import AugmentConfig, DataConfig, MasksConfig, PartialConfig, PseudoConfig, write_yaml
from gazeseg.data.cache import Store, open_store
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots, write_dataset
from gazeseg.data.images import write_map
from gazeseg.data.loader import TrainLoader
from gazeseg.types import Batch, Fixations

NATIVE = (530, 621)  # the median size of Kvasir-SEG
COUNT = 24
BATCH = 8
EPOCHS = 27  # of the shortest configured run: 3,000 batches of 8 from 900 cases
FIELDS = ("mask", "crf", "heatmap")
NEEDS = frozenset({"mask", "pseudo", "weak"})
FLIPS = AugmentConfig()
ALL = AugmentConfig(rotate_deg=20, scale=0.2, brightness=0.2, contrast=0.2, saturation=0.2)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def rows() -> list[Row]:
    torch.set_num_threads(1)
    # The first activations that a network frees teach the allocator to keep freed memory; without that, both ways would
    # be timed fetching fresh pages from the system for every batch, as in no training run.
    torch.ones(7 * 2**20)  # 28 MiB: below the 32 MiB up to which glibc adapts
    world = _world()
    store = _open(world, "warm", (224, 224))
    loader = _loader(store, FLIPS)
    published = _Published(world, (224, 224), FLIPS)
    slow, fast = time_pair(published.batch, _stepper(loader), repeats=7, inner=4)
    error = _difference(published, store)
    cached = Row(
        "loader, cached, batch 8 at 224", slow, fast, error, ">= 20x at equal images", _fits(slow / fast >= 20, error)
    )

    names = (f"cold{i}" for i in itertools.count())
    decode, build = time_pair(
        lambda: published.items(range(COUNT)), lambda: _open(world, next(names), (224, 224)), repeats=3
    )
    epoch = fast * COUNT / BATCH
    slow, fast = EPOCHS * decode, build + EPOCHS * epoch
    uncached = Row(
        f"loader, no cache yet, {EPOCHS} epochs of {COUNT} cases",
        slow,
        fast,
        f"the same arrays; first pass {decode / build:.1f}x",  # decoding is decoding; it is paid once
        ">= 4x",
        slow >= 4 * fast,
    )

    small = _open(world, "small", (96, 96))
    slow, fast = time_pair(_Published(world, (96, 96), ALL).batch, _stepper(_loader(small, ALL)), repeats=7, inner=4)
    moved = Row(
        "loader, cached, batch 8 at 96, all augmentations",
        slow,
        fast,
        "transforms drawn at random",
        "< 10 ms",
        fast < 10,
    )
    return [cached, uncached, moved]


@dataclass(frozen=True)
class _World:
    """A drawn data set in a temporary folder; targets also as the 8-bit files that the published code reads."""

    dataset: Dataset
    targets: Path


class _Published:
    """Plain re-implementation of the usual per-item data set: open, convert, resize, transform, stack."""

    def __init__(self, world: _World, size: tuple[int, int], augment: AugmentConfig) -> None:
        self.cases = world.dataset.cases
        self.targets = world.targets
        self.size = size
        self.augment = augment
        self.rng = np.random.default_rng(0)

    def batch(self) -> tuple[torch.Tensor, ...]:
        """Return one random batch."""
        return self.items(self.rng.permutation(len(self.cases))[:BATCH])

    def items(self, indices: range | np.ndarray) -> tuple[torch.Tensor, ...]:
        """Return some items, stacked."""
        return tuple(torch.stack(parts) for parts in zip(*[self.item(i) for i in indices], strict=True))

    def item(self, index: int, *, augment: bool = True) -> tuple[torch.Tensor, ...]:
        """Return image, label, two levels of the first target, and the ternary split of the second."""
        case = self.cases[index]
        with Image.open(case.image) as file:
            image = file.convert("RGB").resize(self.size[::-1], Image.Resampling.BILINEAR)
        with Image.open(case.mask) as file:
            label = file.convert("L").resize(self.size[::-1], Image.Resampling.NEAREST)
        soft = []
        for kind in ("crf", "heatmap"):
            with Image.open(self.targets / kind / f"{case.case_id}.png") as file:
                values = torch.from_numpy(np.asarray(file.convert("L"), dtype=np.float32) / 255)[None, None]
            soft.append(F.interpolate(values, self.size, mode="bilinear", align_corners=False)[0, 0].numpy())
        data = {
            "image": np.asarray(image, dtype=np.float32) / 255,
            "label": (np.asarray(label) > 127).astype(np.float32),
            "crf": soft[0],
            "heatmap": soft[1],
        }
        if augment:
            data = self._augmented(data)
        pixels = torch.from_numpy(np.ascontiguousarray(((data["image"] - MEAN) / STD).transpose(2, 0, 1), np.float32))
        levels = torch.from_numpy(np.stack([data["crf"] >= 0.5, data["crf"] >= 0.3]).astype(np.int64))
        heat = data["heatmap"]
        weak = np.where(heat >= 0.6, 1, np.where(heat <= 0.3, 0, 255))
        return pixels, torch.from_numpy(data["label"].astype(np.int64)), levels, torch.from_numpy(weak)

    def _augmented(self, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        config, rng = self.augment, self.rng
        for axis in (0, 1):
            if rng.random() < 0.5:
                data = {name: np.flip(values, axis) for name, values in data.items()}
        if config.rotate_deg:
            angle, zoom = np.deg2rad(rng.uniform(-1, 1) * config.rotate_deg), 1 + rng.uniform(-1, 1) * config.scale
            inverse = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
            centre = (np.array(self.size) - 1) / 2
            offset = centre - inverse @ centre
            moved = {}
            for name, values in data.items():
                order = 0 if name == "label" else 1
                planes = np.atleast_3d(values)
                moved[name] = np.stack(
                    [
                        ndimage.affine_transform(planes[..., c], inverse, offset, order=order)
                        for c in range(planes.shape[2])
                    ],
                    axis=2,
                ).reshape(values.shape)
            image = moved["image"] * (1 + rng.uniform(-1, 1) * config.brightness)
            grey = image @ np.array([0.299, 0.587, 0.114])
            image = grey.mean() + (1 + rng.uniform(-1, 1) * config.contrast) * (image - grey.mean())
            grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
            moved["image"] = np.clip(grey + (1 + rng.uniform(-1, 1) * config.saturation) * (image - grey), 0, 1)
            data = moved
        return data


@functools.cache
def _world() -> _World:
    folder = Path(tempfile.mkdtemp(prefix="gazeseg-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: NATIVE[0], : NATIVE[1]]
    for kind in ("images", "masks", "targets/crf", "targets/heatmap"):
        (folder / kind).mkdir(parents=True)
    cases, gaze, maps = [], [], {}
    for i in range(COUNT):
        centre_x, centre_y = rng.uniform(200, 400), rng.uniform(150, 350)
        distance = np.hypot(x - centre_x, y - centre_y)
        texture = sum(ndimage.zoom(rng.normal(size=(34 * k, 40 * k)), 16 / k, order=1)[:530, :621] for k in (1, 4))
        shade = 140 + 12 * texture + 40 * (distance < 90) - distance[:, :] / 8
        frame = np.stack([shade + 40, shade * 0.7, shade * 0.5], axis=2) + rng.normal(scale=3, size=(*NATIVE, 1))
        case_id = f"case{i:02d}"
        image, mask = folder / "images" / f"{case_id}.jpg", folder / "masks" / f"{case_id}.png"
        Image.fromarray(frame.clip(0, 255).astype(np.uint8)).save(image, quality=90)
        Image.fromarray(((distance < 90) * 255).astype(np.uint8)).save(mask)
        heat = np.exp(-(distance**2) / (2 * 70**2))
        maps[case_id] = {"heatmap": heat, "crf": 1 / (1 + np.exp((distance - 90 + 10 * texture) / 4))}
        for kind, values in maps[case_id].items():
            Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(folder / "targets" / kind / f"{case_id}.png")
        cases.append(Case(case_id, case_id, "train", image, mask, *NATIVE))
        gaze.append(Fixations([centre_x], [centre_y], [0.0], [250.0], NATIVE, case_id))
    info = DatasetInfo(name="drawn", roots=Roots(images=folder / "images", masks=folder / "masks"))
    dataset = write_dataset(folder / "DS", info, cases, gaze)
    pseudo = dataset.root / "pseudo"
    for case_id, kinds in maps.items():
        for kind, values in kinds.items():
            write_map(pseudo / kind / f"{case_id}.png", values)
    write_yaml(pseudo / "config.yaml", MasksConfig.model_validate({"pseudo": {"thresholds": (0.5, 0.3)}}))
    (pseudo / "index.csv").write_text("case_id,key\n", encoding="utf-8")
    return _World(dataset, folder / "targets")


def _open(world: _World, cache: str, size: tuple[int, int]) -> Store:
    root = world.dataset.root
    return open_store(
        world.dataset,
        world.dataset.cases,
        size=size,
        fields=FIELDS,
        pseudo=root / "pseudo",
        cache_dir=root / cache,
        jobs=1,
    )


def _loader(store: Store, augment: AugmentConfig) -> TrainLoader:
    return TrainLoader(
        store,
        data=DataConfig(augment=augment),
        pseudo=PseudoConfig(thresholds=(0.5, 0.3)),
        partial=PartialConfig(),
        needs=NEEDS,
        batch_size=BATCH,
        seed=0,
    )


def _stepper(loader: TrainLoader) -> Callable[[], Batch]:
    steps = itertools.count()
    return lambda: loader.batch(next(steps))


def _difference(published: _Published, store: Store) -> str:
    """Compare unaugmented items: images in normalised units, targets by the share of pixels that differ."""
    loader = _loader(store, AugmentConfig(flip_horizontal=0, flip_vertical=0))
    batch = loader.batch(0)
    worst, pixels, differing = 0.0, 0, 0
    for b, case_id in enumerate(batch.ids):
        image, label, levels, weak = published.item(store.ids.index(case_id), augment=False)
        worst = max(worst, float((image - batch.image[b]).abs().max()))
        for theirs, ours in ((label, batch.mask[b]), (levels, batch.pseudo[b]), (weak, batch.weak[b])):
            pixels += theirs.numel()
            differing += int((theirs != ours).sum())
    return f"image {worst:.0e}, targets {100 * differing / pixels:.2f} %"


def _fits(fast_enough: bool, error: str) -> bool:
    return fast_enough and float(error.split()[1].rstrip(",")) < 1e-5
