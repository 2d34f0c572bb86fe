"""One run of a grid as a process of its own: train it, going on where it stopped, then score it.

Locally and on SLURM alike a run is ``python -m gazeseg.ablate.job``; it prints into the log beside its run folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from gazeseg.config import RunConfig, build, merge, read_yaml
from gazeseg.errors import GazeSegError


class BusyError(GazeSegError):
    """Another process is at this run."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a process has to know; paths are absolute."""

    asked: str  # the configuration to train
    folder: str  # the run folder
    log: str
    split: str
    legacy: bool
    data: str | None  # the data set to score on; None: the one trained on
    pseudo: str | None  # pseudo-masks of a gaze control; None: what the configuration says
    threads: int  # CPU threads
    by: Literal["case", "volume"] = "case"  # what is scored

    def run(self) -> None:
        """Train and score in this process."""
        values = merge(read_yaml(Path(self.asked)), {"train": {"threads": self.threads}})
        if self.pseudo is not None:
            values = merge(values, {"data": {"pseudo": self.pseudo}})
        config = build(RunConfig, values, self.asked)

        from gazeseg.evaluate.evaluate import evaluate_run  # torch, which those who only start jobs do without
        from gazeseg.train.run import train
        from gazeseg.train.trainer import resolve_device

        train(config, Path(self.folder), resume=True)
        evaluate_run(
            Path(self.folder),
            self.split,
            legacy=self.legacy,
            by=self.by,
            device=resolve_device(config.train.device).type,
            data=Path(self.data) if self.data else None,
        )

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process; it ends when this one does.

        Raises:
            BusyError: if another process is at the run.
        """
        count = str(self.threads)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), count)
        with Path(self.log).open("ab") as log:
            _lock(log, self.folder)
            return subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-m", "gazeseg.ablate.job", json.dumps(dataclasses.asdict(self))],
                stdin=subprocess.PIPE,  # closed by the system when this process dies, however it dies
                stdout=log,
                stderr=log,
                env={**os.environ, **threads},
                start_new_session=True,  # an interrupt is for us, who end the process in order
            )

    def __call__(self) -> int:
        """Run the process to its end and return its exit status: the function that a SLURM job computes."""
        return self.start().wait()

    def checkpoint(self) -> Any:
        """Tell submitit what to queue when the time of the SLURM job is up: the same again, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, the error of a run that failed."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line.removeprefix("gazeseg: ") for line in reversed(lines) if line), "")
    return ""


def main(arguments: list[str]) -> int:
    """Run the job that the first argument describes; 2 where the input has to change, as with every verb."""
    job = Job(**json.loads(arguments[0]))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job.run()
    except GazeSegError as error:
        print(f"gazeseg: {error}", file=sys.stderr)
        return 2
    return 0


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, then stop; a run can be killed at any moment."""
    while os.read(0, 1):
        pass
    os._exit(130)


def _lock(log: IO[bytes], folder: str) -> None:
    """Lock the log for as long as the started process, which inherits it, lives; released by the system."""
    if sys.platform == "win32":
        return  # no advisory locks there
    import fcntl  # POSIX only

    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(f"{folder}: another process is at this run; wait for it, or end it") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
