"""What an output folder holds and how it was made, so that an interrupted prediction goes on where it stopped."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gazeseg import __version__
from gazeseg.data.images import write_bytes
from gazeseg.errors import DataError
from gazeseg.predict.sources.base import Source

RECORD: Final = "predict.json"  # the model and the options
OUTPUTS: Final = "outputs.jsonl"  # one line a finished source
REVIEW: Final = "review.csv"


@dataclass(slots=True)
class OutputFolder:
    """The record of an output folder.

    A source is done when its line is there, its files are those of then, and what the line names is there too.

    ::

        predict.json    gazeseg (version), weights (a checksum), checkpoint, options
        outputs.jsonl   {"source": ..., "stamp": ..., "name": ..., "files": [...], "expected_dice": [...]}
        review.csv      with uncertainty: one line a frame, the lowest expected Dice first
    """

    folder: Path
    done: dict[str, dict[str, Any]]  # name -> its line
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: Path, options: Mapping[str, Any]) -> OutputFolder:
        """Make the folder, or continue one that the same model filled under the same options.

        Raises:
            DataError: if the folder holds something else, or cannot be written.
        """
        wanted = json.loads(json.dumps(dict(options)))
        record = folder / RECORD
        try:
            folder.mkdir(parents=True, exist_ok=True)  # before hours of prediction, not after
            there = any(not path.name.startswith(".") for path in folder.iterdir())
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from None
        if not there:
            write_bytes(record, (json.dumps({"gazeseg": __version__, **wanted}, indent=2) + "\n").encode())
            return cls(folder, {})
        if not record.is_file():
            raise DataError(
                f"{folder}: is not empty and holds no {RECORD} of an earlier predict; choose another folder"
            )
        kept = _parse(record, record.read_text(encoding="utf-8"))
        changed = [key for key in wanted if kept.get(key) != wanted[key]]
        if changed:
            raise DataError(
                f"{folder}: holds masks made with another {changed[0]} ({kept.get(changed[0])}, now "
                f"{wanted[changed[0]]}); choose another folder"
            )
        return cls(folder, _read_lines(folder / OUTPUTS))

    def is_done(self, source: Source) -> bool:
        """True if the source was finished, has not changed since, and none of its masks is gone."""
        line = self.done.get(str(source.name))
        if line is None or line["stamp"] != source.stamp():
            return False
        return all((self.folder / file).is_file() for file in line["files"])

    def add(self, source: Source, files: Sequence[Path], expected_dice: Mapping[str, float]) -> None:
        """Note that a source is finished, and what Dice to expect of each frame by its name, if that is known."""
        relative = [file.relative_to(self.folder).as_posix() for file in files]
        line = {
            "source": str(source.path),
            "stamp": source.stamp(),
            "name": str(source.name),
            "files": relative,
            "expected_dice": {name: round(value, 4) for name, value in expected_dice.items()},
        }
        self.done[str(source.name)] = line
        with self.lock, (self.folder / OUTPUTS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def write_review(self, sources: Iterable[Source]) -> Path:
        """Write ``review.csv`` about the finished among ``sources``: what deserves a look first, and how much."""
        lines = [self.done[str(source.name)] for source in sources if str(source.name) in self.done]
        rows = [
            (value, line["name"], frame, line["source"])
            for line in lines
            for frame, value in line["expected_dice"].items()
        ]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("expected_dice", "name", "frame", "source"))
        writer.writerows(sorted(rows))
        write_bytes(self.folder / REVIEW, text.getvalue().encode())
        return self.folder / REVIEW


def _read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Read the finished sources, without a line that a kill cut short."""
    done: dict[str, dict[str, Any]] = {}
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as stream:  # the next line starts on its own
            stream.write("\n")
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            done[entry["name"]] = {key: entry[key] for key in ("source", "stamp", "name", "files", "expected_dice")}
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return done


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: broken JSON ({error}); choose another folder") from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected an object; choose another folder")
    return document
