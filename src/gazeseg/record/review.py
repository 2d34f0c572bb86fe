"""The reviewer: page through cases, replay the gaze under pseudo-mask, truth and prediction, and note what is odd.

Notes stand in ``DS/review.csv`` (case_id, reviewer, flag, comment, at), one line a case and reviewer.
"""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from pydantic import Field

from gazeseg.config import Section
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import read_mask, safe_name, write_bytes
from gazeseg.data.pseudo import PseudoFolder, resolve_config
from gazeseg.errors import DataError
from gazeseg.record.app import bare_app
from gazeseg.record.pixels import load_picture
from gazeseg.record.preview import heat_png, polygons
from gazeseg.record.viewing import fixations_json
from gazeseg.report.sheets import gaze_label
from gazeseg.supervision.heatmap import heatmap
from gazeseg.types import IGNORE

NOTE_COLUMNS: Final = ("case_id", "reviewer", "flag", "comment", "at")
FLAGS: Final = ("", "good", "doubtful", "exclude")


class Note(Section):
    """What a reviewer says of a case."""

    flag: Literal["", "good", "doubtful", "exclude"] = ""
    comment: str = Field("", max_length=4000)


class Notes:
    """The notes of a data set; the file is written whole at every change."""

    def __init__(self, path: Path) -> None:
        """Read the notes that are there.

        Raises:
            DataError: if the file is no table of notes.
        """
        self.path = path
        self._rows: dict[tuple[str, str], dict[str, str]] = {}
        if not path.is_file():
            return
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != NOTE_COLUMNS:
                raise DataError(f"{path}: expected the columns {', '.join(NOTE_COLUMNS)}; move the file away")
            for row in reader:
                self._rows[row["case_id"], row["reviewer"]] = row

    def of(self, case_id: str, reviewer: str) -> Note:
        """The note of a case; an empty one where there is none."""
        row = self._rows.get((case_id, reviewer))
        if row is None or row["flag"] not in FLAGS:
            return Note()
        return Note.model_validate({"flag": row["flag"], "comment": row["comment"]})

    def keep(self, case_id: str, reviewer: str, note: Note) -> None:
        """Store a note; an empty one takes the old one away.

        Raises:
            DataError: if the file cannot be written.
        """
        rows = dict(self._rows)
        rows.pop((case_id, reviewer), None)
        if note.flag or note.comment:
            at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            values = (case_id, reviewer, note.flag, note.comment, at)
            rows[case_id, reviewer] = dict(zip(NOTE_COLUMNS, values, strict=True))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, NOTE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(rows.items()))
        write_bytes(self.path, buffer.getvalue().encode())
        self._rows = rows


class Review:
    """A data set with everything that can lie over its images."""

    def __init__(
        self, dataset: Dataset, reviewer: str, *, pseudo: Path | None = None, predictions: Path | None = None
    ) -> None:
        """Open what there is.

        Args:
            dataset: The data set.
            reviewer: Whose notes are written.
            pseudo: A pseudo-mask folder; by default ``DS/pseudo`` where it is there.
            predictions: A folder of masks with the names of the cases.

        Raises:
            DataError: if a folder that was named is not there, or no case has an image.
        """
        self.dataset, self.reviewer = dataset, reviewer
        self.cases = tuple(case for case in dataset.cases if case.image is not None)
        if not self.cases:
            raise DataError(f"{dataset.root}: no case has an image to show; import it with --images")
        default = dataset.root / "pseudo"
        there = pseudo is not None or (default / "index.csv").is_file()
        self.pseudo = PseudoFolder.load(pseudo or default) if there else None
        if predictions is not None and not predictions.is_dir():
            raise DataError(f"{predictions}: no such folder; give the folder that gazeseg predict wrote")
        self.predictions = predictions
        self.notes = Notes(dataset.root / "review.csv")
        self._masks = resolve_config(dataset, {})

    def listed(self) -> list[dict[str, Any]]:
        """One line a case, for the list."""
        return [
            {
                "id": case.case_id,
                "split": case.split,
                "fixations": len(self.dataset.fixations[case.case_id]),
                **self.notes.of(case.case_id, self.reviewer).model_dump(),
            }
            for case in self.cases
        ]

    def layers(self, case: Case) -> dict[str, Any]:
        """Everything over one image: fixations, heatmap, outlines by role.

        Raises:
            DataError: if a file is broken.
        """
        fix = self.dataset.fixations[case.case_id]
        outlines: dict[str, list[dict[str, Any]]] = {}
        if self.pseudo is not None and self.pseudo.file("levels", case.case_id).is_file():
            levels = self.pseudo.levels(case.case_id).astype(bool)
            pairs = sorted(zip(self.pseudo.thresholds, levels, strict=True), key=lambda pair: pair[0])
            outlines["pseudo"] = [{"threshold": t, "lines": polygons(level)} for t, level in pairs]
        if case.mask is not None:
            mask = self.dataset.mask(case)
            outlines["truth"] = [{"lines": polygons((mask > 0) & (mask != IGNORE))}]
        found = self._prediction(case)
        if found is not None:
            mask = read_mask(found, case.size, self.dataset.num_classes, case.case_id)
            outlines["prediction"] = [{"lines": polygons((mask > 0) & (mask != IGNORE))}]
        heat = heatmap(fix, self._masks.maps).values if len(fix) else np.zeros((8, 8), np.float32)
        return {"fixations": fixations_json(fix), "reader": fix.reader_id, "heat": heat_png(heat), "outlines": outlines}

    def _prediction(self, case: Case) -> Path | None:
        if self.predictions is None:
            return None
        names = (f"{safe_name(case.case_id)}.png", f"{case.case_id}.png")
        return next((self.predictions / name for name in names if (self.predictions / name).is_file()), None)


def review_app(review: Review) -> FastAPI:
    """Return the reviewer."""
    app = bare_app()

    def chosen(index: int) -> Case:
        if not 0 <= index < len(review.cases):
            raise HTTPException(404, "no such case")
        return review.cases[index]

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        info = review.dataset.info
        source = info.gaze.source or gaze_label(review.dataset)
        return {"mode": "review", "data": info.name, "readers": [review.reviewer], "source": source}

    @app.get("/api/cases")
    async def cases() -> list[dict[str, Any]]:
        return await asyncio.to_thread(review.listed)

    @app.get("/api/case/{index}")
    async def case(index: int) -> dict[str, Any]:
        wanted = chosen(index)
        try:
            picture = await asyncio.to_thread(load_picture, review.dataset, wanted)
            layers = await asyncio.to_thread(review.layers, wanted)
        except DataError:
            raise HTTPException(409, "a file of this case is gone or broken; see gazeseg check") from None
        return {"image": picture.about, **layers}

    @app.get("/api/case/{index}/image")
    async def image(index: int) -> Response:
        try:
            picture = await asyncio.to_thread(load_picture, review.dataset, chosen(index))
        except DataError:
            raise HTTPException(409, "the image of this case is gone or broken") from None
        body, kind = await asyncio.to_thread(picture.body)
        return Response(body, media_type=kind)

    @app.put("/api/case/{index}/note")
    async def keep(index: int, note: Note) -> Note:
        try:
            review.notes.keep(chosen(index).case_id, review.reviewer, note)
        except DataError:
            raise HTTPException(507, "the note cannot be saved: the disk is full or read-only") from None
        return note

    return app
