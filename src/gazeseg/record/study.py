"""A data set, its readers and what they recorded: the files below ``DS/record`` and ``DS/gaze``.

::

    DS/record/<reader>/log.jsonl           what happened, a line an event, synced; the truth of everything below
    DS/record/<reader>/samples/000001.csv  samples of a viewing: time_ms, x_px, y_px, pupil as they came
    DS/gaze/readers/<reader>.csv           accepted fixations of one reader
    DS/gaze/fixations.csv                  one reader a case, the first named who read it: what everything else uses
    DS/gaze/times.csv                      what each case cost its reader
"""

from __future__ import annotations

import csv
import io
import os
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from gazeseg.config import MasksConfig, write_yaml
from gazeseg.data.dataset import Dataset
from gazeseg.data.images import safe_name, write_bytes
from gazeseg.data.pseudo import resolve_config
from gazeseg.data.schema import GazeInfo
from gazeseg.errors import DataError
from gazeseg.gaze.io.table import write_fixation_table
from gazeseg.record.config import RecordConfig, gaze_source
from gazeseg.record.store import parse_log
from gazeseg.record.viewing import fixations_of
from gazeseg.types import Fixations

TIME_COLUMNS: Final = (
    "case_id",
    "reader_id",
    "outcome",
    "locate_s",
    "scan_s",
    "review_s",
    "total_s",
    "attempts",
    "fixations",
    "source",
)
_LOG: Final = "log.jsonl"
_BEFORE: Final = "fixations.before-recording.csv"


@dataclass
class Study:
    """What the readers of one data set share."""

    dataset: Dataset
    config: RecordConfig
    readers: tuple[str, ...]
    masks: MasksConfig
    finished: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # reader -> case -> trial event
    _writing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, dataset: Dataset, config: RecordConfig, readers: Sequence[str], *, replace: bool = False) -> Study:
        """Open the recordings of a data set.

        Args:
            dataset: The data set.
            config: The protocol of this start.
            readers: Those who may record; order decides whose gaze goes before.
            replace: Set gaze that was imported aside.

        Raises:
            DataError: if no case has an image, or the data set has gaze that was not recorded here.
        """
        if not any(case.image is not None for case in _cases(dataset, config)):
            raise DataError(f"{dataset.root}: no case of split '{config.split}' has an image to show; choose another")
        study = cls(dataset, config, tuple(dict.fromkeys(readers)), resolve_config(dataset, {}))
        logs = sorted((dataset.root / "record").glob(f"*/{_LOG}"))
        table = dataset.root / "gaze" / "fixations.csv"
        if not logs and table.is_file() and len(table.read_bytes().splitlines()) > 1:
            if not replace:
                raise DataError(
                    f"{table}: the data set has gaze already ({dataset.info.gaze.source or dataset.info.gaze.kind}); "
                    f"add --replace-gaze to set it aside as {_BEFORE}"
                )
            os.replace(table, table.with_name(_BEFORE))
        sizes = {case.case_id for case in dataset.cases}
        for log in logs:
            events, _ = parse_log(log.read_bytes(), log)
            reader = next((event["reader"] for event in events if event.get("kind") == "session"), None)
            if reader is not None:
                found = {case: event for case, event in outcomes(events).items() if case in sizes}
                study.finished[reader] = found
        return study

    def folder(self, reader: str) -> Path:
        """Folder of one reader's recordings."""
        return self.dataset.root / "record" / safe_name(reader)

    def log_path(self, reader: str) -> Path:
        """The log of one reader."""
        return self.folder(reader) / _LOG

    def order(self, reader: str) -> list[str]:
        """Case ids in the blind order of a reader: drawn once from the seed and the reader's name."""
        ids = sorted(case.case_id for case in _cases(self.dataset, self.config) if case.image is not None)
        rng = np.random.default_rng([self.config.seed, zlib.crc32(reader.encode())])
        return [ids[index] for index in rng.permutation(len(ids))]

    def publish(self) -> None:
        """Write the tables of ``DS/gaze`` anew from what is finished; each appears whole.

        Raises:
            DataError: if one cannot be written.
        """
        with self._writing:
            gaze = self.dataset.root / "gaze"
            try:
                (gaze / "readers").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"{gaze}: cannot be written ({error.strerror}); check its permissions") from None
            sizes = {case.case_id: case.size for case in self.dataset.cases}
            ranked = sorted(self.finished, key=lambda name: (self._rank(name), name))
            merged: dict[str, Fixations] = {}
            for reader in ranked:
                mine = {
                    case: fixations_of(event["fixations"], sizes[case], case, reader)
                    for case, event in sorted(self.finished[reader].items())
                    if event["outcome"] == "accepted"
                }
                write_fixation_table(gaze / "readers" / f"{safe_name(reader)}.csv", list(mine.values()))
                merged = {**mine, **merged}
            write_fixation_table(gaze / "fixations.csv", [merged[case] for case in sizes if case in merged])
            write_bytes(gaze / "times.csv", _times(self.finished))
            self._say_what_it_is()

    def _rank(self, reader: str) -> int:
        return self.readers.index(reader) if reader in self.readers else len(self.readers)

    def _say_what_it_is(self) -> None:
        wanted = GazeInfo(kind="recorded", source=gaze_source(self.config))
        if self.dataset.info.gaze == wanted:
            return
        info = self.dataset.info.model_copy(update={"gaze": wanted})
        file = self.dataset.root / "dataset.yaml"
        temporary = file.with_name(".dataset.yaml.tmp")
        write_yaml(temporary, info)
        os.replace(temporary, file)
        self.dataset = Dataset(self.dataset.root, info, self.dataset.cases)


def outcomes(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the accepted and skipped viewings of a log by case, after every undo.

    Values are the events with the number of attempts added; insertion order is that of the log.
    """
    done: dict[str, dict[str, Any]] = {}
    attempts: dict[str, int] = {}
    for event in events:
        kind = event.get("kind")
        if kind == "undo":
            done.pop(event["case"], None)
        elif kind == "revisit":
            done = {case: found for case, found in done.items() if found["outcome"] != "skipped"}
        elif kind == "trial":
            attempts[event["case"]] = attempts.get(event["case"], 0) + 1
            if event["outcome"] in ("accepted", "skipped"):
                done.pop(event["case"], None)  # the last one goes to the end, where undo finds it
                done[event["case"]] = {**event, "attempts": attempts[event["case"]]}
    return done


def _cases(dataset: Dataset, config: RecordConfig) -> tuple[Any, ...]:
    return dataset.cases if config.split == "all" else dataset.split(config.split)


def _times(finished: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(TIME_COLUMNS)
    for reader, cases in sorted(finished.items()):
        for case, event in sorted(cases.items()):
            parts = [event.get(name) or 0.0 for name in ("locate_s", "scan_s", "review_s")]
            row = [case, reader, event["outcome"], *(f"{part:.3f}" for part in (*parts, sum(parts)))]
            writer.writerow([*row, event["attempts"], len(event["fixations"]["x_px"]), event["source"]])
    return buffer.getvalue().encode()
