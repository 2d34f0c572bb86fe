"""Gaze controls: what each spoils, what it keeps, and that a case gets the same whoever else is there."""

import numpy as np
import pytest
from scipy import stats

from gazeseg.config import GazeConfig, MapsConfig, RunConfig, build
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.control import CENTRE_SIGMA, apply_control, changes_maps, control_label, control_slug, map_control
from gazeseg.gaze.simulate import PRESETS
from gazeseg.supervision.heatmap import heatmap
from gazeseg.types import Fixations

CONTROLS = ["shuffled_cases", "shuffled_order", "equal_durations", "centre_prior", "jitter:7", "jitter:2%", "webcam"]


def scanpath(case_id: str, count: int, size: tuple[int, int] = (120, 160)) -> Fixations:
    """Random fixations with gaps of 10 to 60 ms between them, some off the image."""
    rng = np.random.default_rng([count, len(case_id)])
    durations = rng.uniform(80, 600, count)
    gaps = rng.uniform(10, 60, count)
    onsets = 7 + np.concatenate([[0.0], np.cumsum(durations + gaps)[:-1]]) if count else np.empty(0)
    x, y = rng.uniform(-5, size[1] + 5, count), rng.uniform(-5, size[0] + 5, count)
    return Fixations(x, y, onsets, durations, size, case_id, f"reader of {case_id}")


@pytest.fixture
def pool() -> dict[str, Fixations]:
    """Twelve cases of different sizes and lengths, of which the fifth has no gaze."""
    sizes = [(100 + 10 * k, 200 - 7 * k) for k in range(12)]
    return {f"case {k}": scanpath(f"case {k}", 0 if k == 4 else 3 + 2 * k, sizes[k]) for k in range(12)}


def gaps(fix: Fixations) -> np.ndarray:
    return np.diff(fix.onset_ms) - fix.duration_ms[:-1]


@pytest.mark.parametrize("control", CONTROLS)
def test_every_case_keeps_its_id_size_and_place_and_onsets_rise(pool, control):
    out = apply_control(pool, control, seed=3)
    assert list(out) == list(pool)
    for case_id, fix in out.items():
        assert (fix.image_id, fix.image_size) == (case_id, pool[case_id].image_size)
        assert (np.diff(fix.onset_ms) > 0).all()
        assert bool(len(fix)) == bool(len(pool[case_id]))


@pytest.mark.parametrize("control", [c for c in CONTROLS if c != "equal_durations"])
def test_the_seed_decides_and_nothing_else(pool, control):
    def table(out):
        return np.concatenate([np.stack([f.x_px, f.y_px, f.onset_ms, f.duration_ms]) for f in out.values()], axis=1)

    first = table(apply_control(pool, control, seed=0))
    assert np.array_equal(first, table(apply_control(pool, control, seed=0)))
    assert not np.array_equal(first, table(apply_control(pool, control, seed=1)))


@pytest.mark.parametrize("control", [c for c in CONTROLS if c != "shuffled_cases"])
def test_a_case_gets_the_same_whoever_else_is_there(pool, control):
    whole = apply_control(pool, control, seed=5)
    alone = apply_control({"case 7": pool["case 7"]}, control, seed=5)["case 7"]
    for name in ("x_px", "y_px", "onset_ms", "duration_ms"):
        assert np.array_equal(getattr(alone, name), getattr(whole["case 7"], name))


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_cases_is_a_derangement_that_carries_shares_over(pool, seed):
    out = apply_control(pool, "shuffled_cases", seed=seed)
    donors = [fix.reader_id.removeprefix("reader of ") for case_id, fix in out.items() if len(fix)]
    receivers = [case_id for case_id, fix in out.items() if len(fix)]
    assert sorted(donors) == sorted(receivers)  # a permutation
    assert all(donor != receiver for donor, receiver in zip(donors, receivers, strict=True))
    for donor, receiver in zip(donors, receivers, strict=True):
        before, after = pool[donor], out[receiver]
        for side, one, two in ((1, before.x_px, after.x_px), (0, before.y_px, after.y_px)):
            assert (two + 0.5) / after.image_size[side] == pytest.approx((one + 0.5) / before.image_size[side])
        assert np.array_equal(after.duration_ms, before.duration_ms)
        assert np.array_equal(after.onset_ms, before.onset_ms)


def test_a_case_more_changes_the_donor_of_one_case_only(pool):
    """The ring is sorted by a hash: whoever joins steps between two neighbours."""
    more = pool | {"late": scanpath("late", 9)}
    before, after = (apply_control(cases, "shuffled_cases", seed=0) for cases in (pool, more))
    changed = [case_id for case_id in pool if before[case_id].reader_id != after[case_id].reader_id]
    assert len(changed) == 1
    assert after[changed[0]].reader_id == "reader of late"


def test_a_centre_stays_a_centre_on_an_image_of_another_size():
    """Pixel 4 is the middle one of 9; on an image of 3 it is pixel 1. The left edge, -0.5, stays the left edge."""
    one = Fixations(np.array([4.0, -0.5]), np.array([4.0, 8.5]), np.array([0.0, 9.0]), np.ones(2), (9, 9), "a")
    out = apply_control({"a": one, "b": scanpath("b", 1, (3, 30))}, "shuffled_cases", seed=0)["b"]
    assert out.x_px == pytest.approx([14.5, -0.5])
    assert out.y_px == pytest.approx([1.0, 2.5])


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_order_keeps_the_fixations_and_the_gaps(pool, seed):
    out = apply_control(pool, "shuffled_order", seed=seed)
    for case_id, fix in pool.items():
        rows = np.stack([fix.x_px, fix.y_px, fix.duration_ms], axis=1)
        shuffled = np.stack([out[case_id].x_px, out[case_id].y_px, out[case_id].duration_ms], axis=1)
        assert sorted(map(tuple, shuffled)) == sorted(map(tuple, rows))
        if len(fix):
            assert out[case_id].onset_ms[0] == fix.onset_ms[0]
            assert gaps(out[case_id]) == pytest.approx(gaps(fix))
            end = out[case_id].onset_ms[-1] + out[case_id].duration_ms[-1]
            assert end == pytest.approx(fix.onset_ms[-1] + fix.duration_ms[-1])
    moved = [not np.array_equal(out[case_id].x_px, fix.x_px) for case_id, fix in pool.items() if len(fix) > 4]
    assert all(moved)


def test_every_order_comes_up_equally_often():
    fix = scanpath("a", 3)
    seen = [tuple(np.argsort(apply_control({"a": fix}, "shuffled_order", seed=s)["a"].x_px)) for s in range(600)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_heatmap_does_not_know_the_order():
    fix = scanpath("a", 40)
    one, two = (
        heatmap(f, MapsConfig()).values for f in (fix, apply_control({"a": fix}, "shuffled_order", seed=1)["a"])
    )
    assert np.abs(one - two).max() < 1e-5


def test_equal_durations_keep_the_looking_time_by_hand():
    """Durations 100, 300, 200 with gaps of 20 and 50: each becomes 200, so onsets are 7, 227, 477."""
    x = np.array([1.0, 2.0, 3.0])
    fix = Fixations(x, x, np.array([7.0, 127.0, 477.0]), np.array([100.0, 300.0, 200.0]), (9, 9), "a")
    out = apply_control({"a": fix}, "equal_durations", seed=0)["a"]
    assert out.duration_ms.tolist() == [200.0, 200.0, 200.0]
    assert out.onset_ms.tolist() == [7.0, 227.0, 477.0]
    assert np.array_equal(out.x_px, x)


def test_overlapping_fixations_are_put_end_to_end():
    x = np.zeros(3)
    fix = Fixations(x, x, np.array([0.0, 10.0, 20.0]), np.array([100.0, 300.0, 200.0]), (9, 9), "a")
    assert apply_control({"a": fix}, "equal_durations", seed=0)["a"].onset_ms.tolist() == [0.0, 200.0, 400.0]


def _moves(control: str, size: tuple[int, int], cases: int = 400) -> np.ndarray:
    """(cases, 50, 2) how far each fixation was moved in x and y."""
    pool = {f"c{k}": scanpath(f"c{k}", 50, size) for k in range(cases)}
    out = apply_control(pool, control, seed=0)
    return np.array([[out[k].x_px - pool[k].x_px, out[k].y_px - pool[k].y_px] for k in pool]).transpose(0, 2, 1)


@pytest.mark.parametrize(("control", "sd_px"), [("jitter:12", 12.0), ("jitter:2.5%", 5.0)])
def test_jitter_is_gaussian_of_that_size_in_px_or_of_the_longer_side(control, sd_px):
    moves = _moves(control, (100, 200)).reshape(-1, 2) / sd_px
    assert moves.std(axis=0) == pytest.approx([1, 1], abs=0.02)
    assert moves.mean(axis=0) == pytest.approx([0, 0], abs=0.02)
    assert stats.kstest(moves.ravel()[::7], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.02


def test_webcam_moves_the_viewing_as_a_whole_and_each_fixation():
    height, width = 100, 200
    model, moves = PRESETS["webcam"], _moves("webcam", (height, width))
    offsets = moves.mean(axis=1) / [width, height]
    assert offsets.std(axis=0) == pytest.approx(model.bias, rel=0.12)
    noise = (moves - moves.mean(axis=1, keepdims=True)).std(axis=(0, 1), ddof=1)
    assert noise == pytest.approx([model.jitter * np.sqrt(height * width)] * 2, rel=0.03)


def test_centre_prior_knows_nothing_of_the_reader():
    pool = {f"c{k}": scanpath(f"c{k}", 50, (100, 200)) for k in range(200)}
    out = apply_control(pool, "centre_prior", seed=0)
    shares = np.concatenate([np.stack([(f.x_px + 0.5) / 200, (f.y_px + 0.5) / 100]) for f in out.values()], axis=1)
    assert shares.mean(axis=1) == pytest.approx([0.5, 0.5], abs=0.01)
    assert shares.std(axis=1) == pytest.approx([CENTRE_SIGMA] * 2, abs=0.005)
    elsewhere = {k: scanpath(k + "!", 50, (100, 200)) for k in pool}  # another reader with as many fixations
    again = apply_control(elsewhere, "centre_prior", seed=0)
    assert all(np.array_equal(again[k].x_px, out[k].x_px) for k in pool)
    assert all(np.array_equal(out[k].duration_ms, pool[k].duration_ms) for k in pool)


def test_none_is_the_gaze_itself(pool):
    assert apply_control(pool, "none", seed=0) == pool


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("shufled_cases", "did you mean 'shuffled_cases'"),
        ("sideways", "known: centre_prior"),
        ("jitter", "jitter:20"),
        ("jitter:", "jitter:20"),
        ("jitter:much", "jitter:20"),
        ("jitter:-3", "above 0"),
        ("jitter:0", "above 0"),
        ("jitter:inf", "above 0"),
        ("webcam:3", "unknown gaze control 'webcam:3'"),
    ],
)
def test_what_is_no_control_is_refused_in_one_line(pool, control, said):
    for refused in (
        lambda: apply_control(pool, control, seed=0),
        lambda: build(RunConfig, {"method": {"name": "full"}, "gaze": {"control": control}}, "run.yaml"),
    ):
        with pytest.raises(ConfigError) as caught:
            refused()
        assert said in str(caught.value)
        assert "gaze.control" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_shuffled_cases_needs_two(pool):
    lonely = {k: pool[k] for k in ("case 4", "case 5")}
    with pytest.raises(DataError, match="1 of 2 cases have gaze") as caught:
        apply_control(lonely, "shuffled_cases", seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "label", "slug", "control"),
    [
        ({}, "", "", ("none", 0)),
        ({"seed": 3}, "", "", ("none", 0)),
        ({"control": "shuffled_cases"}, "of another case", "-shuffled_cases", ("shuffled_cases", 0)),
        ({"control": "webcam", "seed": 2}, "webcam noise added", "-webcam-seed2", ("webcam", 2)),
        ({"control": "webcam", "scope": "track"}, "webcam noise added (track only)", "", ("none", 0)),
        ({"control": "shuffled_order"}, "shuffled order", "", ("none", 0)),
        ({"control": "jitter:20.0"}, "jitter 20 px", "-jitter-20", ("jitter:20", 0)),
        ({"control": "jitter:.5%"}, "jitter 0.5%", "-jitter-0.5pct", ("jitter:0.5%", 0)),
    ],
)
def test_names_of_a_control(values, label, slug, control):
    gaze = GazeConfig(**values)
    assert (control_label(gaze), control_slug(gaze), map_control(gaze)) == (label, slug, control)
    assert changes_maps(gaze) == bool(slug)
