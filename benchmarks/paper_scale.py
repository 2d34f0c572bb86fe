"""Time the published recipe of a method on one device, 3 seeds.

Usage: python benchmarks/paper_scale.py --method gazemedseg [--data DS] [--iterations 15000] [--size 224] [--batch 8]
       [--seeds 3] [--precision bf16-mixed] [--compile] [--network basic_unet] [--cases 900] [--out FILE.json]

The methods on gaze alone have Kvasir-SEG's recipe (224 px, batch 8, 15,000 iterations), the semi-supervised ones that
of ACDC (256 px, batch 12 + 12, SSL4MIS's U-Net; bcp and hg_dtgl 10,000 + 30,000 iterations, all timed as the dearer
second stage). Prints iterations a second, peak memory, seconds a run and what the whole recipe would take; the goal is
ten minutes a run on a Hopper GPU, twelve for fgi, 25 for ACDC. It runs the real trainer with its log and checkpoints.
Without --data the images, and the text embeddings where a method reads text, are synthetic, in memory, as many as the
data set has for training. Fewer iterations give the projection, also on a CPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gazeseg.config import RunConfig, build
from gazeseg.data.cache import Store
from gazeseg.data.dataset import Case
from gazeseg.data.loader import TEXT, TrainLoader
from gazeseg.data.pseudo import DEFAULT_THRESHOLDS
from gazeseg.data.text import CaseTexts, TextStore
from gazeseg.methods import available, create
from gazeseg.train.run import train
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.trainer import fit, resolve_device
from gazeseg.types import Fixations


@dataclass(frozen=True)
class Recipe:
    """What a method was published with."""

    iterations: int = 15_000
    goal_s: float = 600.0
    size: int = 224
    batch: int = 8
    network: str = "basic_unet"
    cases: int = 900
    channels: int = 3
    classes: int = 2
    data: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


ACDC = Recipe(
    iterations=30_000,
    goal_s=1500.0,
    size=256,
    batch=24,
    network="dropout_unet",
    cases=1312,
    channels=1,
    classes=4,
    data={
        "normalise": "unit",
        "labelled": 0.1,
        "labelled_per_batch": 12,
        "augment": {"flip_horizontal": 0, "flip_vertical": 0, "rates": [0.5, 0.25, 0.25]},
    },
    train={"nesterov": False, "momentum": 0.9, "weight_decay": 1e-4, "lr_min": 0, "schedule": "poly"},
)
TWO_STAGES = replace(ACDC, iterations=40_000, train={**ACDC.train, "schedule": "constant"})
RECIPES = {
    "fgi": Recipe(goal_s=720.0),
    "mean_teacher": ACDC,
    "ua_mt": ACDC,
    "bcp": TWO_STAGES,
    "hg_dtgl": TWO_STAGES,
}
TOKENS = 64  # about as many as a sentence of six fields has
GIB = 2**30


def synthetic_store(recipe: Recipe, count: int, size: int) -> Store:
    """Return ``count`` noisy discs, one inside the other for each class, with masks, soft maps and gaze."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    image = np.empty((count, size, size, recipe.channels), np.uint8)
    mask = np.empty((count, size, size), np.uint8)
    soft = np.empty((count, size, size), np.uint8)
    cases, gaze = [], []
    for i in range(count):
        cy, cx = rng.uniform(0.3, 0.7, 2)
        distance = np.hypot(y - cy, x - cx)
        mask[i] = sum((distance < 0.2 / k).astype(np.uint8) for k in range(1, recipe.classes))
        soft[i] = np.round(255 * np.exp(-((distance / 0.2) ** 2)))
        noise = rng.integers(0, 100, (size, size, recipe.channels), dtype=np.uint8)
        image[i] = noise + (100 * (mask[i] > 0).astype(np.uint8) + 10 * mask[i])[..., None]
        cases.append(Case(f"{i}", f"{i}", "train", None, Path("in memory"), size, size))
        x_px, y_px = (centre * size + 0.05 * size * rng.standard_normal(25) for centre in (cx, cy))
        onsets, durations = np.linspace(0.0, 7200.0, 25), np.full(25, 250.0)
        gaze.append(Fixations(x_px, y_px, onsets, durations, (size, size), f"{i}"))  # 25: the median of Kvasir-SEG
    return Store(
        cases=tuple(cases),
        size=(size, size),
        num_classes=recipe.classes,
        image=image,
        mask=mask,
        heatmap=soft,
        crf=soft,
        levels=np.stack([soft >= 255 * t for t in DEFAULT_THRESHOLDS], axis=1).astype(np.uint8),
        fixations=tuple(gaze),
    )


def synthetic_texts(store: Store, dim: int) -> CaseTexts:
    """Return random embeddings of ``TOKENS`` tokens a case."""
    count = len(store.ids)
    tokens = np.random.default_rng(0).standard_normal((count * TOKENS, dim)).astype(np.float16)
    fields = np.zeros(len(tokens), np.uint8)
    texts = TextStore(store.ids, tokens, np.full(count, TOKENS), fields, "random", "random", "", ("none",))
    return CaseTexts(texts, texts.lookup(store.ids))


def run_once(config: RunConfig, store: Store | None, out: Path) -> dict[str, float]:
    """Train once and return seconds, iterations a second in the steady state, and peak memory in GiB."""
    cuda = resolve_device(config.train.device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    if store is None:
        folder = train(config, out)
    else:
        out.mkdir()
        folder = RunFolder(out)
        method = create(
            config.method,
            network=config.network,
            in_channels=store.channels,
            num_classes=store.num_classes,
            levels=len(DEFAULT_THRESHOLDS),
            seed=config.train.seed,
        )
        loader = TrainLoader(
            store,
            data=config.data,
            pseudo=config.pseudo,
            partial=config.partial,
            needs=method.needs,
            batch_size=config.train.batch_size,
            seed=config.train.seed,
            device=resolve_device(config.train.device),
            text=synthetic_texts(store, method.text_dim or 384) if method.needs & TEXT else None,
        )
        fit(method, loader, config=config.train, folder=folder)
    seconds = time.perf_counter() - began
    speeds = [row["it_per_s"] for row in folder.metrics() if "it_per_s" in row]
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": round(seconds, 2),
        "it_per_s": statistics.median(speeds[1:] or speeds),  # the first window holds tuning and compilation
        "peak_memory_gib": round(peak / GIB, 3),
    }


def main() -> int:
    """Time the runs; exit 1 when the goal is missed on a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=sorted(available()), default="gazemedseg")
    parser.add_argument("--data", type=Path, help="a dataset folder with pseudo-masks; default: synthetic images")
    parser.add_argument("--iterations", type=int, help="default: all of the recipe")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", choices=["bf16-mixed", "32-true"], help="default: bf16-mixed on a GPU")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--network")
    parser.add_argument("--cases", type=int, help="synthetic images; Kvasir-SEG trains on 900, ACDC on 1,312")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()

    cuda = torch.cuda.is_available()
    precision = arguments.precision or ("bf16-mixed" if cuda else "32-true")
    recipe = RECIPES.get(arguments.method, Recipe())
    for name in ("iterations", "size", "batch", "network", "cases"):
        if getattr(arguments, name) is None:
            setattr(arguments, name, getattr(recipe, name))
    store = None if arguments.data else synthetic_store(recipe, arguments.cases, arguments.size)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            values = {
                "method": {"name": arguments.method},
                "data": {"path": arguments.data, "size": [arguments.size, arguments.size], **recipe.data},
                "network": {"name": arguments.network},
                "pseudo": {} if arguments.data else {"thresholds": DEFAULT_THRESHOLDS},
                "train": {
                    **recipe.train,
                    "iterations": arguments.iterations,
                    "batch_size": arguments.batch,
                    "precision": precision,
                    "compile": arguments.compile,
                    "seed": seed,
                    "log_every": max(1, min(20, arguments.iterations // 5)),
                },
            }
            figures = run_once(build(RunConfig, values, "paper_scale"), store, Path(folder) / f"seed-{seed}")
            start_s = max(0.0, figures["seconds"] - arguments.iterations / figures["it_per_s"])
            projected = round(start_s + recipe.iterations / figures["it_per_s"], 1)
            runs.append({"seed": seed, **figures, "projected_s": projected})
            print(
                f"seed {seed}: {arguments.iterations} iterations in {figures['seconds']:.1f} s, "
                f"{figures['it_per_s']:.2f} it/s, peak {figures['peak_memory_gib']:.2f} GiB; "
                f"{recipe.iterations} take {projected / 60:.1f} min",
                flush=True,
            )
    goal_s = recipe.goal_s
    mean_s = statistics.fmean(run["projected_s"] for run in runs)
    document = {
        "method": arguments.method,
        "network": arguments.network,
        "data": "real" if arguments.data else "synthetic",
        "size": arguments.size,
        "batch": arguments.batch,
        "iterations": arguments.iterations,
        "precision": precision,
        "compile": arguments.compile,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "runs": runs,
        "published_iterations": recipe.iterations,
        "projected_s": round(mean_s, 1),
        "goal_s": goal_s,
        "met": mean_s <= goal_s,
    }
    print(f"mean: {mean_s / 60:.1f} min a run of {recipe.iterations}; goal {goal_s / 60:.0f} min on a Hopper GPU")
    if arguments.out:
        arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if document["met"] or not cuda else 1


if __name__ == "__main__":
    raise SystemExit(main())
