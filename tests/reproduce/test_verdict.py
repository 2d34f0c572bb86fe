import pytest
from scipy import stats

from gazeseg.reproduce.recipe import find_recipe
from gazeseg.reproduce.result import SplitPart, make_result
from gazeseg.reproduce.verdict import difference_interval, judged

RECIPE = find_recipe("kvasir/gazemedseg")  # published .7780 +- .0102 over 3 seeds


@pytest.fixture
def make_comparable(make_run, tmp_path):
    """A result at paper scale on the published split, with these Dice of its seeds."""

    def make(dices, **changes):
        runs = [
            make_run(tmp_path / f"s{k}", [dice], values=RECIPE.config("paper"), seed=k) for k, dice in enumerate(dices)
        ]
        test = SplitPart(cases=100, checksum=RECIPE.dataset.test.checksum)
        return make_result(runs).model_copy(update={"test": test, **changes})

    return make


def test_the_interval_is_welchs():
    ours = [0.78, 0.80, 0.79, 0.765]
    reference = stats.ttest_ind_from_stats(sum(ours) / 4, stats.tstd(ours), 4, 0.75, 0.02, 3, equal_var=False)
    low, high = difference_interval(ours, 0.75, 0.02, 3)
    middle = (low + high) / 2
    assert middle == pytest.approx(sum(ours) / 4 - 0.75)
    # the interval that just touches 0 at the level of the reference's p
    error = middle / reference.statistic
    freedom = (stats.tvar(ours) / 4 + 0.02**2 / 3) ** 2 / ((stats.tvar(ours) / 4) ** 2 / 3 + (0.02**2 / 3) ** 2 / 2)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, freedom) * error)
    assert 2 * stats.t.sf(abs(reference.statistic), freedom) == pytest.approx(reference.pvalue)


@pytest.mark.parametrize(
    ("dices", "word"),
    [
        ((0.777, 0.785, 0.772), "matches"),
        ((0.83, 0.84, 0.835), "above"),
        ((0.72, 0.715, 0.725), "below"),
        ((0.70, 0.86, 0.78), "not comparable"),  # the interval holds everything
        ((0.778,), "not comparable"),
    ],
)
def test_words(make_comparable, dices, word):
    verdict = judged(make_comparable(dices), RECIPE, "paper").verdict
    assert verdict.word == word
    assert (verdict.ci95 is None) == (word == "not comparable")
    assert verdict.why


@pytest.mark.parametrize(
    ("scale", "changes", "said"),
    [
        ("cpu-small", {}, "another budget"),
        ("paper", {"gaze": "simulated"}, "simulated from the true masks"),
        ("paper", {"control": "gaze shuffled_order"}, "spoilt on purpose"),
        ("paper", {"test": SplitPart(cases=3, checksum="0" * 16)}, "other cases than the published split"),
        ("paper", {"train": SplitPart(cases=3, checksum="0" * 16)}, "learnt from other cases"),
        ("paper", {"dataset": "made"}, "another data set"),
        ("paper", {"text": "rules (stand-in for a vision-language model)"}, "stand-in"),
    ],
)
def test_what_sets_two_figures_apart_is_said(make_comparable, scale, changes, said):
    verdict = judged(make_comparable((0.777, 0.785, 0.772), **changes), RECIPE, scale).verdict
    assert verdict.word == "not comparable"
    assert verdict.difference is None
    assert any(said in reason for reason in verdict.why)


def test_changed_keys_and_another_published_network_are_obstacles(make_comparable):
    result = make_comparable((0.777, 0.785))
    assert "train.lr" in " ".join(judged(result, RECIPE, "paper", ("train.lr",)).verdict.why)
    assert "ViG-UNet" in " ".join(judged(result, find_recipe("kvasir/gaze_partial"), "paper").verdict.why)


def test_a_reconstruction_and_a_second_hand_figure_are_named_beside_the_verdict(make_comparable):
    result = make_comparable((0.80, 0.81, 0.805), status="reconstruction")
    verdict = judged(result, find_recipe("kvasir/gradtrack"), "paper").verdict
    assert verdict.word == "matches"
    assert any("reconstruction" in caveat for caveat in verdict.caveats)
    assert any("second-hand" in caveat for caveat in verdict.caveats)
