import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.gaze.signals import Tracker, simulate_recording

X, Y, DURATION = np.array([100.0, 500.0, 500.0]), np.array([100.0, 100.0, 400.0]), np.array([200.0, 300.0, 100.0])


def simulate(tracker, seed=0):
    return simulate_recording(X, Y, DURATION, tracker, 40.0, np.random.default_rng(seed), start_ms=1000)


def test_without_noise_the_eye_rests_where_it_should_and_lands_when_it_should():
    recording, onset = simulate(Tracker(1000, noise_px=0))
    # 400 px are 10 degrees: 21 + 22 ms; 300 px are 7.5 degrees: 37.5 ms
    np.testing.assert_allclose(onset, [1000, 1243, 1580.5])
    for k in range(3):
        inside = (recording.time_ms >= onset[k]) & (recording.time_ms <= onset[k] + DURATION[k])
        np.testing.assert_allclose(recording.x_px[inside], X[k], atol=1e-9)
        np.testing.assert_allclose(recording.y_px[inside], Y[k], atol=1e-9)
    assert recording.time_ms[[0, -1]].tolist() == [1000, 1680]
    assert (np.diff(recording.x_px) >= -1e-9).all()  # on its way it never turns


def test_noise_rate_loss_and_drift_are_what_was_asked_for():
    recording, _ = simulate(Tracker(2000, noise_px=3.0))
    assert np.std(recording.x_px[:400]) == pytest.approx(3, rel=0.1)
    assert np.median(np.diff(recording.time_ms)) == 0.5
    lost, _ = simulate(Tracker(2000, loss=0.3))
    assert np.isnan(lost.x_px).mean() == pytest.approx(0.3, abs=0.04)
    assert np.array_equal(np.isnan(lost.x_px), np.isnan(lost.y_px))
    drifting, _ = simulate(Tracker(1000, noise_px=0, drift_px_s=50.0))
    assert np.hypot(drifting.x_px[200] - drifting.x_px[0], drifting.y_px[200] - drifting.y_px[0]) == pytest.approx(10)
    blinking, _ = simulate(Tracker(1000, noise_px=0, blinks=1))
    assert 100 <= np.isnan(blinking.x_px).sum() <= 151


def test_the_same_seed_gives_the_same_recording_and_an_irregular_clock_still_rises():
    first, again = (simulate(Tracker(60, jitter=0.25), seed=3)[0] for _ in range(2))
    assert np.array_equal(first.x_px, again.x_px)
    assert (np.diff(first.time_ms) > 0).all()


def test_an_impossible_tracker_is_refused():
    with pytest.raises(DataError, match="sampling_hz > 0"):
        Tracker(0)
    with pytest.raises(DataError, match="jitter below"):
        Tracker(60, jitter=0.5)
