import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from gazeseg.errors import DataError
from gazeseg.evaluate.metrics import score_case
from gazeseg.types import CaseScore


def score(prediction, truth, **options) -> CaseScore:
    [result] = score_case(np.asarray(prediction, np.uint8), np.asarray(truth, np.uint8), num_classes=2, **options)
    return result


def directed(a, b, spacing):
    """The definition of medpy, on the full array: distance of the border of a to the border of b."""
    cross = ndimage.generate_binary_structure(a.ndim, 1)
    a_border, b_border = a ^ ndimage.binary_erosion(a, cross), b ^ ndimage.binary_erosion(b, cross)
    return ndimage.distance_transform_edt(~b_border, sampling=spacing)[a_border]


def one_hot(mask):
    return torch.from_numpy(np.stack([mask == 0, mask == 1])[None].astype(np.float32))


def blobs(shape, seed, *, size=3.0, share=0.7):
    """Smooth random regions with several components and holes, some at the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), size)
    return noise > np.quantile(noise, share)


def test_a_square_shifted_by_one_by_hand():
    truth = np.zeros((6, 6))
    truth[1:3, 1:3] = 1
    result = score(np.roll(truth, 1, axis=1), truth)
    assert (result.dice, result.iou, result.sensitivity, result.precision) == (0.5, 1 / 3, 0.5, 0.5)
    # two of four border pixels coincide, two are one pixel away, in both directions
    assert (result.hd95, result.hd95_max, result.asd, result.assd) == (1.0, 1.0, 0.5, 0.5)
    assert (result.unit, result.empty) == ("px", "none")


def test_one_pixel_objects_measure_the_plain_distance_in_mm():
    truth, prediction = np.zeros((9, 9)), np.zeros((9, 9))
    truth[1, 1] = prediction[4, 5] = 1
    result = score(prediction, truth, spacing_mm=(2.0, 0.5))
    assert result.hd95 == pytest.approx(math.hypot(3 * 2.0, 4 * 0.5))
    assert (result.dice, result.unit) == (0.0, "mm")


def test_asd_is_directed_and_the_pooled_percentile_is_not_the_maximum():
    truth, prediction = np.zeros((1, 101)), np.zeros((1, 101))
    truth[0, 0] = 1
    prediction[0, ::10] = 1  # 11 isolated pixels at 0, 10, ..., 100
    result = score(prediction, truth)
    assert result.asd == 50.0
    assert result.assd == 25.0
    assert result.hd95 == np.percentile([0, *range(0, 101, 10)], 95)
    assert result.hd95_max == np.percentile(range(0, 101, 10), 95)
    assert score(truth, prediction).asd == 0.0


@settings(max_examples=150, deadline=None)
@given(
    masks=hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=12).flatmap(
        lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
    ),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
)
def test_distances_equal_the_full_distance_map(masks, spacing):
    prediction, truth = masks
    if not (prediction.any() and truth.any()):
        return
    spacing = spacing[: truth.ndim]
    result = score(prediction, truth, spacing_mm=spacing)
    there, back = directed(prediction, truth, spacing), directed(truth, prediction, spacing)
    assert result.hd95 == pytest.approx(np.percentile(np.hstack((there, back)), 95), abs=1e-6)
    assert result.hd95_max == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-6)
    assert result.asd == pytest.approx(there.mean(), abs=1e-6)
    assert result.assd == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((96, 80), None), ((96, 80), (0.7, 1.3)), ((9, 48, 40), (8.0, 1.5, 1.25))]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_large_shapes_equal_the_full_distance_map_and_monai(shape, spacing, seed):
    prediction, truth = blobs(shape, seed), blobs(shape, seed + 10)
    result = score(prediction, truth, spacing_mm=spacing)
    there, back = directed(prediction, truth, spacing), directed(truth, prediction, spacing)
    assert result.hd95 == pytest.approx(np.percentile(np.hstack((there, back)), 95), abs=1e-6)
    assert result.assd == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-6)
    pair = one_hot(prediction), one_hot(truth)
    monai_spacing = list(spacing) if spacing else None
    hausdorff = compute_hausdorff_distance(*pair, percentile=95, spacing=monai_spacing)
    surface = compute_average_surface_distance(*pair, symmetric=False, spacing=monai_spacing)
    assert result.hd95_max == pytest.approx(hausdorff.item(), rel=1e-5)
    assert result.asd == pytest.approx(surface.item(), rel=1e-5)


def test_identical_masks_are_perfect():
    mask = blobs((40, 40), 3)
    result = score(mask, mask)
    assert (result.dice, result.iou, result.sensitivity, result.precision) == (1, 1, 1, 1)
    assert (result.hd95, result.hd95_max, result.asd, result.assd) == (0, 0, 0, 0)


def test_scores_do_not_depend_on_flips_axes_or_position():
    prediction, truth = blobs((50, 34), 0), blobs((50, 34), 1)
    plain = score(prediction, truth)
    for move in (np.flipud, np.fliplr, np.transpose):
        moved = score(move(prediction), move(truth))
        assert moved.hd95 == pytest.approx(plain.hd95)
        assert (moved.dice, moved.iou) == (plain.dice, plain.iou)
    # a margin changes nothing as long as no object touched the border
    inner_p, inner_t = np.pad(prediction, 1), np.pad(truth, 1)
    far = score(np.pad(inner_p, 30), np.pad(inner_t, 30))
    assert far.assd == pytest.approx(score(inner_p, inner_t).assd)


def test_sensitivity_and_precision_change_places_with_the_masks():
    a, b = blobs((30, 30), 0), blobs((30, 30), 1, share=0.5)
    forth, back = score(a, b), score(b, a)
    assert (forth.sensitivity, forth.precision) == (back.precision, back.sensitivity)
    assert forth.dice == back.dice == pytest.approx(2 * forth.iou / (1 + forth.iou))


@pytest.mark.parametrize(
    ("predicted", "present", "empty", "overlap"),
    [(0, 1, "prediction", 0.0), (1, 0, "truth", 0.0), (0, 0, "both", 1.0)],
)
def test_empty_masks_never_help(predicted, present, empty, overlap):
    result = score(np.full((4, 4), predicted), np.full((4, 4), present))
    assert (result.dice, result.iou, result.sensitivity, result.precision) == (overlap,) * 4
    assert all(math.isnan(value) for value in (result.hd95, result.hd95_max, result.asd, result.assd))
    assert result.empty == empty


def test_published_rules_for_empty_masks_can_be_asked_for():
    nothing, something = np.zeros((4, 4)), np.ones((4, 4))
    both = score(nothing, nothing, both_empty=0.0, missed_distance=0.0)
    assert (both.dice, both.hd95) == (0.0, 0.0)
    assert score(nothing, something, missed_distance=0.0).hd95 == 0.0
    assert math.isnan(score(something, nothing, missed_distance=0.0).hd95)


def test_ignored_pixels_count_nowhere_and_leave_the_surface():
    truth = np.zeros((8, 8))
    truth[2:6, 2:4] = 1
    truth[:, 5:] = 255
    prediction = np.zeros((8, 8))
    prediction[2:6, 2:4] = 1
    prediction[:, 6:] = 1  # only where the truth is ignored
    result = score(prediction, truth)
    assert (result.dice, result.precision, result.hd95) == (1.0, 1.0, 0.0)
    assert score(np.ones((3, 3)), np.full((3, 3), 255)).empty == "both"


def test_every_foreground_class_is_scored_as_if_alone():
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 4, (2, 20, 20)).astype(np.uint8)
    scores = score_case(prediction, truth, num_classes=4, case_id="a", patient_id="p")
    assert [s.class_index for s in scores] == [1, 2, 3]
    for s in scores:
        alone = score(prediction == s.class_index, truth == s.class_index)
        assert (s.dice, s.hd95, s.asd) == (alone.dice, alone.hd95, alone.asd)
        assert (s.case_id, s.patient_id) == ("a", "p")


@pytest.mark.parametrize(
    ("prediction", "truth", "options", "message"),
    [
        (np.zeros((4, 4), int), np.zeros((4, 5), int), {}, "one shape"),
        (np.zeros((4, 4), int), np.zeros((4, 4), int), {"spacing_mm": (1.0,)}, "2 positive numbers"),
        (np.zeros((4, 4), int), np.zeros((4, 4), int), {"spacing_mm": (1.0, 0.0)}, "2 positive numbers"),
        (np.full((4, 4), 2), np.zeros((4, 4), int), {}, "prediction holds class 2"),
        (np.full((4, 4), 255), np.zeros((4, 4), int), {}, "prediction holds class 255"),
        (np.zeros((4, 4), int), np.full((4, 4), 7), {}, "truth holds class 7"),
        (np.full((4, 4), -1), np.zeros((4, 4), int), {}, "prediction holds class -1"),
        (np.zeros((4, 4)), np.zeros((4, 4), int), {}, "float64"),
    ],
)
def test_bad_input_names_the_case_and_what_was_got(prediction, truth, options, message):
    with pytest.raises(DataError, match=message) as error:
        score_case(prediction, truth, num_classes=2, case_id="case 7", **options)
    assert "case 7" in str(error.value)
    assert "\n" not in str(error.value)
