"""Pseudo-masks of many images as submitit jobs: every n-th case a shard, each resumable, joined at the end.

A shard is an ordinary pseudo-mask folder below ``OUT/.shards``; what is finished of it stays, whoever is killed. What
all will cost is estimated on a few images before the first job starts.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from gazeseg.ablate.grid import SlurmConfig
from gazeseg.config import MasksConfig, build, read_yaml, write_yaml
from gazeseg.console import say, track
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.pseudo import PseudoFolder, case_maps, make_masks
from gazeseg.errors import ConfigError, GazeSegError, MissingDependencyError

FOLDER: Final = ".shards"
SAMPLE: Final = 5  # images that the estimate computes, after one that compiles and fills the caches

Cluster = Literal["local", "slurm", "debug"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a mask generation will take, from a few images."""

    images: int
    core_s: float  # CPU time of one image on one core
    workers: int  # cores of all jobs together

    @property
    def core_hours(self) -> float:
        """CPU time of all images."""
        return self.images * self.core_s / 3600

    def to_text(self) -> str:
        """Say it in one line."""
        wall_min = 60 * self.core_hours / self.workers
        return (
            f"{self.images:,} images at {self.core_s:.3f} s of one core ({SAMPLE} tried): {self.core_hours:.2f} core "
            f"hours, about {wall_min:.1f} min on {self.workers} free cores; writing not counted"
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """What a job has to know; paths are absolute."""

    dataset: str
    config: str
    folder: str
    number: int
    count: int
    threads: int

    def __call__(self) -> str:
        """Make what is missing of the shard; return its folder."""
        dataset = _part(Dataset.load(Path(self.dataset)), self.number, self.count)
        config = build(MasksConfig, read_yaml(Path(self.config)), self.config)
        return str(make_masks(dataset, Path(self.folder), config, jobs=self.threads).path)

    def checkpoint(self) -> Any:
        """Tell submitit what to queue when the time of the job is up: the same again, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def estimate(dataset: Dataset, config: MasksConfig, workers: int) -> Cost:
    """Compute the maps of a few images and return what all of them will take."""
    wanted = [case for case in dataset.cases if case.split != "test"]
    cases = [case for case in wanted if len(dataset.fixations[case.case_id])]
    chosen = cases[:: max(1, len(cases) // (SAMPLE + 1))][: SAMPLE + 1]
    spent = []
    for case in chosen:
        began = time.process_time()
        case_maps(dataset, case, config)
        spent.append(time.process_time() - began)
    return Cost(len(wanted), statistics.fmean(spent[1:] or spent or [0.0]), workers)


def make_masks_in_shards(
    dataset: Dataset,
    out: Path,
    config: MasksConfig,
    *,
    shards: int,
    cluster: Cluster = "local",
    slurm: SlurmConfig | None = None,
) -> PseudoFolder:
    """Make a pseudo-mask folder by several jobs.

    Args:
        dataset: Where images and fixations come from.
        out: The folder.
        config: A resolved configuration, see :func:`gazeseg.data.pseudo.resolve_config`.
        shards: Number of jobs.
        cluster: ``local`` processes, ``slurm``, or submitit's ``debug``, in this process.
        slurm: What each job asks for; ``cpus`` is also its number of workers.

    Raises:
        ConfigError: under a gaze control, which has to see all cases at once, or for no shard.
        GazeSegError: if a job failed; what the others did stays.
        MissingDependencyError: without the extra ``slurm``.
        DataError: as :func:`gazeseg.data.pseudo.make_masks`.
    """
    if config.gaze.control != "none":
        raise ConfigError(f"gaze.control {config.gaze.control} looks at all cases at once; leave --shards out")
    if shards < 1:
        raise ConfigError(f"--shards takes a number from 1 up, got {shards}")
    submitit = _submitit()
    asked = slurm or SlurmConfig(cpus=1)
    cost = estimate(dataset, config, shards * asked.cpus)
    say(cost.to_text())
    out = Path(os.path.abspath(out))
    below = out / FOLDER
    below.mkdir(parents=True, exist_ok=True)
    write_yaml(below / "config.yaml", config)
    root, recipe = os.path.abspath(dataset.root), str(below / "config.yaml")
    work = [Shard(root, recipe, str(below / f"{k}-of-{shards}"), k, shards, asked.cpus) for k in range(shards)]
    executor = submitit.AutoExecutor(folder=below / "jobs", cluster=cluster)
    executor.update_parameters(
        timeout_min=asked.timeout_min, cpus_per_task=asked.cpus, mem_gb=asked.memory_gb, name="gazeseg-masks"
    )
    if cluster == "slurm":
        given = {"slurm_partition": asked.partition, "slurm_account": asked.account}
        executor.update_parameters(**{key: value for key, value in given.items() if value is not None})
    with executor.batch():
        jobs = [executor.submit(shard) for shard in work]
    failed = []
    for job, shard in track(zip(jobs, work, strict=True), "shards", len(work)):
        error = job.exception()
        if error is not None:
            failed.append(f"{shard.number}: {str(error).strip().splitlines()[-1]}")
    if failed:
        some = "; ".join(failed[:3])
        raise GazeSegError(
            f"{len(failed)} of {shards} shards failed ({some}); mend the cause and give the same command again"
        )
    _join([Path(shard.folder) for shard in work], out)
    folder = make_masks(dataset, out, config)  # finds everything fresh, and does what no shard had
    shutil.rmtree(below)
    return folder


def _part(dataset: Dataset, number: int, count: int) -> Dataset:
    """Return the data set with every ``count``-th case, from ``number`` on."""
    cases: tuple[Case, ...] = dataset.cases[number::count]
    fixations = {case.case_id: dataset.fixations[case.case_id] for case in cases}
    return dataclasses.replace(dataset, cases=cases, controlled_gaze=fixations)


def _join(parts: Sequence[Path], out: Path) -> None:
    """Move the files of the shards into ``out`` and put their tables together, the index last."""
    for part in parts:
        for kind in part.iterdir():
            if kind.is_dir():
                (out / kind.name).mkdir(exist_ok=True)
                for file in kind.iterdir():
                    file.replace(out / kind.name / file.name)
    for name in sorted(
        {file.name for part in parts for file in part.glob("*.csv")}, key=lambda name: name == "index.csv"
    ):
        _concatenate([part / name for part in parts if (part / name).is_file()], out / name)


def _concatenate(tables: Sequence[Path], out: Path) -> None:
    rows: list[dict[str, str]] = []
    columns: list[str] = []
    for table in [*([out] if out.is_file() else []), *tables]:
        with table.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = columns or list(reader.fieldnames or ())
            rows += reader
    temporary = out.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(out)


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError:
        raise MissingDependencyError("submitit", "slurm") from None
