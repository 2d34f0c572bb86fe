import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.fixations import (
    Detection,
    detect_fixations,
    idt_spans,
    ivt_spans,
    long_gaps,
    median_deviation,
    position_noise_px,
    sampling_interval_ms,
    velocity_px_ms,
)
from gazeseg.gaze.signals import Tracker, simulate_recording
from gazeseg.types import Recording

PPD = 40.0


def scanpath(rng, count=20, least_px=160.0):
    """Places at least four degrees apart, and durations."""
    places = [rng.uniform((100, 100), (1800, 900))]
    while len(places) < count:
        place = rng.uniform((100, 100), (1800, 900))
        if math.dist(place, places[-1]) >= least_px:
            places.append(place)
    x, y = np.array(places).T
    return x, y, rng.uniform(180, 600, count)


def recording(time, x, y):
    return Recording(np.asarray(time, float), np.asarray(x, float), np.asarray(y, float), "a")


def simulated(tracker, seed=0, **options):
    rng = np.random.default_rng(seed)
    x, y, duration = scanpath(rng, **options)
    samples, onset = simulate_recording(x, y, duration, tracker, PPD, rng)
    return samples, x, y, onset, duration


def noisy(duration_ms, noise_px, hz=1000, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(0, duration_ms, 1e3 / hz)
    return recording(time, 500 + noise_px * rng.normal(size=len(time)), 400 + noise_px * rng.normal(size=len(time)))


RATES_HZ = (30, 50, 60, 90, 120, 250, 300, 500, 1000, 2000)
FAST_HZ = tuple(hz for hz in RATES_HZ if hz > 100)  # below, a saccade is shorter than three samples: auto takes I-DT


@pytest.mark.parametrize(
    ("algorithm", "hz"),
    [*(("auto", hz) for hz in RATES_HZ), *(("idt", hz) for hz in RATES_HZ), *(("ivt", hz) for hz in FAST_HZ)],
)
def test_a_known_scanpath_comes_back_at_any_rate(algorithm, hz):
    samples, x, y, onset, duration = simulated(Tracker(hz, noise_px=0.5))
    found = detect_fixations(samples, PPD, Detection(algorithm))
    assert len(found) == len(x)
    assert np.hypot(found.x_px - x, found.y_px - y).max() < 1.0
    # a saccade begins and ends slower than any threshold, and I-DT takes up a degree of it
    slack = 15 + 1.5e3 / hz
    assert np.abs(found.onset_ms - onset).max() < slack
    assert np.abs(found.onset_ms + found.duration_ms - onset - duration).max() < slack
    assert found.figures["algorithm"] == ("idt" if algorithm == "idt" or hz < 100 else "ivt")
    assert found.figures["sampling_hz"] == pytest.approx(hz)


@pytest.mark.parametrize("hz", [30, 60, 120, 500, 1000, 2000])
@pytest.mark.parametrize(
    "trouble",
    [{"noise_px": 6.0}, {"drift_px_s": 25.0}, {"loss": 0.1}, {"jitter": 0.15}],
    ids=["noise", "drift", "loss", "jitter"],
)
def test_noise_drift_loss_and_an_irregular_clock_do_not_change_the_count(hz, trouble):
    samples, x, y, _, _ = simulated(Tracker(hz, **{"noise_px": 1.0, **trouble}), least_px=400)
    found = detect_fixations(samples, PPD, Detection(max_gap_ms=max(75.0, 4e3 / hz)))
    assert len(found) == len(x)
    assert np.hypot(found.x_px - x, found.y_px - y).max() < 1 + 1.5 * trouble.get("noise_px", 1.0)


def test_a_fixed_velocity_threshold_breaks_a_noisy_fixation_and_an_adaptive_one_does_not():
    samples = noisy(2000, noise_px=15.0)
    assert detect_fixations(samples, PPD, Detection("ivt", adaptive=False, merge_deg=0.0)).duration_ms.sum() < 500
    whole = detect_fixations(samples, PPD, Detection("ivt", merge_deg=0.0))
    assert len(whole) == 1
    assert whole.duration_ms[0] > 1950
    assert whole.figures["threshold_x_deg_s"] > 30


def test_a_fixed_dispersion_threshold_breaks_a_noisy_fixation_and_an_adaptive_one_does_not():
    samples = noisy(3000, noise_px=8.0, hz=60)
    assert len(detect_fixations(samples, PPD, Detection(adaptive=False, merge_deg=0.0))) > 1
    assert len(detect_fixations(samples, PPD)) == 1


def test_the_place_and_time_of_a_fixation_by_hand():
    found = detect_fixations(recording([0, 20, 40, 60, 80], [10, 10, 11, 10, 90], [5, 5, 5, 6, 5]), PPD)
    # medians of the first four samples; from the first to the last and one interval
    assert (found.x_px.tolist(), found.y_px.tolist()) == ([10], [5])
    assert (found.onset_ms.tolist(), found.duration_ms.tolist()) == ([0], [80])
    assert (found.first.tolist(), found.last.tolist()) == ([0], [3])


def test_a_long_loss_ends_a_fixation_and_what_lies_beside_it_is_dropped():
    samples = noisy(1000, 0.5)
    samples.x_px[400:550] = np.nan
    found = detect_fixations(samples, PPD)
    assert (found.first.tolist(), found.last.tolist()) == ([0, 574], [375, 999])
    unpadded = detect_fixations(samples, PPD, Detection(blink_pad_ms=0))
    assert (unpadded.first.tolist(), unpadded.last.tolist()) == ([0, 550], [399, 999])
    assert long_gaps(samples, 75) == [(399.0, 550.0)]


def test_a_short_loss_does_not_end_a_fixation():
    samples = noisy(1000, 0.5)
    samples.y_px[400:470] = np.nan
    assert detect_fixations(samples, PPD).duration_ms.tolist() == [1000]


def test_near_neighbours_become_one_fixation_and_distant_ones_stay_two():
    time = np.arange(0, 600, 2.0)
    jump = np.where((time > 290) & (time < 310), 30.0, 0.0)  # out and back, as after a dropped sample

    def count(offset):
        x = 500 + jump + np.where(time > 300, offset, 0)
        return len(detect_fixations(recording(time, x, np.full(300, 400.0)), PPD))

    assert count(0) == 1
    assert count(15) == 1  # 0.375 degrees
    assert count(80) == 2


def test_nothing_merges_across_a_break():
    samples = noisy(1000, 0.5)
    found = detect_fixations(samples, PPD, breaks_ms=(500.0,))
    assert (found.onset_ms.tolist(), found.duration_ms.tolist()) == ([0, 500], [500, 500])
    assert len(detect_fixations(samples, PPD, breaks_ms=(-5.0, 0.0, 5000.0))) == 1


def test_short_fixations_are_dropped():
    samples, x, _, _, _ = simulated(Tracker(500, noise_px=0.5))
    kept = detect_fixations(samples, PPD, Detection(min_duration_ms=400))
    assert 0 < len(kept) < len(x)
    assert kept.duration_ms.min() >= 400


def test_thresholds_follow_the_size_of_a_degree():
    samples, *_ = simulated(Tracker(250, noise_px=0.5))
    small = recording(samples.time_ms, samples.x_px / 10, samples.y_px / 10)
    found = detect_fixations(small, PPD / 10)
    reference = detect_fixations(samples, PPD)
    assert found.onset_ms.tolist() == reference.onset_ms.tolist()
    np.testing.assert_allclose(found.x_px * 10, reference.x_px)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_hold_no_fixation(n):
    assert len(detect_fixations(recording(np.arange(n), np.zeros(n), np.zeros(n)), PPD)) == 0


def test_a_lost_recording_holds_no_fixation():
    lost = recording(np.arange(100), np.full(100, np.nan), np.full(100, np.nan))
    assert len(detect_fixations(lost, PPD)) == 0
    assert long_gaps(lost, 75) == []


@pytest.mark.parametrize("algorithm", ["idt", "ivt"])
def test_repeated_values_do_not_stop_either_algorithm(algorithm):
    still = recording(np.arange(0, 500, 10), np.full(50, 3.0), np.full(50, 4.0))
    found = detect_fixations(still, PPD, Detection(algorithm))
    assert (found.x_px.tolist(), found.y_px.tolist(), found.duration_ms.tolist()) == ([3], [4], [500])


def test_settings_and_scale_are_checked():
    with pytest.raises(ConfigError, match="velocity_deg_s must be above 0, got 0"):
        Detection(velocity_deg_s=0)
    with pytest.raises(ConfigError, match="merge_deg must be 0 or more, got -1"):
        Detection(merge_deg=-1)
    with pytest.raises(DataError, match="px_per_degree must be above 0, got nan"):
        detect_fixations(noisy(100, 1), math.nan)


def test_velocity_is_exact_on_a_ramp_whatever_the_clock():
    time = np.cumsum(np.random.default_rng(0).uniform(0.5, 8, 200))
    speed = velocity_px_ms(time, 2 * time + 5, -0.5 * time)
    np.testing.assert_allclose(speed, np.stack([np.full(199, 2.0), np.full(199, -0.5)]), rtol=1e-9)


def test_the_noise_estimates_are_the_standard_deviation_of_white_noise():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 20000)) * [[3.0], [1.0]]
    time = np.arange(20000.0)
    assert position_noise_px(time, values[0], values[1], 75) == pytest.approx(3, rel=0.03)
    np.testing.assert_allclose(median_deviation(values) * 1.4826, [3, 1], rtol=0.03)
    assert position_noise_px(time * 100, values[0], values[1], 75) == 0  # no neighbours


def test_ivt_spans_by_hand():
    slow, fast = [0.1, 0.2], [0.9, 0.9]
    excess = np.array([slow, slow, fast, slow, slow, slow]).T  # seven samples
    assert ivt_spans(excess, np.array([], int)).tolist() == [[0, 2], [3, 6]]
    assert ivt_spans(excess, np.array([5])).tolist() == [[0, 2], [3, 4], [5, 6]]
    assert ivt_spans(np.full((2, 3), 5.0), np.array([], int)).tolist() == []


def idt_by_the_book(time, x, y, dispersion, duration):
    """Salvucci and Goldberg's pseudocode, one sample at a time."""
    spans, start = [], 0
    while start < len(time):
        stop = int(np.searchsorted(time, time[start] + duration))
        if stop >= len(time):
            break
        window = slice(start, stop + 1)
        if np.ptp(x[window]) + np.ptp(y[window]) >= dispersion:
            start += 1
            continue
        while stop + 1 < len(time) and np.ptp(x[start : stop + 2]) + np.ptp(y[start : stop + 2]) < dispersion:
            stop += 1
        spans.append([start, stop])
        start = stop + 1
    return spans


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 400), dispersion=st.floats(1, 60), duration=st.floats(1, 90))
def test_idt_is_that_of_the_paper(seed, n, dispersion, duration):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(1, 9, n))
    x, y = (np.repeat(rng.uniform(0, 300, n), rng.integers(1, 40, n))[:n] + rng.normal(size=n) for _ in "xy")
    expected = idt_by_the_book(time, x, y, dispersion, duration)
    assert idt_spans(time, x, y, dispersion, duration).tolist() == expected


@pytest.mark.slow
def test_idt_agrees_with_pymovements():
    pymovements = pytest.importorskip("pymovements")
    samples, *_ = simulated(Tracker(100, noise_px=1.0))
    positions = np.stack([samples.x_px, samples.y_px], axis=1)
    theirs = pymovements.events.idt(
        positions, samples.time_ms.round().astype(int), minimum_duration=100, dispersion_threshold=40.0
    ).frame
    time = samples.time_ms.round()
    ours = idt_spans(time, samples.x_px, samples.y_px, 40.0, 100.0)
    both = [
        sum((time >= first) & (time <= last) for first, last in spans)
        for spans in (time[ours], theirs.select("onset", "offset").to_numpy())
    ]
    assert (both[0] == both[1]).mean() > 0.94  # their window of the least duration lacks its last sample


def test_ivt_agrees_with_pymovements():
    pymovements = pytest.importorskip("pymovements")
    samples, *_ = simulated(Tracker(500, noise_px=0.2))
    speed = velocity_px_ms(samples.time_ms, samples.x_px, samples.y_px) * 1e3 / PPD
    theirs = pymovements.events.ivt(
        speed.T, samples.time_ms[1:].astype(int), minimum_duration=60, velocity_threshold=30.0
    ).frame
    ours = detect_fixations(samples, PPD, Detection("ivt", adaptive=False))
    assert len(theirs) == len(ours)
    assert np.abs(ours.onset_ms - theirs["onset"].to_numpy()).max() <= 4
    assert np.abs(samples.time_ms[ours.last] - theirs["offset"].to_numpy()).max() <= 4


def test_the_interval_of_a_clock_is_its_median_step():
    assert sampling_interval_ms(np.array([0, 2, 4, 6, 100.0])) == 2
    assert sampling_interval_ms(np.array([7.0])) == 0
