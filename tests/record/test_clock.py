import numpy as np

from gazeseg.record.clock import ClockOffset


def test_the_fastest_message_tells_the_offset() -> None:
    rng = np.random.default_rng(0)
    clock = ClockOffset()
    assert not clock.known
    for sent in np.arange(0, 10_000, 20.0):
        clock.seen(sent, sent + 5_000 + 0.4 + rng.exponential(8))  # 0.4 ms at least on the way
    assert abs(clock.offset_ms - 5_000.4) < 0.2


def test_drift_is_followed_within_the_window() -> None:
    clock = ClockOffset(window_ms=1_000)
    for sent in np.arange(0, 60_000, 10.0):
        clock.seen(
            sent, sent * (1 + 50e-6) + 100
        )  # our clock runs 50 ppm faster: the smallest difference is the oldest
    assert 100 + 59_000 * 50e-6 - 0.06 < clock.offset_ms < 100 + 60_000 * 50e-6
