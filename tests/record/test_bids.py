"""What is exported reads back to the fixations that were recorded, zoom or no zoom, device or pointer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gazeseg.data.dataset import Dataset
from gazeseg.gaze.fixations import detect_fixations
from gazeseg.gaze.geometry import Viewing, Viewport
from gazeseg.gaze.io.bids import read
from gazeseg.gaze.io.trial import ReadOptions
from gazeseg.record.bids import export_bids
from gazeseg.record.session import Session
from gazeseg.record.viewing import Window
from gazeseg.types import Recording

from .conftest import study


def _rest(x: float, y: float, start_ms: float, ms: float = 400) -> np.ndarray:
    t = start_ms + np.arange(1, ms / 10 + 1) * 10.0
    return np.stack([t, np.full_like(t, x), np.full_like(t, y), np.full_like(t, 3.0)], axis=1)


@pytest.mark.parametrize("source", ["mouse", "websocket"])
def test_the_export_reads_back_to_the_same_fixations(shapes: Path, source: str) -> None:
    opened = study(shapes, source=source, stages="one", display={"width_cm": 50, "height_cm": 30, "distance_cm": 60})
    session = Session(opened, "anna")
    session.window = Window(left_px=40, top_px=30, scale=2.0, screen_width_px=1600, screen_height_px=900)
    for k in range(2):
        start = 10_000.0 * k
        session.begin(start)
        session.view(Viewport(100.0, 50.0, 2.0, 2.0, start))
        session.view(Viewport(0.0, 0.0, 3.0, 3.0, start + 405.0))
        places = [(200.0 + 30 * k, 150.0), (450.0, 380.0)]
        if source == "websocket":  # px of the display
            places = [((x + 40 + 0.5) * 2 - 0.5, (y + 30 + 0.5) * 2 - 0.5) for x, y in places]
        session.add(_rest(*places[0], start))
        session.add(_rest(*places[1], start + 410))
        session.finish(start + 900)
        session.work()
        session.accept(start + 1000)
    session.begin(30_000.0)
    session.redo(30_100.0)  # nothing of it is exported
    recorded = {case: event["fixations"] for case, event in session.done.items()}
    session.close()
    folder = export_bids(Dataset.load(shapes))
    assert folder == shapes / "gaze" / "bids"
    (file,) = folder.rglob("*_physio.tsv.gz")
    back = read(file, ReadOptions(resolve=lambda name: name))
    assert back.screen_px == (1600, 900)
    assert back.screen_cm == pytest.approx((50, 30))
    assert {trial.image for trial in back.trials} == set(recorded)
    for trial in back.trials:
        assert len(trial.places) == 2
        shown = Viewing(tuple(replace(Viewport.box((240, 320), box), onset_ms=at) for at, box in trial.places))
        samples = Recording(trial.samples.time_ms, trial.samples.x, trial.samples.y, trial.image)
        px_per_degree = opened.config.px_per_degree(1600, 900)
        breaks = (trial.places[1][0],)
        events = detect_fixations(samples, px_per_degree, opened.config.detection, breaks_ms=breaks)
        x, y = shown.to_image(events.onset_ms, events.x_px, events.y_px)
        np.testing.assert_allclose(x, recorded[trial.image]["x_px"], atol=0.02)
        np.testing.assert_allclose(y, recorded[trial.image]["y_px"], atol=0.02)
    assert export_bids(Dataset.load(shapes)) == folder  # again, over what is there
    assert not list((shapes / "gaze").glob(".bids*"))


def test_nothing_recorded_writes_nothing(shapes: Path) -> None:
    assert export_bids(Dataset.load(shapes)) is None
    assert not (shapes / "gaze" / "bids").exists()
