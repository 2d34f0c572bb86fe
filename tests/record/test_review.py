"""The reviewer over its real server: layers, notes and what it refuses."""

from __future__ import annotations

import csv
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from gazeseg.data.dataset import Dataset
from gazeseg.errors import DataError
from gazeseg.gaze.io.table import write_fixation_table
from gazeseg.record.review import Notes, Review, review_app
from gazeseg.types import Fixations

from .conftest import SIZE, Recorder


@pytest.fixture
def reviewed(shapes: Path) -> Path:
    """A data set with gaze on one case and a prediction of another."""
    fix = Fixations([100.0, 120.0], [90.0, 95.0], [0.0, 300.0], [250.0, 400.0], SIZE, "case01", "anna")
    write_fixation_table(shapes / "gaze" / "fixations.csv", [fix])
    mask = np.zeros(SIZE, np.uint8)
    mask[50:100, 60:160] = 1
    (shapes.parent / "predicted").mkdir()
    Image.fromarray(mask).save(shapes.parent / "predicted" / "case02.png")
    return shapes


def _put(recorder: Recorder, path: str, body: dict[str, Any]) -> int:
    request = urllib.request.Request(  # noqa: S310 -- our own address
        recorder.origin + path,
        data=json.dumps(body).encode(),
        method="PUT",
        headers={"Authorization": f"Bearer {recorder.token}", "Content-Type": "application/json"},
    )
    try:
        return int(urllib.request.urlopen(request, timeout=60).status)  # noqa: S310
    except urllib.error.HTTPError as error:
        return error.code


def test_layers_lie_where_they_belong(reviewed: Path, live: Callable[[FastAPI], Recorder]) -> None:
    review = Review(Dataset.load(reviewed), "anna", predictions=reviewed.parent / "predicted")
    recorder = live(review_app(review))
    listed = json.load(recorder.get("/api/cases"))
    assert [(row["id"], row["fixations"]) for row in listed] == [
        ("case00", 0),
        ("case01", 2),
        ("case02", 0),
        ("case03", 0),
    ]
    looked = json.load(recorder.get("/api/case/1"))
    assert looked["fixations"]["x_px"] == [100.0, 120.0]
    assert looked["reader"] == "anna"
    assert set(looked["outlines"]) == {"truth"}
    truth = np.asarray(Image.open(reviewed.parent / "masks" / "case01.png")) > 0
    rows, columns = np.nonzero(truth)
    (line,) = looked["outlines"]["truth"][0]["lines"]
    low, high = np.min(line, axis=0), np.max(line, axis=0)
    np.testing.assert_allclose(low, [columns.min() - 0.5, rows.min() - 0.5], atol=0.06)
    np.testing.assert_allclose(high, [columns.max() + 0.5, rows.max() + 0.5], atol=0.06)
    (line,) = json.load(recorder.get("/api/case/2"))["outlines"]["prediction"][0]["lines"]
    np.testing.assert_allclose([np.min(line, axis=0), np.max(line, axis=0)], [[59.5, 49.5], [159.5, 99.5]], atol=0.06)
    image = recorder.get("/api/case/2/image")
    assert image.headers["content-type"] == "image/png"
    assert image.read()[:4] == b"\x89PNG"


def test_notes_are_kept_changed_and_taken_away(reviewed: Path, live: Callable[[FastAPI], Recorder]) -> None:
    recorder = live(review_app(Review(Dataset.load(reviewed), "anna")))
    assert _put(recorder, "/api/case/0/note", {"flag": "doubtful", "comment": 'two "lesions",\nor one?'}) == 200
    assert _put(recorder, "/api/case/3/note", {"flag": "good"}) == 200
    assert _put(recorder, "/api/case/3/note", {"flag": "", "comment": ""}) == 200
    with (reviewed / "review.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["case_id"], row["reviewer"], row["flag"]) == ("case00", "anna", "doubtful")
    assert row["comment"] == 'two "lesions",\nor one?'
    again = Review(Dataset.load(reviewed), "anna")
    assert again.listed()[0]["flag"] == "doubtful"
    assert Review(Dataset.load(reviewed), "ben").listed()[0]["flag"] == ""
    assert _put(recorder, "/api/case/9/note", {"flag": "good"}) == 404
    assert _put(recorder, "/api/case/0/note", {"flag": "wonderful"}) == 422
    assert _put(recorder, "/api/case/0/note", {"comment": "x" * 5000}) == 422


def test_a_broken_case_says_so_and_names_no_file(reviewed: Path, live: Callable[[FastAPI], Recorder]) -> None:
    recorder = live(review_app(Review(Dataset.load(reviewed), "anna")))
    (reviewed.parent / "images" / "case00.png").unlink()
    with pytest.raises(urllib.error.HTTPError) as caught:
        recorder.get("/api/case/0")
    assert caught.value.code == 409
    assert str(reviewed.parent) not in caught.value.read().decode()


def test_bad_input_is_refused_before_anything_is_served(reviewed: Path) -> None:
    (reviewed / "review.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="expected the columns"):
        Notes(reviewed / "review.csv")
    (reviewed / "review.csv").unlink()
    with pytest.raises(DataError, match="no such folder"):
        Review(Dataset.load(reviewed), "anna", predictions=reviewed / "nowhere")
