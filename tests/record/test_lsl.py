"""A real outlet and a real inlet on the loopback address."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.record.lsl import Channels, LslFeeder

pylsl = pytest.importorskip("pylsl")


def test_channels_are_found_by_their_labels() -> None:
    assert Channels.of(["x", "y"], 2) == Channels((0,), (1,))
    assert Channels.of(
        ["time", "left_gaze_x", "left_gaze_y", "right_gaze_x", "right_gaze_y", "pupil_x"], 6
    ) == Channels((1, 3), (2, 4), (5,))
    assert Channels.of(["", "", ""], 3) == Channels((0,), (1,))
    with pytest.raises(DataError, match="label them x and y"):
        Channels.of(["alpha", "beta"], 2)


def test_two_eyes_are_averaged_where_both_are_seen() -> None:
    channels = Channels((0, 2), (1, 3))
    values = np.array([[10, 20, 30, 40], [np.nan, np.nan, 30, 40], [np.nan] * 4])
    found = channels.samples(values, np.array([1.0, 1.01, 1.02]))
    np.testing.assert_allclose(found[:, :3], [[1000, 20, 30], [1010, 30, 40], [1020, np.nan, np.nan]])


def test_every_sample_of_an_outlet_comes_once_and_in_order() -> None:
    name = f"gazeseg-test-{time.monotonic_ns()}"
    info = pylsl.StreamInfo(name, "Gaze", 3, 250, "double64", name)
    channels = info.desc().append_child("channels")
    for label in ("gaze_x", "gaze_y", "pupil"):
        channels.append_child("channel").append_child_value("label", label)
    outlet = pylsl.StreamOutlet(info)
    count = 250

    def send() -> None:
        assert outlet.wait_for_consumers(60)
        start = pylsl.local_clock()
        for k in range(count):
            outlet.push_sample([float(k), 2.0 * k, 3.5], start + k / 250)

    async def receive() -> np.ndarray:
        got: list[np.ndarray] = []
        async for batch in LslFeeder(0, name).batches():
            got.append(batch)
            if sum(map(len, got)) >= count:
                break
        return np.concatenate(got)

    sender = threading.Thread(target=send)
    sender.start()
    samples = asyncio.run(asyncio.wait_for(receive(), 120))
    sender.join()
    np.testing.assert_array_equal(samples[:, 1], np.arange(count))
    np.testing.assert_array_equal(samples[:, 2], 2.0 * np.arange(count))
    assert (np.diff(samples[:, 0]) > 0).all()
    assert np.median(np.diff(samples[:, 0])) == pytest.approx(4.0, abs=0.2)  # ms
