import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.record.calibration import GRID, Correction, Target, accuracy, fit_correction

W, H = 1600.0, 900.0
PLACES = [(u * W, v * H) for u, v in GRID]


def _distorted(x: float, y: float, rng: np.random.Generator, n: int = 120, noise: float = 0.0) -> np.ndarray:
    """What a tracker says of a look at (x, y): shifted, turned and bent."""
    u, v = x / W, y / H
    centre = np.array([x + 30 - 25 * u + 14 * v + 10 * u * v, y - 22 + 18 * v * v - 9 * u])
    return centre + rng.normal(0, noise, (n, 2)) if noise else np.tile(centre, (n, 1))


def test_the_error_without_calibration_is_the_distance() -> None:
    targets = [Target(x, y, np.tile([x + 3.0, y - 4.0], (50, 1))) for x, y in PLACES]
    found = accuracy(targets, px_per_degree=40.0)
    assert found["error_px"] == pytest.approx(5.0)
    assert found["error_deg"] == pytest.approx(0.125)
    assert found["rms_px"] == 0
    assert found["lost"] == 0
    assert not found["poor"]
    assert accuracy(targets, px_per_degree=4.9)["poor"]  # 5 px are more than a degree then
    assert accuracy(targets, None)["error_deg"] is None  # nobody measured the display
    assert not accuracy(targets, None)["poor"]


def test_a_calibration_brings_a_bent_field_back() -> None:
    rng = np.random.default_rng(1)
    targets = [Target(x, y, _distorted(x, y, rng, noise=2.0)) for x, y in PLACES]
    before = accuracy(targets, None)["error_px"]
    correct = fit_correction(targets, W, H)
    other = [(0.3 * W, 0.3 * H), (0.7 * W, 0.25 * H), (0.5 * W, 0.7 * H)]  # not those it was fitted to
    moved = [Target(x, y, np.stack(correct(*_distorted(x, y, rng, noise=2.0).T), axis=1)) for x, y in other]
    assert before > 15
    assert accuracy(moved, None)["error_px"] < 3.0


def test_precision_is_the_root_mean_square_of_steps() -> None:
    rng = np.random.default_rng(2)
    targets = [Target(x, y, np.array([x, y]) + rng.normal(0, 3.0, (4000, 2))) for x, y in PLACES]
    assert accuracy(targets, None)["rms_px"] == pytest.approx(2 * 3.0, rel=0.03)  # sqrt(2 axes * 2 samples) * sd


def test_lost_samples_are_counted_and_missing_targets_told() -> None:
    samples = np.tile([100.0, 100.0], (40, 1))
    samples[:10] = np.nan
    found = accuracy([Target(100, 100, samples), Target(200, 200, np.full((40, 2), np.nan))], None)
    assert found["lost"] == pytest.approx(50 / 80)
    assert found["poor"]
    assert found["targets"][1]["error_px"] is None
    with pytest.raises(DataError, match="no gaze on any target"):
        accuracy([Target(1, 1, np.empty((0, 2)))], None)
    with pytest.raises(DataError, match="1 of 2 targets"):
        fit_correction([Target(100, 100, samples), Target(200, 200, np.empty((0, 2)))], W, H)


def test_no_correction_changes_nothing() -> None:
    x, y = Correction()(np.array([3.0, np.nan]), np.array([4.0, np.nan]))
    np.testing.assert_array_equal(x, [3.0, np.nan])
    np.testing.assert_array_equal(y, [4.0, np.nan])
