"""Gaze from outside the page: the documented WebSocket, a played file, targets and the display in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from websockets.sync.client import ClientConnection

from gazeseg.errors import ConfigError, DataError
from gazeseg.record.app import record_app
from gazeseg.record.clock import ClockOffset
from gazeseg.record.desk import Desk
from gazeseg.record.devices import Device
from gazeseg.record.messages import Hello, encode_binary, parse_page
from gazeseg.record.sources import FileFeeder, make_feeders, read_stream

from .conftest import Recorder, study

# a display of 2000 x 1600 px at two px to a CSS px, the page over all of it
HELLO = {"type": "hello", "width": 1000, "height": 800, "screen_width": 1000, "screen_height": 800, "scale": 2.0}


def _ask(socket: ClientConnection, message: dict[str, Any], kind: str) -> dict[str, Any]:
    socket.send(json.dumps(message))
    while True:
        answer: dict[str, Any] = json.loads(socket.recv(timeout=200))
        if answer["type"] == kind:
            return answer


def _samples(start_ms: float, count: int, x: float, y: float, hz: float = 250) -> np.ndarray:
    t = start_ms + np.arange(1, count + 1) * 1000 / hz
    noise = np.random.default_rng(int(start_ms)).normal(0, 0.5, (2, count))
    return np.stack([t, x + noise[0], y + noise[1], np.full(count, 3.0)], axis=1)


def test_a_device_on_its_own_clock_becomes_fixations(shapes: Path, live: Callable[[FastAPI], Recorder]) -> None:
    recorder = live(record_app(study(shapes, source="websocket", stages="one")))
    page, device = recorder.socket("/ws/page/0"), recorder.socket("/ws/gaze/0")
    _ask(page, {**HELLO, "t": 1e6}, "state")
    clock = 5e8  # nothing to do with the page's
    for seq in range(3):  # before an image: known, not stored
        device.send(encode_binary(seq, _samples(clock + 40 * seq, 10, 500, 500)))
        assert json.loads(device.recv(timeout=60)) == {"type": "ack", "seq": seq, "received": 10, "stored": 0}
    _ask(page, {"type": "begin", "t": 1e6 + 1}, "state")  # long before any sample to come: clocks agree to seconds here
    page.send(json.dumps({"type": "view", "t": 1e6 + 1, "left": 100.0, "top": 50.0, "zoom": 2.0}))
    stored = 0
    for k, (x, y) in enumerate(((100, 80), (180, 120))):
        px = [((value + 0.5) * 2.0 + offset) * 2 - 0.5 for value, offset in ((x, 100), (y, 50))]
        batch = _samples(clock + 1e5 + 400 * k, 100, *px)
        text = {"seq": 10 + k, "t_ms": batch[:, 0].tolist(), "x": batch[:, 1].tolist(), "y": batch[:, 2].tolist()}
        answer = _ask(device, text, "ack")
        stored += answer["stored"]
    assert stored == 200
    state = _ask(page, {"type": "finish", "t": 1e6 + 1e6}, "state")
    while state["phase"] != "review":
        state = json.loads(page.recv(timeout=200))
        state = state if state["type"] == "state" else {"phase": ""}
    found = state["result"]["fixations"]
    np.testing.assert_allclose(found["x_px"], [100, 180], atol=0.2)
    np.testing.assert_allclose(found["y_px"], [80, 120], atol=0.2)
    np.testing.assert_allclose(found["duration_ms"], 400, atol=24)  # 20 ms of velocity stand around the jump


def test_a_batch_that_does_not_fit_is_refused_and_the_next_one_taken(
    shapes: Path, live: Callable[[FastAPI], Recorder]
) -> None:
    recorder = live(record_app(study(shapes, source="websocket")))
    device = recorder.socket("/ws/gaze/0")
    device.send(encode_binary(0, _samples(1000, 10, 5, 5)))
    assert json.loads(device.recv(timeout=60))["type"] == "ack"
    device.send(encode_binary(1, _samples(500, 10, 5, 5)))
    refused = json.loads(device.recv(timeout=60))
    assert refused["type"] == "error"
    assert "runs backwards" in refused["message"]
    device.send(encode_binary(2, _samples(2000, 10, 5, 5)))
    assert json.loads(device.recv(timeout=60))["type"] == "ack"


def test_targets_calibrate_and_validate(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sockets, on a clock of the test's own: targets count by when they were seen."""
    now = [1e6]
    monkeypatch.setattr("gazeseg.record.desk.local_ms", lambda: now[0])
    display = {"width_cm": 50.0, "height_cm": 40.0, "distance_cm": 60.0}
    desk = Desk(study(shapes, source="websocket", display=display), "anna")
    results = []

    async def send(message: dict[str, Any]) -> None:
        message.clear()

    async def say(kind: str, **values: Any) -> dict[str, Any]:
        state = await desk.handle(parse_page(json.dumps({"type": kind, "t": now[0] - 400.0, **values})))
        assert state is not None
        assert not state["problem"]
        return state

    async def run() -> None:
        hello = parse_page(json.dumps({**HELLO, "t": now[0] - 400.0}))  # the page's clock is 400 ms behind ours
        assert isinstance(hello, Hello)
        await desk.arrive(hello, send)
        for purpose in ("validation", "calibration", "validation"):
            assert (await say("targets"))["phase"] == "targets"
            for x, y in [(1000 * u, 800 * v) for u in (0.1, 0.5, 0.9) for v in (0.1, 0.5, 0.9)]:
                start = now[0]
                now[0] += 200  # the tracker is off by 12 and -9 CSS px everywhere, and of the year 2000 by its clock
                await desk.feed(_samples(start + 5e8, 50, (x + 12.5) * 2 - 0.5, (y - 8.5) * 2 - 0.5))
                await say("target", x=x, y=y, from_ms=start - 400.0, to_ms=now[0] - 400.0)
            results.append(await say("targets_done", purpose=purpose))
        await desk.close()

    asyncio.run(run())
    assert results[0]["validation"]["error_px"] == pytest.approx(15.0, abs=0.3)
    per_degree = 60 * np.tan(np.radians(1)) * 20  # 1000 px on 50 cm
    assert results[0]["validation"]["error_deg"] == pytest.approx(15.0 / per_degree, rel=0.03)
    assert results[1]["calibrated"]
    assert results[2]["validation"]["error_px"] < 0.5
    kinds = [json.loads(line)["kind"] for line in (shapes / "record" / "anna" / "log.jsonl").read_text().splitlines()]
    assert kinds == ["session", "validation", "calibration", "validation"]


def test_a_better_estimate_of_the_clocks_never_tears_a_viewing() -> None:
    """The device speaks first within the viewing, and its first message was the slowest."""
    page = ClockOffset()
    page.seen(0.0, 0.0)
    device = Device(page)
    device.hold()
    moved = [
        device.take(_samples(100.0 * k, 20, 5, 5, hz=200), 1000 + 100.0 * k + late) for k, late in ((0, 80), (1, 3))
    ]
    times = np.concatenate(moved)[:, 0]
    np.testing.assert_allclose(np.diff(times), 5.0)
    device.release()
    again = device.take(_samples(200.0, 20, 5, 5, hz=200), 1250.0)
    assert again[0, 0] - times[-1] == pytest.approx(5.0 - 77.0)  # from now on by the fastest message


def test_a_file_is_played_in_its_own_time_and_again(tmp_path: Path) -> None:
    path = tmp_path / "stream.csv"
    rows = [f"{10 * k},{k},{'' if k == 3 else 2 * k}" for k in range(20)]
    path.write_text("\n".join(["time_ms,x,y", *rows]) + "\n")

    async def play() -> np.ndarray:
        got: list[np.ndarray] = []
        async for batch in FileFeeder(0, path).batches():
            got.append(batch)
            if sum(map(len, got)) >= 45:
                break
        return np.concatenate(got)[:45]

    samples = asyncio.run(play())
    np.testing.assert_allclose(samples[:, 0], 10.0 * np.arange(45))
    np.testing.assert_array_equal(samples[:, 1], np.arange(45) % 20)
    assert np.isnan(samples[3, 2])


def test_sources_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--stream TABLE"):
        make_feeders("file", None)
    with pytest.raises(ConfigError, match="leave it away"):
        make_feeders("mouse", "x")
    path = tmp_path / "stream.csv"
    path.write_text("time_ms,x,y\n10,1,1\n5,1,1\n")
    with pytest.raises(DataError, match="row 3: time_ms '5' is not later"):
        read_stream(path)
    path.write_text("time_ms,x,y\n10,1,1\n20,one,1\n")
    with pytest.raises(DataError, match="row 3: x 'one' is not a number"):
        read_stream(path)
