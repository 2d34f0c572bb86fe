"""Runs of a grid as SLURM jobs through submitit; the job is the same process as on one machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazeseg.ablate.grid import Run, SlurmConfig
from gazeseg.ablate.job import Job
from gazeseg.errors import MissingDependencyError

FOLDER = ".submitit"  # below the grid's results: scripts and output of the queue


@dataclass(slots=True)
class Queued:
    """A run that the queue has."""

    job: Any  # submitit.Job[int]

    def poll(self) -> int | None:
        """Return the exit status, None while it waits or goes on; 1 where the queue itself lost it."""
        if not self.job.done():
            return None
        return 1 if self.job.exception() is not None else int(self.job.result())

    def stop(self) -> None:
        """Leave it in the queue: the same command finds it there again."""


def submit(
    jobs: Mapping[str, Job], out: Path, config: SlurmConfig, at_once: int, cluster: str = "slurm"
) -> Callable[[Run], Queued]:
    """Hand all jobs to the queue as one array, but for those that an earlier call queued and that are not done.

    Args:
        jobs: By the name of their run.
        out: The folder of the grid's results.
        config: What each job asks for.
        at_once: How many may run at the same time.
        cluster: ``slurm``, or submitit's ``local`` and ``debug`` for trying it out.

    Returns:
        What gives the queued job of a run.

    Raises:
        MissingDependencyError: without the extra ``slurm``.
    """
    try:
        submitit = importlib.import_module("submitit")
    except ImportError:
        raise MissingDependencyError("submitit", "slurm") from None
    executor = submitit.AutoExecutor(folder=out / FOLDER, cluster=cluster)
    executor.update_parameters(
        timeout_min=config.timeout_min,
        cpus_per_task=config.cpus,
        gpus_per_node=config.gpus,
        mem_gb=config.memory_gb,
        name="gazeseg",
        slurm_array_parallelism=at_once,
        **{
            f"slurm_{key}": value
            for key, value in (("partition", config.partition), ("account", config.account))
            if value is not None
        },
    )
    queued = {name: job for name, job in _queued(submitit, jobs, out).items() if cluster == "slurm" and not job.done()}
    fresh = [name for name in jobs if name not in queued]
    if fresh:
        with executor.batch():
            queued |= {name: executor.submit(jobs[name]) for name in fresh}
    for name in fresh:
        _ticket(jobs[name]).write_text(f"{queued[name].job_id}\n", encoding="utf-8")
    return lambda run: Queued(queued[run.name])


def _queued(submitit: Any, jobs: Mapping[str, Job], out: Path) -> dict[str, Any]:
    """Return the SLURM jobs that earlier calls wrote down."""
    tickets = {name: _ticket(job) for name, job in jobs.items() if _ticket(job).is_file()}
    return {
        name: submitit.SlurmJob(out / FOLDER, ticket.read_text(encoding="utf-8").strip())
        for name, ticket in tickets.items()
    }


def _ticket(job: Job) -> Path:
    """The file that holds the id of a run's SLURM job."""
    folder = Path(job.folder)
    return folder.with_name(f"{folder.name}.slurm")
