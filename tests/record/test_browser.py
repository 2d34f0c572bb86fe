"""The page in a headless Chromium: what a reader does with pointer and keys, and what comes of it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gazeseg.data.dataset import Dataset
from gazeseg.data.pseudo import make_masks, resolve_config

from .conftest import Recorder, make_shapes

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian: apt-get install chromium"),
]
WAIT_MS = 120_000  # a busy machine is slow, not wrong


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Reader:
    """Somebody at the page."""

    def __init__(self, browser: Any, recorder: Recorder, index: int = 0) -> None:
        self.page = browser.new_context(viewport={"width": 1000, "height": 760}).new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(recorder.url)
        self.page.wait_for_selector(".choices, .card")
        if self.page.locator(".choices").count():
            self.page.keyboard.press(str(index + 1))
        self.wait("ready", "done", "paused")

    def wait(self, *phases: str) -> None:
        self.page.wait_for_selector(", ".join(f"body[data-phase={phase}]" for phase in phases))

    def press(self, key: str, becomes: str) -> None:
        self.page.keyboard.press(key)
        self.wait(becomes)

    def position(self) -> int:
        """Which image comes next, from 1."""
        return int(self.page.locator(".where").inner_text().split()[1])

    def look(self, mask: np.ndarray) -> None:
        """Locate a shape, scan it from its centre to its border, finish."""
        height, width = mask.shape
        # the page fits the image between its bars: 24 px at the sides, 64 above, 76 below
        zoom = min((1000 - 48) / width, (760 - 64 - 76) / height)
        left, top = 24 + (952 - width * zoom) / 2, 64 + (620 - height * zoom) / 2
        rows, columns = np.nonzero(mask)
        cy, cx = rows.mean(), columns.mean()
        ry, rx = (rows.max() - rows.min()) / 2, (columns.max() - columns.min()) / 2

        def to(x: float, y: float) -> None:
            self.page.mouse.move(left + (x + 0.5) * zoom, top + (y + 0.5) * zoom)
            self.page.wait_for_timeout(90)

        to(cx, cy)
        self.press(" ", "locate")
        self.page.wait_for_timeout(150)
        self.press(" ", "scan")
        for share, steps in ((0.4, 5), (0.75, 9)):
            for k in range(steps):
                angle = 2 * math.pi * k / steps
                to(cx + share * rx * math.cos(angle), cy + share * ry * math.sin(angle))
        self.press(" ", "review")


def _order(data: Path, reader: str) -> list[str]:
    import json

    order: list[str] = json.loads((data / "record" / reader / "log.jsonl").read_text().splitlines()[0])["order"]
    return order


def _mask(data: Path, case: str) -> np.ndarray:
    return np.asarray(Image.open(data.parent / "masks" / f"{case}.png")) > 0


def _dice(data: Path) -> dict[str, float]:
    """Dice of the pseudo-masks that ``gazeseg masks`` makes of what was recorded."""
    dataset = Dataset.load(data)
    folder = make_masks(dataset, data / "pseudo", resolve_config(dataset, {}), jobs=1)
    scores = {}
    for case in dataset.cases:
        truth = _mask(data, case.case_id)
        best = [2 * (truth & (level > 0)).sum() / (truth.sum() + level.sum()) for level in folder.levels(case.case_id)]
        scores[case.case_id] = float(max(best))
    return scores


def test_twenty_images_by_pointer_with_a_kill_in_the_middle(
    tmp_path: Path, browser: Any, serve: Callable[..., Recorder]
) -> None:
    data = make_shapes(tmp_path, 20)
    recorder = serve("record", str(data), "--reader", "anna")
    reader = Reader(browser, recorder)
    order = _order(data, "anna")
    for case in order[:9]:
        reader.look(_mask(data, case))
        reader.press("Enter", "ready")
    reader.look(_mask(data, order[9]))  # not accepted
    before = (data / "gaze" / "fixations.csv").read_text()
    recorder.kill()
    reader.wait("offline")
    assert all(url.startswith((recorder.origin, "data:", "blob:")) for url in reader.requests)
    again = serve("record", str(data), "--reader", "anna")
    assert (data / "gaze" / "fixations.csv").read_text() == before
    reader = Reader(browser, again)
    assert reader.position() == 10
    for case in order[9:]:
        reader.look(_mask(data, case))
        reader.press("Enter", "done" if case == order[-1] else "ready")
    assert reader.errors == []
    scores = _dice(data)
    assert len(scores) == 20
    assert np.mean(list(scores.values())) >= 0.7
    assert min(scores.values()) >= 0.5


def test_two_readers_keys_and_the_clear_window(tmp_path: Path, browser: Any, serve: Callable[..., Recorder]) -> None:
    data = make_shapes(tmp_path, 2)
    recorder = serve("record", str(data), "--reader", "anna", "ben", "--view", "window")
    anna, ben = Reader(browser, recorder, 0), Reader(browser, recorder, 1)
    anna.look(_mask(data, _order(data, "anna")[0]))
    ben.look(_mask(data, _order(data, "ben")[0]))
    anna.press("Enter", "ready")
    ben.press("r", "ready")
    ben.page.keyboard.press("s")
    ben.page.locator(".where", has_text="Image 2 of").wait_for()
    ben.page.keyboard.press("u")
    ben.page.locator(".where", has_text="Image 1 of").wait_for()
    anna.press("p", "paused")
    anna.press(" ", "ready")
    anna.press(" ", "locate")
    sharp = anna.page.screenshot()
    anna.page.mouse.move(200, 300)
    anna.page.wait_for_timeout(300)
    assert anna.page.screenshot() != sharp  # the clear disc went with the pointer
    anna.page.keyboard.press("]")
    anna.page.keyboard.press("+")
    anna.press("r", "ready")
    assert anna.errors + ben.errors == []
    assert (anna.position(), ben.position()) == (2, 1)
    assert (data / "gaze" / "readers" / "anna.csv").is_file()


def test_the_page_keeps_its_pace_while_it_draws(tmp_path: Path, browser: Any, serve: Callable[..., Recorder]) -> None:
    """Work of a frame, measured inside the page: what the display allows is the machine's, not ours."""
    data = make_shapes(tmp_path, 1, (480, 640))
    reader = Reader(browser, serve("record", str(data), "--view", "window"))
    reader.press(" ", "locate")
    reader.page.evaluate(
        """() => { window.work = [];
        const frame = window.requestAnimationFrame;
        window.requestAnimationFrame = (call) => frame((t) => { const a = performance.now(); call(t);
        window.work.push(performance.now() - a); }); }"""
    )
    for k in range(60):
        reader.page.mouse.move(300 + 5 * k, 300 + 40 * math.sin(k / 5))
    reader.page.wait_for_timeout(500)
    work = reader.page.evaluate("window.work")
    assert len(work) > 20
    assert np.median(work) < 1000 / 60
