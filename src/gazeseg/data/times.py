"""``DS/gaze/times.csv``: what each case cost its reader, as ``gazeseg record`` measured it."""

from __future__ import annotations

import csv
import math

from gazeseg.data.dataset import Dataset
from gazeseg.errors import DataError


def reading_times(dataset: Dataset) -> dict[str, float]:
    """Return the seconds at the screen of each case whose gaze is the recorded one, empty without a recording.

    To locate, to scan and to review the viewing that was accepted; viewings that were redone and skipped cases are
    not in it. A case counts where ``fixations.csv`` holds the gaze of the same reader.

    Raises:
        DataError: if the table is broken.
    """
    path = dataset.root / "gaze" / "times.csv"
    if not path.is_file():
        return {}
    found: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            try:
                case_id, reader, accepted = row["case_id"], row["reader_id"], row["outcome"] == "accepted"
                seconds = float(row["total_s"])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}, line {number}: {error!r}; 'gazeseg record' writes the table anew") from None
            if not (math.isfinite(seconds) and seconds >= 0):
                raise DataError(f"{path}, line {number}: total_s is {seconds}; 'gazeseg record' writes the table anew")
            fixations = dataset.fixations.get(case_id)
            if accepted and fixations is not None and len(fixations) and fixations.reader_id == reader:
                found[case_id] = seconds
    return found
