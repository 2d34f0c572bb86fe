import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve

from gazeseg.errors import DataError
from gazeseg.evaluate.calibration import cross_entropy, fit_temperature, rank_correlation, reliability, risk_coverage

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_temperature_that_made_labels_is_found(temperature, classes):
    true = RNG.normal(0, 2, (60_000, classes))
    if classes == 2:
        true[:, 0] = 0
    powered = np.exp(true)
    labels = (powered.cumsum(axis=1) / powered.sum(axis=1, keepdims=True) < RNG.random((60_000, 1))).sum(axis=1)
    found = fit_temperature(true * temperature, labels)
    assert found == pytest.approx(temperature, rel=0.04)
    assert cross_entropy(true * temperature / found, labels) <= cross_entropy(true * temperature, labels) + 1e-9


def test_reliability_is_the_curve_of_scikit_learn():
    said = RNG.random(5000)
    was = (RNG.random(5000) < said**2).astype(float)
    found = reliability(said, was, bins=10)
    expected_was, expected_said = calibration_curve(was, said, n_bins=10)
    np.testing.assert_allclose(found.was, expected_was)
    np.testing.assert_allclose(found.said, expected_said)
    assert found.share.sum() == pytest.approx(1)
    assert found.ece == pytest.approx(np.mean(said - said**2), abs=0.02)


def test_certain_answers_fall_into_the_last_bin():
    found = reliability(np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0]))
    assert found.ece == 0
    assert found.share.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_risk_coverage_by_hand():
    curve = risk_coverage(np.array([0.2, 0.9, 0.5]), np.array([0.6, 0.0, 0.3]))
    np.testing.assert_allclose(curve.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.risk, [0, 0.15, 0.3])
    assert curve.area == curve.best_area == pytest.approx(0.15)
    assert curve.random_area == pytest.approx(0.3)
    wrong = risk_coverage(np.array([0.9, 0.2, 0.5]), np.array([0.6, 0.0, 0.3]))
    np.testing.assert_allclose(wrong.risk, [0.6, 0.45, 0.3])


def test_a_score_that_knows_nothing_has_the_mean_risk():
    risk = RNG.random(50)
    curve = risk_coverage(np.full(50, 0.7), risk)
    np.testing.assert_allclose(curve.risk, risk.mean())
    order = [risk_coverage(RNG.random(50), risk).area for _ in range(3000)]
    assert np.mean(order) == pytest.approx(risk.mean(), abs=0.005)


def test_rank_correlation_is_that_of_scipy():
    a = RNG.integers(0, 5, 40).astype(float)
    b = a + RNG.normal(0, 2, 40)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(a, np.zeros(40)) == 0


def test_nothing_to_rank_or_fit_is_refused():
    with pytest.raises(DataError, match="no case to rank"):
        risk_coverage(np.array([]), np.array([]))
    with pytest.raises(DataError, match="no labelled pixel"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))
