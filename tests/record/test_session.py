"""A session without a server: what a full disk, a clock that runs backwards or a zoom do to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.gaze.geometry import Viewport
from gazeseg.record.session import ProtocolError, Session
from gazeseg.record.store import StorageError
from gazeseg.record.viewing import Window

from .conftest import study


def rest(x: float, y: float, start_ms: float, ms: float = 400, hz: float = 100) -> np.ndarray:
    """Samples (N, 4) that stay at one place."""
    t = start_ms + np.arange(1, int(ms * hz / 1000) + 1) * 1000 / hz
    return np.stack([t, np.full_like(t, x), np.full_like(t, y), np.full_like(t, np.nan)], axis=1)


@pytest.fixture
def session(shapes: Path) -> Session:
    return Session(study(shapes, stages="one"), "anna")


def test_a_full_disk_stops_the_viewing_and_the_next_one_works(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.begin(0.0)
    session.view(Viewport(0, 0, 2, 2, 0.0))
    session.add(rest(100, 100, 0))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(StorageError, match="No space left"):
            session.add(rest(100, 100, 400))
        assert session.phase == "ready"
        with pytest.raises(StorageError):
            session.begin(900.0)
        assert session.phase == "ready"
    session.begin(1000.0)
    session.view(Viewport(0, 0, 2, 2, 1000.0))
    session.add(rest(100, 100, 1000))
    session.finish(1500.0)
    session.work()
    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(StorageError):
            session.accept(1600.0)
    assert session.phase == "review"  # still there, to be accepted once there is space
    session.accept(1700.0)
    assert len(session.done) == 1


def test_time_that_runs_backwards_is_refused_and_nothing_is_lost(session: Session) -> None:
    session.begin(0.0)
    assert session.add(rest(10, 10, 0, 100)) == 10
    with pytest.raises(DataError, match="runs backwards"):
        session.add(rest(10, 10, 50, 100))
    assert session.add(rest(10, 10, 100, 100)) == 10
    assert session.look is not None
    assert session.look.count == 20


def test_samples_from_before_the_image_are_left_out(session: Session) -> None:
    session.begin(100.0)
    assert session.add(rest(10, 10, 0, 200)) == 11  # 100, 110, ... 200 ms


def test_a_zoom_ends_a_fixation_and_moves_the_place(session: Session) -> None:
    session.begin(0.0)
    session.view(Viewport(0.0, 0.0, 2.0, 2.0, 0.0))
    session.add(rest(99.5, 119.5, 0))
    session.view(Viewport(50.0, 0.0, 4.0, 4.0, 405.0))  # the pointer rests on, the image moves below it
    session.add(rest(99.5, 119.5, 405))
    session.finish(900.0)
    session.work()
    assert session.result is not None
    found = session.result["fixations"]
    # (99.5 + .5) / 2 - .5 = 49.5; then (99.5 - 50 + .5) / 4 - .5 = 12
    assert found["x_px"] == [49.5, 12.0]
    assert found["y_px"] == [59.5, 29.5]


def test_an_image_nobody_looked_at_gives_no_fixation_and_no_mask(session: Session) -> None:
    session.begin(0.0)
    session.view(Viewport(0, 0, 1, 1, 0.0))
    session.finish(100.0)
    session.work()
    assert session.result is not None
    assert session.result["fixations"]["x_px"] == []
    assert [contour["lines"] for contour in session.result["contours"]] == [[], []]
    session.redo(200.0)
    assert session.phase == "ready"


def test_device_px_go_through_the_display_to_the_page() -> None:
    window = Window(left_px=100, top_px=80, scale=2.0, screen_width_px=960, screen_height_px=540)
    x, y = window.to_page(np.array([399.5]), np.array([359.5]), "px")  # the edge of 400 px of the display: 200 CSS px
    assert (x[0], y[0]) == (99.5, 99.5)
    x, y = window.to_page(np.array([0.5]), np.array([0.5]), "normalised")
    assert (x[0], y[0]) == (480 - 0.5 - 100, 270 - 0.5 - 80)


def test_only_the_scan_counts_where_asked(shapes: Path) -> None:
    for use, count in (("both", 2), ("scan", 1)):
        session = Session(study(shapes, use=use), use)
        session.begin(0.0)
        session.view(Viewport(0, 0, 1, 1, 0.0))
        session.add(rest(50, 50, 0))
        session.scan(405.0)
        session.add(rest(50, 50, 405))  # at the same place: the stage parts them
        session.finish(900.0)
        session.work()
        assert session.result is not None
        assert len(session.result["fixations"]["x_px"]) == count


def test_the_order_outlives_images_that_come_and_go(shapes: Path) -> None:
    first = Session(study(shapes), "anna")
    order = first.order
    first.begin(0.0)
    first.skip(1.0)
    first.close()
    table = shapes / "cases.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith(f"{order[2]},")) + "\n")
    again = Session(study(shapes), "anna")
    assert again.order == [order[0], order[1], order[3]]
    assert again.current == order[1]


def test_undo_between_images_only(session: Session) -> None:
    with pytest.raises(ProtocolError, match="nothing to undo"):
        session.undo()
    session.begin(0.0)
    with pytest.raises(ProtocolError, match="between images"):
        session.undo()
