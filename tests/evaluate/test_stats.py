import math

import numpy as np
import pytest
from scipy import stats

from gazeseg.errors import DataError
from gazeseg.evaluate.stats import bootstrap_ci, holm, paired_wilcoxon


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(3).beta(5, 2, 60)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = bootstrap_ci(values, samples=20_000)
    assert low == pytest.approx(reference.low, abs=2e-3)
    assert high == pytest.approx(reference.high, abs=2e-3)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_ci(rng.normal(1.0, 1.0, 50), samples=500, seed=trial)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 200 <= 0.98


def test_bootstrap_is_seeded_and_does_not_depend_on_chunks(monkeypatch):
    values = np.linspace(0, 1, 30)
    whole = bootstrap_ci(values, samples=1000)
    monkeypatch.setattr("gazeseg.evaluate.stats._CHUNK", 900)
    assert bootstrap_ci(values, samples=1000) == whole
    assert bootstrap_ci(values, samples=1000, seed=1) != whole


def test_bootstrap_of_none_and_one():
    assert all(math.isnan(bound) for bound in bootstrap_ci([]))
    assert bootstrap_ci([0.25]) == (0.25, 0.25)


def test_missing_values_are_refused():
    with pytest.raises(DataError, match="finite"):
        bootstrap_ci([0.1, math.nan])
    with pytest.raises(DataError, match="got 2 and 3"):
        paired_wilcoxon([0.1, 0.2], [0.1, 0.2, 0.3])


def test_wilcoxon_by_hand():
    # six differences of one sign: the two extreme sign patterns of 2**6 have p = 2 / 64
    assert paired_wilcoxon([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]) == pytest.approx(2 / 64)


def test_wilcoxon_of_equal_scores_is_one():
    assert paired_wilcoxon([0.5, 0.7], [0.5, 0.7]) == 1.0
    assert paired_wilcoxon([], []) == 1.0


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, then never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_lies_between_no_correction_and_bonferroni():
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    adjusted = np.array(holm(list(p)))
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 12 * p) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
