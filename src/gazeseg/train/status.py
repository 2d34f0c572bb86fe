"""How a run is doing, read from its folder: it may be going on in another process or on another machine.

Loads no torch.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gazeseg.config import RunConfig, build, read_yaml
from gazeseg.errors import DataError
from gazeseg.train.runfolder import RunFolder

STARVING: Final = 0.3  # share of the time spent waiting for the loader from which on it holds the device up
WINDOWS: Final = 5  # rows of the log that the rate and the waiting are taken from
RISE: Final = 3.0  # times the loss's own scatter above its lowest level: diverging
SILENT: Final = 10.0  # times the usual time between two rows without a new one: not going on


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a run."""

    path: Path
    state: str  # finished, running, stopped, not begun
    step: int
    iterations: int
    it_per_s: float | None  # median of the last rows
    eta_s: float | None
    time_s: float  # trained so far
    memory_mb: float | None  # peak; of the GPU where there is one, else of the process
    loader_share: float | None  # share of the time that steps waited for their batch
    loss: float | None
    validation: tuple[int, float] | None  # step and Dice of the last one
    best: tuple[int, float] | None
    warnings: tuple[str, ...]

    def to_text(self) -> str:
        """Return a few lines."""
        share = self.step / self.iterations
        lines = [f"{self.path}: {self.state}, {self.step:,} of {self.iterations:,} iterations ({share:.0%})"]
        if self.it_per_s:
            lines.append(f"  rate        {self.it_per_s:.2f} it/s, trained for {_duration(self.time_s)}")
        if self.eta_s:
            lines.append(f"  ETA         {_duration(self.eta_s)}")
        if self.memory_mb is not None:
            lines.append(f"  memory      {self.memory_mb / 1024:.2f} GiB at its peak")
        if self.loader_share is not None:
            lines.append(f"  loader      {self.loader_share:.0%} of the time")
        if self.loss is not None:
            lines.append(f"  loss        {self.loss:.4f}")
        if self.validation is not None and self.best is not None:
            (step, dice), (best_step, best) = self.validation, self.best
            lines.append(f"  validation  Dice {dice:.4f} at {step:,}; best {best:.4f} at {best_step:,}")
        return "\n".join([*lines, *(f"  warning     {warning}" for warning in self.warnings)])


def read_status(run: Path, now_s: float | None = None) -> Status:
    """Read how a run is doing.

    Args:
        run: The run folder.
        now_s: Seconds since 1970, as of when; now by default.

    Raises:
        DataError: if it is no run folder.
    """
    folder = RunFolder(run)
    if not folder.config_file.is_file():
        raise DataError(f"{run}: no run folder (config.yaml expected); give one that train made")
    config = build(RunConfig, read_yaml(folder.config_file), str(folder.config_file))
    rows = folder.metrics()
    trained = [row for row in rows if "it_per_s" in row]
    validated = [(int(row["step"]), float(row["val/dice"])) for row in rows if row.get("val/dice") is not None]
    iterations = config.train.iterations
    step = int(rows[-1]["step"]) if rows else 0
    recent = trained[-WINDOWS:]
    rate = statistics.median(float(row["it_per_s"]) for row in recent) if recent else None
    state = _state(folder, config, trained, step, time.time() if now_s is None else now_s)
    waits = [float(row["loader_share"]) for row in recent if row.get("loader_share") is not None]
    share = statistics.median(waits) if waits else None
    return Status(
        path=run,
        state=state,
        step=step,
        iterations=iterations,
        it_per_s=rate,
        eta_s=(iterations - step) / rate if rate and state != "finished" else None,
        time_s=float(rows[-1]["time_s"]) if rows else 0.0,
        memory_mb=max((float(row["memory_mb"]) for row in trained if row.get("memory_mb")), default=None),
        loader_share=share,
        loss=trained[-1].get("loss") if trained else None,
        validation=validated[-1] if validated else None,
        best=max(validated, key=lambda point: point[1]) if validated else None,
        warnings=tuple(_warnings(rows, trained, validated, share, state)),
    )


def _state(folder: RunFolder, config: RunConfig, trained: Sequence[Mapping[str, Any]], step: int, now_s: float) -> str:
    if step >= config.train.iterations:
        return "finished"
    if not trained:
        return "not begun"
    gaps = [float(b["time_s"]) - float(a["time_s"]) for a, b in itertools.pairwise(trained)]
    usual = statistics.median(gaps) if gaps else float(trained[0]["time_s"])
    silent_s = now_s - folder.metrics_file.stat().st_mtime
    return "stopped" if silent_s > max(60.0, SILENT * usual) else "running"


def _warnings(
    rows: Sequence[Mapping[str, Any]],
    trained: Sequence[Mapping[str, Any]],
    validated: Sequence[tuple[int, float]],
    share: float | None,
    state: str,
) -> list[str]:
    found = [str(row["warning"]) for row in rows if row.get("warning")]  # collapse, as the trainer saw it
    if validated and validated[-1][1] < 0.01 and len(validated) > 1:
        found.append(f"collapse: the validation Dice is {validated[-1][1]:.4f} at {validated[-1][0]:,}")
    if (rise := _rise([row.get("loss") for row in trained])) is not None:
        found.append(
            f"divergence: the loss is {rise:.1f} times its scatter above its lowest level; lower train.lr or set "
            "train.clip_norm"
        )
    if share is not None and share > STARVING:
        found.append(
            f"the loader starves the device: {share:.0%} of the time goes into waiting for batches; keep the data "
            "resident (train.resident), give more CPU threads, or lower data.augment"
        )
    if state == "stopped":
        found.append("no new row in the log for long: the process is gone or hangs; go on with train --resume")
    return found


def _rise(losses: Sequence[float | None]) -> float | None:
    """Return how far the end of a loss curve lies above its lowest level, in units of its scatter; None: not far.

    Levels are medians over a tenth of the rows, so that one bad batch is no divergence.
    """
    values = [value for value in losses if value is not None]
    width = max(3, len(values) // 10)
    if len(values) < 4 * width:
        return None
    if len(values) < len(losses):  # a loss that was no number is written as null
        return math.inf
    levels = [statistics.median(values[i : i + width]) for i in range(0, len(values) - width + 1, width)]
    levels.append(statistics.median(values[-width:]))
    lowest = min(levels)
    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    scatter = statistics.median(steps)
    fall = max(values[:width]) - lowest
    rise = levels[-1] - lowest
    # both: well outside the scatter, and most of what was learnt is lost
    return rise / scatter if scatter > 0 and rise > RISE * scatter and rise > 0.5 * fall else None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
