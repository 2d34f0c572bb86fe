"""Pseudo-masks of many images: throughput and memory of `gazeseg masks` against the number of images.

    python benchmarks/masks_scale.py --data DS                                   # 500, 2,000 and 10,000 images, 2 jobs
    python benchmarks/masks_scale.py --data DS --counts 100,300 --json FILE.json

The images are real: the training cases of DS, under new case ids. A copy is a line in `cases.csv` that names the file
of the original, and its gaze again in `fixations.csv` (0.7 kB), so no image is written. `gazeseg masks` writes 0.58 MiB
an image on Kvasir-SEG (5.7 GiB for 10,000) below --work; every folder is removed before the next number of images,
unless --keep. All numbers cycle through the same originals, evenly spread, so that they have the same mean size. Each
number runs in a process of its own. Memory is the proportional set size (Linux) of that process and its workers
together, sampled ten times a second: pages that they share count once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from gazeseg.data.dataset import Dataset, write_dataset

LINEAR = 0.1  # the cost of an image may differ by this share of the highest
CONSTANT_MB = 200.0  # memory may grow by this much from the fewest images to the most


def copies(source: Dataset, count: int, distinct: int, root: Path) -> None:
    """Write a data set of ``count`` cases on the images of ``distinct`` training cases."""
    train = source.split("train")
    chosen = [train[k * len(train) // distinct] for k in range(distinct)]
    cases, fixations = [], []
    for number in range(count):
        case = chosen[number % distinct]
        name = f"{case.case_id}-{number // distinct:05d}"
        cases.append(dataclasses.replace(case, case_id=name, patient_id=name))
        fixations.append(dataclasses.replace(source.fixations[case.case_id], image_id=name))
    write_dataset(root, source.info, cases, fixations)


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def memory_mb(pid: int) -> float:
    """Return the proportional set size of a process and its children, 0 where the system does not tell."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(data: Path, jobs: int, keys: list[str]) -> dict[str, Any]:
    """Run ``gazeseg masks`` on a data set in a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "gazeseg", "masks", str(data), "--jobs", str(jobs), *keys]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 -- our own command
        command, stdout=subprocess.DEVNULL, env={**os.environ, **threads}
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory_mb(process.pid))
        time.sleep(0.1)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"gazeseg masks ended with status {process.returncode}")
    pseudo = data / "pseudo"
    return {
        "seconds": seconds,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": peak,
        "written_mb": sum(file.stat().st_size for file in pseudo.rglob("*") if file.is_file()) / 2**20,
    }


def main() -> int:
    """Print a line a number of images; exit 1 where it is not linear, or memory is not constant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a data set folder with gaze; it is only read")
    parser.add_argument("--counts", default="500,2000,10000", help="numbers of images")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, help="where copies and masks go; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the folders of --work there")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments, keys = parser.parse_known_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    source = Dataset.load(arguments.data)
    distinct = min([*counts, len(source.split("train"))])
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        for count in counts:
            root = work / f"masks-{count}"
            copies(source, count, distinct, root)
            row = {"images": count, **measure(root, arguments.jobs, keys)}
            row |= {"images_per_s": count / row["seconds"], "core_s_per_image": row["cpu_s"] / count}
            rows.append(row)
            if not arguments.keep:
                shutil.rmtree(root)
            print(
                f"{count:>7,} images  {row['images_per_s']:6.2f} /s  {row['core_s_per_image']:.3f} core s an image  "
                f"peak {row['peak_mb']:6.0f} MB  written {row['written_mb']:7.0f} MB",
                flush=True,
            )
    # Core seconds, because the wall clock of a shared machine says more about its other users; of each further image,
    # because what the process costs before its first image has nothing to do with their number.
    pairs = list(pairwise(rows))
    costs = [(b["cpu_s"] - a["cpu_s"]) / (b["images"] - a["images"]) for a, b in pairs] or [rows[0]["core_s_per_image"]]
    spread, growth = 1 - min(costs) / max(costs), max(row["peak_mb"] for row in rows) - rows[0]["peak_mb"]
    met = spread <= LINEAR and growth <= CONSTANT_MB
    further = ", ".join(f"{cost:.3f}" for cost in costs)
    verdict = "met" if met else "MISSED"
    print(f"cost of a further image {further} core s (within {spread:.1%}), memory +{growth:.0f} MB: {verdict}")
    if arguments.json:
        document = {
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "dataset": source.info.name,
            "distinct_images": distinct,
            "jobs": arguments.jobs,
            "keys": keys,
            "rows": rows,
            "core_s_per_further_image": costs,
            "cost_spread": spread,
            "memory_growth_mb": growth,
            "met": met,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
