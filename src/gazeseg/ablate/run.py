"""Run what is missing of a grid: checked before anything starts, in parallel processes or as SLURM jobs.

A finished run is never touched again; a run that was interrupted goes on; a run that fails is reported and the others
go on. Killed at any moment, the same command finishes the rest.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import yaml
from rich.progress import TaskID

from gazeseg.ablate import slurm
from gazeseg.ablate.grid import Grid, Run
from gazeseg.ablate.job import BusyError, Job, last_line
from gazeseg.ablate.pace import seconds_per_step
from gazeseg.ablate.state import asked_config, is_finished, mean_dice, progress_of, refuse_changes
from gazeseg.config import RunConfig
from gazeseg.console import console, make_progress, say
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.pseudo import ensure_masks
from gazeseg.errors import ConfigError, DataError, GazeSegError, suggest
from gazeseg.gaze.control import changes_maps
from gazeseg.methods import find
from gazeseg.report.text import plural
from gazeseg.train.plan import MAPS, Plan, make_plan, own_source
from gazeseg.train.runfolder import replace_file
from gazeseg.train.validation import held_out_split

Executor = Literal["local", "slurm"]

_POLL_S = {"local": 0.5, "slurm": 10.0}


class Started(Protocol):
    """A run that is under way."""

    def poll(self) -> int | None:
        """Return the exit status, None while it goes on."""
        ...

    def stop(self) -> None:
        """End it, or let go of it."""
        ...


@dataclass(slots=True)
class Local:
    """A run in a process of this machine."""

    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        """Return the exit status, None while it goes on."""
        return self.process.poll()

    def stop(self) -> None:
        """End the process; its run goes on with the next call."""
        self.process.terminate()
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call did."""

    ran: int
    before: int  # finished before
    failures: dict[str, str] = field(default_factory=dict)  # run -> error; the others went on


def run_grid(
    grid: Grid,
    out: Path,
    *,
    data: Path | None = None,
    jobs: int | None = None,
    executor: Executor = "local",
    only: Iterable[str] = (),
) -> Outcome:
    """Run what is missing.

    Args:
        grid: The declared grid.
        out: The folder of the results: ``out/<cell>/seed<k>`` is a run folder, with its log beside it.
        data: The data set to score on, where it is not the one trained on.
        jobs: Runs at a time; by default one for two cores, one in all where PyTorch finds a GPU. With SLURM the
            number of jobs that may run at once; by default all.
        executor: ``local`` processes or ``slurm``.
        only: Cells to run; all by default.

    Raises:
        ConfigError: if a cell's configuration does not fit, or differs from the one its runs began with.
        DataError: if a data set lacks what a cell learns from, or the masks to score with.
    """
    out, chosen = Path(os.path.abspath(out)), _chosen(grid, only)
    for run in grid.runs(out):
        refuse_changes(run)
    runs = [run for run in grid.runs(out) if run.cell.name in chosen]
    todo = [run for run in runs if not is_finished(run, grid.evaluation)]
    before = len(runs) - len(todo)
    if not todo:
        return Outcome(0, before)
    on_gpu = any(_uses_gpu(asked_config(run)) for run in todo)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = jobs or (len(todo) if executor == "slurm" else 1 if on_gpu else max(1, cores // 2))
    threads = grid.slurm.cpus if executor == "slurm" else max(1, cores // at_once)
    measures = executor == "local" and not _time_left(runs, todo, at_once)  # the machine of a SLURM job is another one
    pseudo, steps = _prepare(todo, grid, data, threads if measures else None)
    say(_forecast(runs, todo, at_once, steps))
    described = {run.name: _describe(run, grid, data, pseudo[run.cell.name], threads) for run in todo}
    start: Callable[[Run], Started]
    if executor == "slurm":
        start = slurm.submit({run.name: described[run.name] for run in todo}, out, grid.slurm, at_once)
        at_once = len(todo)
    else:

        def start(run: Run) -> Started:
            return Local(described[run.name].start())

    together = at_once if executor == "local" else min(len(todo), jobs or len(todo))
    failures = _execute(
        todo, start, grid.evaluation, at_once, _POLL_S[executor], lambda: _time_left(runs, todo, together)
    )
    return Outcome(len(todo), before, failures)


def _chosen(grid: Grid, only: Iterable[str]) -> set[str]:
    names = {cell.name for cell in grid.cells}
    for name in only:
        if name not in names:
            raise ConfigError(f"--only: '{name}' is no cell of {grid.path}{suggest(name, names)}")
    return set(only) or names


def _prepare(
    todo: Sequence[Run], grid: Grid, data: Path | None, threads: int | None
) -> tuple[dict[str, Path | None], dict[str, float]]:
    """Find what is wrong with any cell before the first one starts; make the pseudo-masks of gaze controls.

    Args:
        todo: The runs.
        grid: The grid.
        data: The data set to score on, where it is not the one trained on.
        threads: Measure the time of a step, once for each method, with so many threads; None: do not.

    Returns:
        By cell, the folder of its controlled pseudo-masks, None where it learns from those that its keys name; and the
        seconds of a step, empty where they are not measured.
    """
    pseudo: dict[str, Path | None] = {}
    steps: dict[str, float] = {}
    by_method: dict[str, float] = {}
    notes: dict[str, None] = {}
    for run in {run.cell.name: run for run in todo}.values():
        config = asked_config(run)
        try:
            pseudo[run.cell.name] = path = _controlled_masks(config)
            if path is not None:
                config = config.model_copy(update={"data": config.data.model_copy(update={"pseudo": path})})
            with console.capture() as captured:  # every cell would print the same warnings about the data
                plan = make_plan(config)
            truth = Dataset.load(data) if data else plan.dataset
        except GazeSegError as error:
            raise type(error)(f"{grid.path}: cell '{run.cell.name}': {error}") from None
        notes |= dict.fromkeys(captured.get().splitlines())
        cases = _scored(truth, grid, plan)
        bare = [case.case_id for case in cases if case.mask is None]
        if bare or not cases:
            what = f"case '{bare[0]}' has no mask" if bare else "there is no case"
            raise DataError(
                f"{truth.root}: {what} in split '{grid.split}', which every run is scored on; name a data set with "
                "masks with --evaluate-data DS"
            )
        if threads is not None:
            name = plan.method.name
            by_method[name] = by_method.get(name) or seconds_per_step(plan, threads)
            steps[run.cell.name] = by_method[name]
    for note in notes:
        say(note)
    return pseudo, steps


def _scored(truth: Dataset, grid: Grid, plan: Plan) -> tuple[Case, ...]:
    """Return the cases of ``truth`` that a cell is scored on: of the split, or what its training holds out of train."""
    if grid.split != "val" or truth.split("val"):
        return truth.split(grid.split)
    if grid.hold_out_seed is None:
        raise ConfigError(
            f"{grid.path}: {truth.root} has no split 'val'; add hold_out_seed: 0 to the grid, which keeps a part of "
            "'train' out of every cell"
        )
    cases = held_out_split(truth, plan.config.train)[1]
    if {case.case_id for case in cases} != {case.case_id for case in plan.validation}:
        raise DataError(
            f"{truth.root}: has other training cases than {plan.dataset.root}, so that cells would be scored on cases "
            "that they learnt from; name a data set of the same cases with --evaluate-data DS"
        )
    return cases


def _controlled_masks(config: RunConfig) -> Path | None:
    """Make the pseudo-masks of a run under a gaze control, once for all runs that share it."""
    name = config.method.get("name")
    if config.data.path is None or not isinstance(name, str) or not changes_maps(config.gaze):
        return None
    return ensure_masks(own_source(config), Dataset.load(config.data.path)) if find(name).needs & MAPS else None


def _uses_gpu(config: RunConfig) -> bool:
    from gazeseg.train.trainer import resolve_device

    return resolve_device(config.train.device).type == "cuda"


def _describe(run: Run, grid: Grid, data: Path | None, pseudo: Path | None, threads: int) -> Job:
    """Write down what is asked of a run and return its job."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(run.cell.asked(run.seed), sort_keys=False, allow_unicode=True)
    replace_file(run.asked_file, text.encode())
    return Job(
        asked=str(run.asked_file),
        folder=str(run.folder),
        log=str(run.log_file),
        split=grid.split,
        legacy=grid.protocol == "legacy",
        by=grid.by,
        data=os.path.abspath(data) if data else None,
        pseudo=str(pseudo) if pseudo else None,
        threads=asked_config(run).train.threads or threads,
    )


def _forecast(runs: Sequence[Run], todo: Sequence[Run], at_once: int, steps: Mapping[str, float]) -> str:
    """Say how much there is to do, and about how long it takes or why nobody can tell."""
    text = f"{plural(len(runs), 'run')}: {len(runs) - len(todo)} finished, {len(todo)} to do, {at_once} at a time"
    if left := _time_left(runs, todo, at_once):
        return f"{text}; {left}"
    if steps:
        seconds = sum(steps[run.cell.name] * asked_config(run).train.iterations for run in todo) / at_once
        return f"{text}; about {seconds / 60:.0f} min of training by one step of each method on random numbers"
    first = asked_config(todo[0]).train.log_every
    return f"{text}; no estimate of the time before the first run has done {plural(first, 'iteration')}"


def _time_left(runs: Sequence[Run], todo: Sequence[Run], at_once: int) -> str:
    """Say about how long the training takes by the rate of what has been logged; empty where nothing has."""
    rates = [seconds / step for step, seconds, _ in map(progress_of, runs) if step]
    if not rates:
        return ""
    left = sum(asked_config(run).train.iterations - progress_of(run)[0] for run in todo)
    return f"about {statistics.median(rates) * left / at_once / 60:.0f} min of training at the median rate so far"


def _execute(
    todo: Sequence[Run],
    start: Callable[[Run], Started],
    evaluation: str,
    at_once: int,
    poll_s: float,
    time_left: Callable[[], str],
) -> dict[str, str]:
    """Run everything, at most ``at_once`` at a time; return the failures.

    ``time_left`` is said once there is something to say.
    """
    failures: dict[str, str] = {}
    told = bool(time_left())
    waiting = list(todo)
    running: dict[str, tuple[Run, Started, TaskID]] = {}
    with make_progress() as progress:
        overall = progress.add_task("runs", total=len(todo), note="")
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    run = waiting.pop(0)
                    try:
                        started = start(run)
                    except BusyError as error:
                        failures[run.name] = str(error)
                        say(f"{run.name}: {error}")
                        progress.advance(overall)
                        continue
                    bar = progress.add_task(run.name, total=asked_config(run).train.iterations, note="")
                    running[run.name] = (run, started, bar)
                time.sleep(poll_s)
                if not told and (left := time_left()):
                    say(left)
                    told = True
                for run, started, bar in list(running.values()):
                    status = started.poll()
                    step, seconds, rate = progress_of(run)
                    progress.update(bar, completed=step, note=f"{rate:.1f} it/s" if rate else "")
                    if status is None:
                        continue
                    del running[run.name]
                    progress.remove_task(bar)
                    progress.advance(overall)
                    if status == 0:
                        dice = mean_dice(run, evaluation)
                        score = "no score" if dice is None else f"Dice {dice:.3f}"
                        say(f"{run.name}: {score}, {seconds / 60:.1f} min of training")
                    else:
                        failures[run.name] = _reason(run, status)
                        say(f"{run.name}: failed: {failures[run.name]} ({run.log_file})")
        finally:
            for _, started, _ in running.values():
                started.stop()
    return failures


def _reason(run: Run, status: int) -> str:
    if status < 0:
        hint = " (out of memory?)" if status == -9 else ""
        return f"ended by signal {-status}{hint}"
    return last_line(run.log_file) or f"exit status {status}"
