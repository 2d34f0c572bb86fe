"""The recorder over its real WebSocket, without a browser: the protocol, the files, and a server that is killed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from websockets.sync.client import ClientConnection

from gazeseg.data.dataset import Dataset
from gazeseg.errors import DataError
from gazeseg.record.app import record_app
from gazeseg.record.config import RecordConfig
from gazeseg.record.study import Study

from .conftest import Recorder, make_shapes, study

Live = Callable[[FastAPI], Recorder]

HELLO = {"type": "hello", "t": 0.0, "width": 1000, "height": 800, "screen_width": 1000, "screen_height": 800}
ZOOM, LEFT, TOP = 2.0, 100.0, 50.0


class Page:
    """What the page does, at a clock that runs as fast as the test wants."""

    def __init__(self, recorder: Recorder, reader: int = 0) -> None:
        self.socket: ClientConnection = recorder.socket(f"/ws/page/{reader}")
        self.now = 0.0
        self.seq = 0
        self.state: dict[str, Any] = {}
        self.send(HELLO)
        self.until("state")

    def send(self, message: dict[str, Any]) -> None:
        self.socket.send(json.dumps(message))

    def until(self, kind: str) -> dict[str, Any]:
        """The next message of a kind; a state on the way is kept."""
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=200))
            if message["type"] == "state":
                self.state = message
            if message["type"] == kind:
                return message

    def step(self, kind: str, *, becomes: str = "") -> dict[str, Any]:
        """Press a key; wait for the state, or for the phase ``becomes``."""
        self.now += 10
        self.send({"type": kind, "t": self.now})
        self.until("state")
        while becomes and self.state["phase"] != becomes:
            self.until("state")
        return self.state

    def dwell(self, places: list[tuple[float, float]], ms: float = 300) -> int:
        """Rest on places in image px, sampled at 100 Hz; how many samples were stored."""
        count = int(ms / 10)
        stored = 0
        for x, y in places:
            t = [self.now + 10 * (k + 1) for k in range(count)]
            px, py = LEFT + (x + 0.5) * ZOOM - 0.5, TOP + (y + 0.5) * ZOOM - 0.5
            batch = {"type": "samples", "seq": self.seq, "t_ms": t, "x_px": [px] * count, "y_px": [py] * count}
            self.send(batch)
            answer = self.until("ack")
            assert answer["seq"] == self.seq
            stored += answer["stored"]
            self.seq += 1
            self.now = t[-1]
        return stored

    def look(self, places: list[tuple[float, float]]) -> dict[str, Any]:
        """Show an image, look at places, and stop before accepting."""
        self.step("begin", becomes="locate")
        self.send({"type": "view", "t": self.now, "left": LEFT, "top": TOP, "zoom": ZOOM})
        self.dwell(places[:1])
        self.step("scan", becomes="scan")
        self.dwell(places[1:])
        return self.step("finish", becomes="review")


PLACES = [(30.0, 40.0), (150.0, 110.0), (170.0, 120.0), (160.0, 140.0)]


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_dwells_become_fixations_on_the_image(shapes: Path, live: Live) -> None:
    page = Page(live(record_app(study(shapes))))
    assert page.state["phase"] == "ready"
    assert (page.state["total"], page.state["done"]) == (4, 0)
    state = page.look(PLACES)
    found = state["result"]["fixations"]
    np.testing.assert_allclose(found["x_px"], [x for x, _ in PLACES], atol=0.01)
    np.testing.assert_allclose(found["y_px"], [y for _, y in PLACES], atol=0.01)
    np.testing.assert_allclose(found["duration_ms"], 300, atol=10.1)
    assert state["image"] == {"width": 320, "height": 240, "depth": 8, "low": 0, "high": 255}
    assert all(contour["lines"] for contour in state["result"]["contours"])
    assert page.step("accept")["done"] == 1
    dataset = Dataset.load(shapes)
    (fix,) = [fix for fix in dataset.fixations.values() if len(fix)]
    assert fix.reader_id == "anna"
    np.testing.assert_allclose(fix.x_px, found["x_px"])
    assert dataset.info.gaze.kind == "recorded"
    assert "mouse pointer" in dataset.info.gaze.source
    (row,) = _table(shapes / "gaze" / "times.csv")
    assert row["outcome"] == "accepted"
    assert float(row["locate_s"]) == pytest.approx(0.32, abs=0.021)  # 300 ms and the steps of the clock around them
    assert float(row["scan_s"]) == pytest.approx(0.91, abs=0.021)
    samples = _table(shapes / "record" / "anna" / "samples" / "000001.csv")
    assert len(samples) == 120


def test_redo_skip_undo_and_pause(shapes: Path, live: Live) -> None:
    page = Page(live(record_app(study(shapes))))
    page.look(PLACES)
    assert page.step("redo", becomes="ready")["done"] == 0
    page.look(PLACES)
    page.step("accept")
    page.send({"type": "skip", "t": page.now, "reason": "blurred"})
    page.until("state")
    assert (page.state["done"], page.state["skipped"]) == (2, 1)
    assert page.step("undo")["skipped"] == 0
    assert page.step("undo")["done"] == 0
    assert not Dataset.load(shapes).fixations["case00"]  # taken back everywhere
    page.step("begin", becomes="locate")
    assert page.step("pause")["phase"] == "paused"
    assert page.step("resume")["phase"] == "ready"
    for _ in range(4):
        page.look(PLACES)
        page.step("accept")
    assert page.state["phase"] == "done"
    rows = _table(shapes / "gaze" / "times.csv")
    assert sorted(row["case_id"] for row in rows) == [f"case{k:02d}" for k in range(4)]
    assert max(int(row["attempts"]) for row in rows) == 4  # redone, accepted and undone, interrupted, accepted


def test_a_step_that_does_not_fit_changes_nothing(shapes: Path, live: Live) -> None:
    page = Page(live(record_app(study(shapes))))
    page.send({"type": "accept", "t": 1.0})
    assert "not now" in page.until("note")["message"]
    assert page.step("begin", becomes="locate")["done"] == 0


def test_a_killed_server_loses_the_image_on_the_screen_alone(shapes: Path, serve: Callable[..., Recorder]) -> None:
    recorder = serve("record", str(shapes), "--reader", "anna")
    page = Page(recorder)
    for _ in range(2):
        page.look(PLACES)
        page.step("accept")
    accepted = {case for case, fix in Dataset.load(shapes).fixations.items() if len(fix)}
    page.step("begin", becomes="locate")
    page.dwell(PLACES)
    recorder.kill()
    log = shapes / "record" / "anna" / "log.jsonl"
    with log.open("ab") as stream:
        stream.write(b'{"kind": "trial", "case": "ca')  # what a power cut may leave
    (shapes / "gaze" / "times.csv").unlink()
    page = Page(serve("record", str(shapes), "--reader", "anna"))
    assert (page.state["phase"], page.state["done"]) == ("ready", 2)
    for _ in range(2):
        page.look(PLACES)
        page.step("accept")
    assert page.state["phase"] == "done"
    assert accepted < {case for case, fix in Dataset.load(shapes).fixations.items() if len(fix)}
    assert len(_table(shapes / "gaze" / "times.csv")) == 4


def test_two_readers_work_at_once_in_orders_of_their_own(tmp_path: Path, live: Live) -> None:
    data = make_shapes(tmp_path, 8)
    recorder = live(record_app(study(data, "anna", "ben")))
    anna, ben = Page(recorder, 0), Page(recorder, 1)
    for page, shift in ((anna, 0.0), (ben, 20.0)):
        for _ in range(2):
            page.look([(x + shift, y) for x, y in PLACES])
            page.step("accept")
    tables = {name: _table(data / "gaze" / "readers" / f"{name}.csv") for name in ("anna", "ben")}
    assert {row["reader_id"] for row in tables["ben"]} == {"ben"}
    logs = [data / "record" / name / "log.jsonl" for name in ("anna", "ben")]
    orders = [json.loads(log.read_text().splitlines()[0])["order"] for log in logs]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    merged = {row["case_id"]: row["reader_id"] for row in _table(data / "gaze" / "fixations.csv")}
    assert set(merged) == set(orders[0][:2]) | set(orders[1][:2])
    assert all(merged[case] == "anna" for case in orders[0][:2])  # the first named goes before


def test_an_image_that_vanished_can_be_skipped(shapes: Path, live: Live) -> None:
    page = Page(live(record_app(study(shapes))))
    for image in (shapes.parent / "images").iterdir():
        image.unlink()
    state = page.step("begin")
    assert state["phase"] == "ready"
    assert "cannot be used" in state["problem"]
    assert "images" not in state["problem"]  # no path: it may name a patient
    page.send({"type": "skip", "t": page.now})
    page.until("state")
    assert page.state["skipped"] == 1


def test_a_second_window_takes_over(shapes: Path, live: Live) -> None:
    recorder = live(record_app(study(shapes)))
    first = Page(recorder)
    first.step("begin", becomes="locate")
    second = Page(recorder)
    assert "another window" in first.until("taken")["message"]
    assert second.state["phase"] == "ready"  # what the first showed is shown again
    second.look(PLACES)
    assert second.step("accept")["done"] == 1


def test_gaze_that_is_there_is_not_overwritten(shapes: Path) -> None:
    table = shapes / "gaze" / "fixations.csv"
    rows = "case_id,reader_id,x_px,y_px,onset_ms,duration_ms\ncase00,r,3,4,0,200\n"
    table.write_text(rows)
    with pytest.raises(DataError, match="--replace-gaze"):
        study(shapes)
    assert table.read_text() == rows
    Study.open(Dataset.load(shapes), RecordConfig(), ["anna"], replace=True).publish()
    assert (shapes / "gaze" / "fixations.before-recording.csv").read_text() == rows
    assert not len(Dataset.load(shapes).fixations["case00"])
