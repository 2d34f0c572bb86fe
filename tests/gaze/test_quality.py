import json
import math

import numpy as np
import pytest
from PIL import Image

from gazeseg.errors import DataError
from gazeseg.gaze.io.gazemedseg_csv import read_gazemedseg_csv
from gazeseg.gaze.quality import (
    centroid_offset,
    control_shares,
    frame_verdict,
    gaze_quality,
    in_mask_share,
    summarise,
)
from gazeseg.types import Fixations

HEIGHT, WIDTH = 40, 60


def fixations(x, y, duration=None, case="a", size=(HEIGHT, WIDTH)):
    duration = np.full(len(x), 200.0) if duration is None else duration
    return Fixations(np.array(x, float), np.array(y, float), np.arange(len(x)) * 1e3, duration, size, case)


def box(top, bottom, left, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_fixation_falls_on_the_pixel_whose_square_it_lies_in():
    mask = box(10, 11, 20, 21)
    for x, y, inside in [
        (19.5, 9.5, 1),
        (20.49, 10.49, 1),
        (20.5, 10, 0),
        (20, 10.5, 0),
        (19.49, 10, 0),
        (20, 9.49, 0),
    ]:
        assert in_mask_share(fixations([x], [y]), mask) == inside


def test_off_the_image_is_outside_and_duration_weighs():
    fix = fixations([-1, 5, 5, WIDTH - 0.5], [5, 5, 30, 5], np.array([100.0, 300.0, 500.0, 100.0]))
    mask = box(0, 20, 0, WIDTH)
    assert in_mask_share(fix, mask) == 0.25
    assert in_mask_share(fix, mask, weighted=True) == pytest.approx(0.3)


def test_centroid_offset_by_hand():
    mask = box(0, 20, 0, 30)  # centroid (0.25, 0.25)
    fix = fixations([0.55 * WIDTH - 0.5, 0.15 * WIDTH - 0.5], [0.65 * HEIGHT - 0.5] * 2, np.array([100.0, 300.0]))
    assert centroid_offset(fix, mask) == pytest.approx(0.4)
    assert centroid_offset(fixations([14.5], [9.5]), mask) == pytest.approx(0)


def test_nothing_to_measure_is_nan_and_does_not_count():
    none, some = fixations([], []), fixations([5], [5])
    empty, full = np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)
    assert math.isnan(in_mask_share(none, full))
    assert in_mask_share(some, empty) == 0
    assert math.isnan(centroid_offset(none, full))
    assert math.isnan(centroid_offset(some, empty))
    cases = [gaze_quality(none, full), gaze_quality(some, empty), gaze_quality(some), gaze_quality(some, full)]
    summary = summarise(cases)
    assert summary["fixations"] == {"mean": 0.75, "median": 1, "min": 0, "max": 1}
    assert summary["duration_s"]["max"] == 0.2
    assert summary["in_mask_share"]["mean"] == 1
    json.dumps(summary, allow_nan=False)
    assert set(summarise([gaze_quality(some)])) == {"fixations", "duration_s", "off_image_share"}
    assert summarise([]) == {}


def test_a_mask_of_another_size_is_refused():
    for measure in (in_mask_share, centroid_offset, gaze_quality):
        with pytest.raises(DataError, match="'a'"):
            measure(fixations([5], [5]), np.ones((WIDTH, HEIGHT), bool))


def cohort(spoil, *, count=30):
    """Objects in the upper left third, gaze inside them, then ``spoil`` as a wrong loader would."""
    rng = np.random.default_rng(0)
    fixes, masks = {}, {}
    for index in range(count):
        top, left = int(rng.integers(1, 9)), int(rng.integers(12, 24))
        masks[f"c{index}"] = box(top, top + 7, left, left + 8)
        x, y = left + rng.uniform(-0.4, 7.4, 20), top + rng.uniform(-0.4, 6.4, 20)
        fixes[f"c{index}"] = fixations(*spoil(x, y), case=f"c{index}")
    return fixes, masks


@pytest.mark.parametrize(
    ("spoil", "control", "word"),
    [
        (lambda x, y: (WIDTH - 1 - x, y), "flipped_x", "right edge"),
        (lambda x, y: (x, HEIGHT - 1 - y), "flipped_y", "bottom edge"),
        (lambda x, y: (WIDTH - 1 - x, HEIGHT - 1 - y), "flipped_xy", "corner"),
        (
            lambda x, y: ((y + 0.5) / HEIGHT * WIDTH - 0.5, (x + 0.5) / WIDTH * HEIGHT - 0.5),
            "transposed",
            "swap",
        ),
    ],
)
def test_controls_undo_the_mistake_and_the_verdict_names_it(spoil, control, word):
    controls = control_shares(*cohort(spoil))
    assert controls[control]["mean"] == 1
    assert controls["true"]["mean"] < 0.6
    assert word in frame_verdict(controls)
    json.dumps(controls, allow_nan=False)


def test_true_coordinates_need_no_verdict():
    controls = control_shares(*cohort(lambda x, y: (x, y)))
    assert list(controls) == ["true", "weighted", "flipped_x", "flipped_y", "flipped_xy", "transposed", "shuffled"]
    assert controls["true"] == controls["weighted"] == {"mean": 1, "median": 1}
    assert frame_verdict(controls) is None


def test_gaze_of_other_images_is_noticed():
    fixes, masks = cohort(lambda x, y: (x, y))
    names = sorted(fixes)
    moved = {name: fixes[other] for name, other in zip(names, names[1:] + names[:1], strict=True)}
    swapped = control_shares(moved, masks)
    assert swapped["true"]["mean"] < 0.5
    shared = {**swapped, "shuffled": {"mean": swapped["true"]["mean"] + 0.01, "median": 0.0}}
    assert "wrong images" in frame_verdict(shared)


def test_controls_skip_what_cannot_be_measured():
    fixes, masks = cohort(lambda x, y: (x, y), count=4)
    expected = control_shares(fixes, masks)["true"]
    fixes["blank"] = fixations([], [])
    fixes["unmasked"] = fixations([1], [1])
    fixes["healthy"] = fixations([1], [1])
    masks["healthy"] = np.zeros((HEIGHT, WIDTH), bool)
    assert control_shares(fixes, masks)["true"] == expected
    assert control_shares({}, masks) == {}
    assert frame_verdict({}) is None


@pytest.fixture(scope="module")
def published(real_data):
    def load(table: str, folder: str):
        masks = {}
        for path in sorted((real_data / folder).iterdir()):
            with Image.open(path) as image:
                masks[path.stem] = np.asarray(image.convert("L")) > 127
        sizes = {name: mask.shape for name, mask in masks.items()}
        return read_gazemedseg_csv(real_data / "gazemedseg" / table, sizes), masks

    return load


@pytest.mark.real
def test_kvasir_figures_are_the_verified_ones(published):
    fixes, masks = published("kvasir_fixation.csv", "kvasir-seg/masks")
    controls = control_shares(fixes, masks)
    wanted = {
        "true": (0.850, 0.900),
        "weighted": (0.870, 0.919),
        "flipped_x": (0.326, 0.291),
        "flipped_y": (0.380, 0.390),
        "flipped_xy": (0.175, 0.025),
        "transposed": (0.362, 0.356),
    }
    for name, (mean, median) in wanted.items():
        assert controls[name]["mean"] == pytest.approx(mean, abs=6e-4), name
        assert controls[name]["median"] == pytest.approx(median, abs=6e-4), name
    assert 0.295 <= controls["shuffled"]["mean"] <= 0.299
    assert 0.18 <= controls["shuffled"]["median"] <= 0.21
    assert frame_verdict(controls) is None
    summary = summarise([gaze_quality(fixes[name], masks[name]) for name in sorted(masks)])
    assert summary["centroid_offset"]["mean"] == pytest.approx(0.0404, abs=6e-5)
    assert summary["centroid_offset"]["median"] == pytest.approx(0.0365, abs=6e-5)
    assert summary["in_mask_share"]["min"] == pytest.approx(0.11, abs=5e-3)
    assert summary["fixations"]["mean"] == pytest.approx(26.8, abs=0.05)
    assert summary["duration_s"]["mean"] == pytest.approx(9.0, abs=0.05)
    assert summary["off_image_share"]["max"] == 0


@pytest.mark.real
def test_nci_figures_are_the_verified_ones(published):
    fixes, masks = published("nci-isbi_fixation.csv", "nci-isbi/masks")
    controls = control_shares(fixes, masks)
    wanted = {
        "true": (0.908, 0.966),
        "weighted": (0.914, 0.974),
        "flipped_x": (0.793, 0.865),
        "flipped_y": (0.504, 0.588),
        "flipped_xy": (0.461, 0.500),
        "transposed": (0.572, 0.632),
    }
    for name, (mean, median) in wanted.items():
        assert controls[name]["mean"] == pytest.approx(mean, abs=6e-4), name
        assert controls[name]["median"] == pytest.approx(median, abs=6e-4), name
    assert 0.54 <= controls["shuffled"]["mean"] <= 0.56
    assert 0.56 <= controls["shuffled"]["median"] <= 0.57
    assert frame_verdict(controls) is None
    summary = summarise([gaze_quality(fixes[name], masks[name]) for name in sorted(masks)])
    assert summary["centroid_offset"]["mean"] == pytest.approx(0.0146, abs=6e-5)
    assert summary["centroid_offset"]["median"] == pytest.approx(0.0118, abs=6e-5)
