import math

import numpy as np
import pytest

from gazeseg.gaze.fixations import detect_fixations
from gazeseg.gaze.recording import LIMITS, measure, to_json
from gazeseg.types import Recording

PPD = 40.0


def still(noise_px=0.0, hz=500.0, seconds=2.0, jitter=0.0):
    rng = np.random.default_rng(0)
    n = round(hz * seconds)
    time = np.arange(n) * 1e3 / hz + rng.uniform(-jitter, jitter, n) * 1e3 / hz
    x, y = (300 + noise_px * rng.normal(size=n) for _ in "xy")
    return Recording(time, x, y, "a")


def quality(recording, **options):
    events = detect_fixations(recording, PPD)
    options = {"px_per_degree": PPD, "off_image": 0.0, **options}
    return measure("a", "r", recording, events, fixations=len(events), fixation_ms=200.0, **options)


def test_precision_of_white_noise_is_known():
    found = quality(still(noise_px=2.0))
    assert found.rms_s2s_px == pytest.approx(2 * 2, rel=0.05)  # sqrt 2 for a difference, sqrt 2 for two axes
    assert found.sd_px == pytest.approx(2 * math.sqrt(2), rel=0.05)
    assert found.rms_s2s_deg == found.rms_s2s_px / PPD
    assert found.sampling_hz == pytest.approx(500)
    assert found.jitter == pytest.approx(0, abs=1e-9)
    assert (found.loss, found.samples) == (0, 1000)
    assert found.duration_s == pytest.approx(2)
    assert found.in_fixations == pytest.approx(1, abs=0.02)
    assert found.warnings() == []


def test_loss_jitter_and_a_slow_clock_are_warned_of():
    recording = still(0.5, hz=30, jitter=0.45)
    recording.x_px[20:38] = np.nan
    found = quality(recording, off_image=0.5)
    assert found.loss == pytest.approx(18 / 60)
    text = "; ".join(found.warnings())
    for part in (
        "30% of the samples are lost",
        "50% of the fixations lie off",
        "interval varies by",
        "samples a second",
    ):
        assert part in text


def test_accuracy_on_known_targets_leaves_out_the_way_there():
    recording = still()
    recording.x_px[:200] = 900  # the first 400 ms: still at the last target
    target = np.full(1000, 270.0), np.full(1000, 340.0)
    found = quality(recording, target=target)
    assert found.accuracy_px == pytest.approx(50)  # 30 and 40 px
    assert found.accuracy_deg == pytest.approx(1.25)
    assert found.warnings() == ["accuracy 1.25 degrees"]


def test_without_geometry_there_are_no_degrees_and_json_holds_null():
    found = quality(still(3.0), px_per_degree=None, validation_deg=0.4)
    assert math.isnan(found.rms_s2s_deg)
    assert found.accuracy_deg == 0.4  # the tracker's own validation is in degrees already
    row = to_json([found])[0]
    assert (row["rms_s2s_deg"], row["case_id"], row["warnings"]) == (None, "a", [])


def test_fixations_without_samples():
    empty = Recording(np.empty(0), np.empty(0), np.empty(0), "a")
    found = measure("a", "r", empty, None, fixations=3, fixation_ms=250, off_image=0, px_per_degree=PPD)
    assert math.isnan(found.loss)
    assert found.warnings() == []
    assert LIMITS.loss < 1
    none = measure("a", "r", empty, None, fixations=0, fixation_ms=math.nan, off_image=math.nan, px_per_degree=None)
    assert none.warnings() == ["no fixation"]
