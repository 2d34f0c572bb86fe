"""Recorded gaze into a data set folder: ``gaze/fixations.csv``, ``gaze/quality.json``, and what was assumed.

``quality.json`` holds one entry a file (format, assumptions, warnings) and one row a reading (its quality).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from gazeseg.config import write_yaml
from gazeseg.data.dataset import Dataset
from gazeseg.data.images import write_bytes
from gazeseg.data.schema import GazeInfo
from gazeseg.errors import DataError
from gazeseg.gaze.io.table import write_fixation_table
from gazeseg.gaze.io.trial import Session
from gazeseg.gaze.readings import Reading, Readings, join
from gazeseg.gaze.recording import to_json
from gazeseg.types import Fixations

Conflict = Literal["ask", "replace", "keep", "merge"]
QUALITY: Final = "quality.json"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    dataset: Dataset
    cases: int
    fixations: int
    quality: list[dict[str, Any]]


def resolver(dataset: Dataset) -> Callable[[str], str | None]:
    """Return a function from a name in a tracker file to a case id: with or without ending and folder, in any case."""
    names: dict[str, set[str]] = {}
    for case in dataset.cases:
        spelled = {case.case_id, case.case_id.rpartition("/")[2]}
        if case.image is not None:
            spelled |= {case.image.name, case.image.stem}
        for name in spelled:
            names.setdefault(name.lower(), set()).add(case.case_id)
    exact = {case.case_id: case.case_id for case in dataset.cases}

    def resolve(name: str) -> str | None:
        if name in exact:
            return name
        plain = re.split(r"[\\/]", name.strip())[-1].lower()
        stem = re.sub(r"\.(png|jpe?g|tiff?|bmp|dcm|webp|gif)$", "", plain)
        for spelled in (plain, stem):
            found = names.get(spelled, set())
            if len(found) == 1:
                return next(iter(found))
        return None

    return resolve


def add_gaze(dataset: Dataset, files: Sequence[tuple[Session, Readings]], *, conflict: Conflict = "ask") -> Imported:
    """Add the readings of tracker files to a data set.

    Several viewings of an image by one reader become one. Where another reader has looked at an image already, in the
    data set or in another of the files, ``conflict`` decides: ``ask`` refuses, ``replace`` takes the new one, ``keep``
    the old one, ``merge`` puts one after the other.

    Raises:
        DataError: if two readers looked at one image and nobody said what to do, the gaze there is simulated or
            comes from the recorder, or nothing can be written.
    """
    if (dataset.root / "record").is_dir():
        raise DataError(
            f"{dataset.root}: its gaze was recorded by gazeseg, which writes that table anew after every image; "
            "import into another data set of the same images"
        )
    if dataset.info.gaze.kind == "simulated" and conflict != "replace":
        raise DataError(
            f"{dataset.root}: its gaze is simulated, which must not be mixed with recorded gaze; take --conflict "
            "replace"
        )
    old = {} if dataset.info.gaze.kind == "simulated" else {k: f for k, f in dataset.fixations.items() if len(f)}
    new = _by_case(files, conflict)
    combined: dict[str, Fixations] = dict(old)
    for case, fix in new.items():
        combined[case] = _settle(dataset.root, old.get(case), fix, conflict)
    folder = dataset.root / "gaze"
    folder.mkdir(exist_ok=True)
    order = [case.case_id for case in dataset.cases if len(combined.get(case.case_id, ()))]
    report = _report(folder / QUALITY, files, replaced=set(new) if conflict == "replace" else set())
    write_fixation_table(folder / "fixations.csv", [combined[case] for case in order])
    write_bytes(folder / QUALITY, (json.dumps(report, indent=1) + "\n").encode())
    formats = sorted({session.format for session, _ in files})
    info = GazeInfo(kind="recorded", source=", ".join(formats), note=f"imported by gazeseg; see gaze/{QUALITY}")
    write_yaml(dataset.root / "dataset.yaml", dataset.info.model_copy(update={"gaze": info}))
    return Imported(Dataset.load(dataset.root), len(new), sum(map(len, new.values())), report["readings"])


def _by_case(files: Iterable[tuple[Session, Readings]], conflict: Conflict) -> dict[str, Fixations]:
    """The new gaze of each case: viewings of one reader joined, readers settled."""
    found: dict[str, dict[str, list[Reading]]] = {}
    origin: dict[tuple[str, str], Path] = {}
    for session, readings in files:
        for reading in readings.readings:
            fix = reading.fixations
            found.setdefault(fix.image_id, {}).setdefault(fix.reader_id, []).append(reading)
            origin[(fix.image_id, fix.reader_id)] = session.path
    out: dict[str, Fixations] = {}
    for case, readers in found.items():
        each = [join(reading.fixations for reading in viewings) for viewings in readers.values()]
        if len(each) > 1 and conflict in ("ask", "replace", "keep"):
            names = " and ".join(f"'{reader}' ({origin[(case, reader)].name})" for reader in readers)
            raise DataError(
                f"case '{case}' was looked at by {names}: import one of them, or put them one after the other with "
                "--conflict merge"
            )
        out[case] = join(each)
    return out


def _settle(root: Path, old: Fixations | None, new: Fixations, conflict: Conflict) -> Fixations:
    if old is None or conflict == "replace":
        return new
    if not len(new) or conflict == "keep":
        return old
    if conflict == "merge":
        return join([old, new])
    raise DataError(
        f"{root}: case '{new.image_id}' has gaze of reader '{old.reader_id}' already, and the files bring that of "
        f"'{new.reader_id}'; take --conflict replace, keep or merge"
    )


def _report(
    path: Path, files: Sequence[tuple[Session, Readings]], *, replaced: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """The content of ``quality.json`` with these files added; what they replace, and files imported again, go."""
    report: dict[str, list[dict[str, Any]]] = {"files": [], "readings": []}
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
    names = {session.path.name for session, _ in files}
    report["readings"] = [
        row for row in report["readings"] if row["file"] not in names and row["case_id"] not in replaced
    ]
    used = {row["file"] for row in report["readings"]}
    report["files"] = [row for row in report["files"] if row["file"] in used]
    for session, readings in files:
        entry: Mapping[str, Any] = {
            "file": session.path.name,
            "format": session.format,
            "screen_px": session.screen_px,
            "px_per_degree": readings.px_per_degree,
            "eye": session.eye,
            "assumptions": list(readings.assumptions),
            "warnings": list(readings.warnings),
        }
        report["files"].append(dict(entry))
        rows = to_json([reading.quality for reading in readings.readings])
        report["readings"] += [{"file": session.path.name, **row} for row in rows]
    return report
