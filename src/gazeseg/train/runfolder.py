"""The layout of a run folder, and its small descriptive files. Loads no torch, so that reports can read runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gazeseg.config import RunConfig, build, read_yaml
from gazeseg.errors import DataError


@dataclass(frozen=True, slots=True)
class Annotation:
    """What readers did for the supervision of a run; means over runs are fractions."""

    gaze_cases: float  # training cases that somebody looked at
    fixation_s: float  # their fixation durations, summed up
    viewing_s: float  # from the first fixation of each to the end of its last, summed up
    masks: float  # masks that the loss may see, or that simulated gaze was drawn from
    timed_cases: float = 0.0  # those of the training cases whose time at the screen was measured
    timed_s: float = 0.0  # that time, summed up


@dataclass(frozen=True, slots=True)
class Task:
    """What a trained network answers to; ``task.json`` in the run folder."""

    dataset: str
    classes: tuple[str, ...]
    in_channels: int
    levels: int  # nested pseudo-mask levels it was trained on, at least 1
    thresholds: tuple[float, ...]
    gaze: str  # "recorded", "simulated" or "none"
    mask_supervised: bool  # True where the loss saw ground-truth masks
    train_cases: int
    parameters: int
    text: str = "none"  # who described the images, and the control that the text is under
    gaze_control: str = ""  # what was spoilt about the gaze, as in "shuffled order"; empty: nothing
    gaze_leak: str = ""  # how well simulated gaze alone agrees with the truth
    drawn_by: str = ""  # the promptable model that drew the pseudo-masks; empty: heatmap and CRF
    annotation: Annotation | None = None  # None in runs of a version that did not keep it

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run.

    ::

        config.yaml  task.json  environment.json  metrics.jsonl  metrics.csv  curves.png
        checkpoints/step-001000/{model.safetensors,state.pt}   checkpoints/{last,best}: text files naming such a folder
        evaluation/<split>/{cases.csv,summary.json,predictions/<case>.png}
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def task_file(self) -> Path:
        """The :class:`Task`."""
        return self.path / "task.json"

    @property
    def environment_file(self) -> Path:
        """Versions, machine and checksums."""
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line: step, time_s, lr, loss, ``loss/<term>``, ``log/<name>``, ``val/dice``, warning.

        Of the steps since the row before: it_per_s, and loader_share, the part of the time that went into waiting for
        batches. memory_mb is the peak, of the GPU where there is one.
        """
        return self.path / "metrics.jsonl"

    @property
    def table_file(self) -> Path:
        """The log as CSV, written with the curves."""
        return self.path / "metrics.csv"

    @property
    def curves_file(self) -> Path:
        """Loss and validation curves."""
        return self.path / "curves.png"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def evaluation(self, split: str) -> Path:
        """Folder of the evaluation on ``split``."""
        return self.path / "evaluation" / split

    def config(self) -> RunConfig:
        """Read the resolved configuration."""
        self.require()
        return build(RunConfig, read_yaml(self.config_file), str(self.config_file))

    def task(self) -> Task:
        """Read the task description."""
        self.require()
        values = self._read_json(self.task_file)
        try:
            tuples = {name: tuple(values[name]) for name in ("classes", "thresholds")}
            kept = values.get("annotation")
            return Task(**{**values, **tuples, "annotation": None if kept is None else Annotation(**kept)})
        except (TypeError, KeyError) as error:
            raise DataError(f"{self.task_file}: not a task description ({error}); train the run again") from None

    def write_task(self, task: Task) -> None:
        """Write the task description."""
        replace_file(self.task_file, (json.dumps(asdict(task), indent=2) + "\n").encode())

    def environment(self) -> dict[str, Any]:
        """Read versions, machine and checksums."""
        self.require()
        return self._read_json(self.environment_file)

    def metrics(self) -> list[dict[str, Any]]:
        """Read the log; a line cut short by a kill is left out."""
        rows: list[dict[str, Any]] = []
        if self.metrics_file.exists():
            for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows

    def require(self) -> None:
        """Raise DataError unless this is a run folder."""
        if not (self.config_file.is_file() and self.task_file.is_file()):
            raise DataError(
                f"{self.path}: no run folder (config.yaml and task.json expected); give one that train made"
            )

    @staticmethod
    def _read_json(path: Path) -> dict[str, Any]:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: broken JSON ({error}); train the run again") from None
        if not isinstance(document, dict):
            raise DataError(f"{path}: expected an object; train the run again")
        return document


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the disk has the folder's entries, renames included; nothing on systems that cannot."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step: whoever reads it sees the old content or the new, never half of one."""
    temporary = path.with_name(f".{path.name}.writing")
    write_flushed(temporary, content)
    temporary.replace(path)
    flush_folder(path.parent)
