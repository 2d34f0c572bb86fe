"""What a run writes down while it goes on: ``metrics.jsonl``, ``metrics.csv`` and ``curves.png``."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from gazeseg.train.runfolder import RunFolder, replace_file
from gazeseg.train.trackers import Tracker, numbers


class RunLog:
    """Append rows to ``metrics.jsonl``; use it as a context manager.

    Args:
        folder: The run.
        start: Steps already done. Rows after it, which a killed run wrote beyond its last checkpoint, are dropped.
        trackers: Where else the numbers of each row go; closed with the log.
        writes: Off: this process is one of several, and another one keeps the log.
    """

    def __init__(self, folder: RunFolder, start: int, trackers: Sequence[Tracker] = (), *, writes: bool = True) -> None:
        self._folder, self._trackers, self._writes = folder, trackers, writes
        if writes:
            kept = [row for row in folder.metrics() if row["step"] <= start] if start else []
            replace_file(folder.metrics_file, "".join(map(_line, kept)).encode())
            self._stream = folder.metrics_file.open("a", encoding="utf-8")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writes:
            self._stream.close()
        for tracker in self._trackers:
            tracker.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row; it is in the file when this returns."""
        if not self._writes:
            return
        self._stream.write(_line(row))
        self._stream.flush()
        for tracker in self._trackers:
            tracker.log(int(row["step"]), numbers(row))

    def draw(self) -> None:
        """Write the table and the curves of the rows so far."""
        if self._writes:
            rows = self._folder.metrics()
            write_table(rows, self._folder.table_file)
            draw_curves(rows, self._folder.curves_file)

    def sync(self) -> None:
        """Wait until the disk has every row; called before a checkpoint, which must not be ahead of the log."""
        os.fsync(self._stream.fileno())


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the rows as CSV, a column a name, empty where a row has none."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the total loss, its terms, the learning rate and, where there was one, the validation Dice over the steps.

    Args:
        rows: As :meth:`RunFolder.metrics` returns them.
        path: The PNG to replace.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # heavy, and needed once a run
    from matplotlib.figure import Figure

    validated = [row for row in rows if "val/dice" in row]
    figure = Figure(figsize=(12 if validated else 8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3 if validated else 2, squeeze=False)[0]
    trained = [row for row in rows if "loss" in row]
    terms = sorted({name for row in trained for name in row if name.startswith("loss/")})
    for name in ["loss", *(terms if len(terms) > 1 else [])]:
        points = [(row["step"], row[name]) for row in trained if row.get(name) is not None]
        label = "total" if name == "loss" else name.removeprefix("loss/")
        axes[0].plot(*_columns(points), label=label, linewidth=2 if name == "loss" else 1)
    axes[0].set_title("training loss")
    if terms:
        axes[0].legend(frameon=False, fontsize=8)
    axes[1].plot(*_columns([(row["step"], row["lr"]) for row in trained]), color="tab:grey")
    axes[1].set_title("learning rate")
    if validated:
        axes[2].plot(*_columns([(row["step"], row["val/dice"]) for row in validated]), marker="o", markersize=3)
        axes[2].set_title("validation Dice (network size)")
    for axis in axes:
        axis.set_xlabel("iteration")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    replace_file(path, buffer.getvalue())


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _line(row: Mapping[str, Any]) -> str:
    """One line of strict JSON, which knows neither NaN nor infinity."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(clean) + "\n"
