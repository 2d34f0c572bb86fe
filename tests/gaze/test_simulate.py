from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.quality import gaze_quality, in_mask_share, summarise
from gazeseg.gaze.simulate import PRESETS, NoiseModel, simulate_fixations
from gazeseg.supervision.heatmap import square768
from gazeseg.supervision.quality import mask_quality

EXACT = NoiseModel(bias=(0.0, 0.0), jitter=0.0, off_target=0.0, locate=(0, 0))


def disc(size=(120, 160), centre=(70, 50), radius=25):
    rows, columns = np.indices(size)
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def test_a_generator_in_one_state_draws_one_scanpath():
    first, again, other = (simulate_fixations(disc(), np.random.default_rng(seed), image_id="a") for seed in (3, 3, 4))
    for name in ("x_px", "y_px", "onset_ms", "duration_ms"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.x_px.tolist() != other.x_px.tolist()
    assert (first.image_id, first.reader_id, first.image_size) == ("a", "simulated", (120, 160))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_scanpath_keeps_the_published_rules(preset):
    gaps = []
    for seed in range(60):
        fix = simulate_fixations(disc(), np.random.default_rng(seed), preset=preset)
        assert fix.on_image.all()
        assert len(fix) <= 54
        assert (fix.duration_ms >= 50).all()
        gaps += (np.diff(fix.onset_ms) - fix.duration_ms[:-1]).tolist()
    assert min(gaps) >= 14  # a saccade lies between two fixations; times are whole milliseconds
    assert 15 <= np.median(gaps) <= 45


def test_without_errors_every_fixation_of_the_scan_is_on_the_target():
    target = disc()
    for seed in range(20):
        fix = simulate_fixations(target, np.random.default_rng(seed), preset=EXACT)
        assert in_mask_share(fix, target) == 1


def test_the_scan_goes_from_the_middle_to_the_boundary():
    target = disc()
    depth = distance_transform_edt(target)
    trends = []
    for seed in range(20):
        fix = simulate_fixations(target, np.random.default_rng(seed), preset=EXACT)
        at = depth[np.floor(fix.y_px + 0.5).astype(int), np.floor(fix.x_px + 0.5).astype(int)]
        trends.append(spearmanr(np.arange(len(fix)), at).statistic)
    assert np.mean(trends) < -0.6


def test_the_first_fixation_is_near_the_centre_of_the_image():
    target = disc(size=(200, 200), centre=(170, 30), radius=15)
    starts = [simulate_fixations(target, np.random.default_rng(seed)) for seed in range(40)]
    distance = [np.hypot(fix.x_px[0] - 100, fix.y_px[0] - 100) / 200 for fix in starts]
    assert np.median(distance) < 0.12


def test_objects_are_scanned_one_after_another():
    two = disc(centre=(60, 35), radius=18) | disc(centre=(60, 120), radius=18)
    for seed in range(20):
        right = simulate_fixations(two, np.random.default_rng(seed), preset=EXACT).x_px > 80
        assert np.count_nonzero(np.diff(right)) <= 1


def test_durations_have_the_stated_median():
    fixes = [simulate_fixations(disc(), np.random.default_rng(seed), preset=EXACT) for seed in range(60)]
    durations = np.concatenate([fix.duration_ms for fix in fixes])
    assert np.median(durations) == pytest.approx(EXACT.duration_median_ms, rel=0.05)
    assert np.log(durations).std() == pytest.approx(EXACT.duration_log_sd, rel=0.05)


def test_an_empty_mask_draws_no_gaze():
    fix = simulate_fixations(np.zeros((8, 9), bool), np.random.default_rng(0), image_id="healthy")
    assert len(fix) == 0
    assert fix.image_size == (8, 9)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (40, 3)])
def test_one_pixel_and_full_masks_work(size):
    one = np.zeros(size, bool)
    one[0, 0] = True
    for target in (one, np.ones(size, bool)):
        assert len(simulate_fixations(target, np.random.default_rng(0), preset=EXACT)) > 0


def test_wrong_arguments_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="did you mean 'webcam'"):
        simulate_fixations(disc(), rng, preset="webcm")
    with pytest.raises(DataError, match=r"case 'a'.*bool"):
        simulate_fixations(disc().astype(np.uint8), rng, image_id="a")
    with pytest.raises(ConfigError, match="off_target"):
        NoiseModel(bias=(0, 0), jitter=0, off_target=1.0)
    with pytest.raises(ConfigError, match="fewest"):
        NoiseModel(bias=(0, 0), jitter=0, off_target=0, count=(5, 4))


@pytest.fixture(scope="module")
def kvasir(real_data: Path):
    masks = {}
    for path in sorted((real_data / "kvasir-seg" / "masks").iterdir())[::10]:
        with Image.open(path) as image:  # half size: the figures are shares of the image, and it is four times as fast
            masks[path.stem] = np.asarray(image.convert("L").reduce(2)) > 127
    return masks


def simulated(masks, preset):
    return {
        name: simulate_fixations(mask, np.random.default_rng([7, index]), preset=preset, image_id=name)
        for index, (name, mask) in enumerate(masks.items())
    }


@pytest.mark.real
def test_eyelink_is_as_good_as_the_recorded_gaze(kvasir):
    fixes = simulated(kvasir, "eyelink")
    summary = summarise([gaze_quality(fixes[name], mask) for name, mask in kvasir.items()])
    assert summary["in_mask_share"]["mean"] == pytest.approx(0.850, abs=0.03)
    assert summary["in_mask_share"]["median"] == pytest.approx(0.900, abs=0.04)
    assert summary["centroid_offset"]["mean"] == pytest.approx(0.041, abs=0.006)
    assert 27 <= summary["fixations"]["mean"] <= 33
    dice = [mask_quality(square768(fixes[n], 70.0).values >= 0.5, mask)["dice"] for n, mask in kvasir.items()]
    assert np.mean(dice) == pytest.approx(0.745, abs=0.03)


@pytest.mark.real
def test_webcam_is_as_bad_as_the_published_one(kvasir):
    fixes = simulated(kvasir, "webcam")
    summary = summarise([gaze_quality(fixes[name], mask) for name, mask in kvasir.items()])
    assert summary["in_mask_share"]["median"] == pytest.approx(0.17, abs=0.06)
    assert summary["centroid_offset"]["mean"] == pytest.approx(0.267, abs=0.03)
