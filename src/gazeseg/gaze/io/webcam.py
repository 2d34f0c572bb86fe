"""Raw samples of a webcam tracker's benchmark with known targets: three parts in one file, screen px, ms.

``# key,value`` lines, ``# --- per-sample ---`` with a table of samples and targets, ``# --- per-cell summary ---``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.errors import DataError
from gazeseg.gaze.io.columns import Columns, read_head
from gazeseg.gaze.io.trial import ReadOptions, Samples, Session, Trial, rising

NAME: Final = "webcam"
_SAMPLES: Final = re.compile(r"^# --- per-sample ---\n(.*?)(?=^# ---|\Z)", re.MULTILINE | re.DOTALL)


def sniff(head: str, path: Path) -> bool:
    """Tell whether this is such a file."""
    return "# --- per-sample ---" in head


def read(path: Path, options: ReadOptions) -> Session:
    """Read a file as one trial whose target is known; the image is that of ``--image``, or none.

    Raises:
        DataError: if the table of samples is missing or a cell is no number.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    part = _SAMPLES.search(text)
    if part is None:
        raise DataError(f"{path}: no table of samples after '# --- per-sample ---'; export the file again")
    head = dict(re.findall(r"^# (\w+),(.*)$", read_head(path), re.MULTILINE))
    table = Columns.read(path, text=part[1].strip("\n") + "\n")
    time = table.numbers(table.need("timestamp_ms"))
    samples, notes = rising(path, Samples(time, table.numbers("gaze_x"), table.numbers("gaze_y")))
    kept = np.searchsorted(time, samples.time_ms) if not notes else None
    target = None
    if kept is not None:
        target = (table.numbers(table.need("target_x"))[kept], table.numbers(table.need("target_y"))[kept])
    reader = options.reader_id if options.reader_id is not None else path.stem
    start = float(samples.time_ms[0]) if len(samples) else 0.0
    return Session(
        NAME,
        path,
        (Trial(options.image or "", reader, "screen", samples, start_ms=start, target=target),),
        screen_px=(int(head["screen_width"]), int(head["screen_height"])) if "screen_width" in head else None,
        px_per_degree=float(head["px_per_degree"]) if "px_per_degree" in head else None,
        assumptions=("gaze in screen px, origin top left; ms of the browser's clock", f"reader '{reader}'"),
        warnings=(*table.warnings, *notes),
    )
