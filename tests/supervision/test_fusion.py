"""What an ensemble of prompted masks becomes, with a model whose answers are known."""

import numpy as np
import pytest

from gazeseg.config import PromptConfig
from gazeseg.data.cache import resize_map
from gazeseg.errors import DataError
from gazeseg.supervision.fusion import case_quality, dwell_inside, fuse, label_case, overlap, stability
from gazeseg.supervision.prompts import Answer
from gazeseg.types import Fixations

SIZE = (32, 48)
TRUTH = np.zeros(SIZE, bool)
TRUTH[8:24, 12:36] = True
IMAGE = np.where(TRUTH, 200, 40).astype(np.uint8)[..., None]
FIX = Fixations([20.0, 28.0, 2.0], [12.0, 18.0, 2.0], [0.0, 1.0, 2.0], [300.0, 500.0, 200.0], SIZE, "case")


class Bright:
    """Answers with the bright pixels inside the box; counts what it is asked."""

    identity = "bright"

    def __init__(self, value=0.9):
        self.value, self.encoded, self.asked = value, 0, []

    def encode(self, image):
        self.encoded += 1
        return image[..., 0] > 100

    def masks(self, embedding, prompts):
        self.asked.append(prompts)
        found = np.zeros((len(prompts), *SIZE), np.float32)
        for k, (x0, y0, x1, y1) in enumerate(np.rint(prompts.boxes).astype(int)):
            found[k, y0 : y1 + 1, x0 : x1 + 1] = self.value * embedding[y0 : y1 + 1, x0 : x1 + 1]
        return Answer(found, np.full(len(prompts), 0.8))


def _heat(rows, columns):
    heat = np.zeros(SIZE, np.float32)
    heat[rows, columns] = 1.0
    return heat


def _label(model, heat, fix=FIX, **config):
    plain = np.where(TRUTH, 0.6, 0.1).astype(np.float32)
    return label_case(model, IMAGE, fix, heat, plain, PromptConfig(**config), resize=resize_map), plain


def test_members_unite_their_objects_and_are_then_averaged():
    maps = np.array([[[0.9, 0.0, 0.2]], [[0.0, 0.8, 0.2]], [[0.3, 0.4, 0.6]]], np.float32)
    fused = fuse(Answer(maps, np.array([0.9, 0.7, 1.4])), np.array([0, 0, 1]))
    np.testing.assert_allclose(fused.probability, [[0.6, 0.6, 0.4]], atol=1e-6)
    assert fused.masks.tolist() == [[[True, True, False]], [[False, False, True]]]
    assert fused.predicted_iou == pytest.approx((0.9 + 0.7 + 1.0) / 3)
    with pytest.raises(DataError, match="no prompt"):
        fuse(Answer(maps[:0], np.zeros(0)), np.zeros(0, np.int64))


def test_stability_is_one_where_all_agree_and_nought_where_half_do():
    masks = np.array([[[1, 1, 0]], [[1, 0, 0]]], bool)
    assert stability(masks).tolist() == [[1.0, 0.0, 1.0]]
    assert overlap(masks, masks[0]) == 0.75
    assert overlap(masks, np.zeros_like(masks[0])) == 0


def test_the_dwell_inside_is_weighted_by_time():
    assert dwell_inside(FIX, TRUTH) == pytest.approx(0.8)
    off = Fixations([-9.0], [3.0], [0.0], [300.0], SIZE, "case")
    assert dwell_inside(off, TRUTH) == 0


def test_a_second_look_finds_what_the_first_box_cut_off():
    too_small = _heat(slice(9, 23), slice(14, 34))
    first, _ = _label(Bright(), too_small, rounds=0)
    model = Bright()
    found, _ = _label(model, too_small, rounds=2, round_margins=(0.1,))
    assert (first.probability >= 0.5).sum() < TRUTH.sum()
    assert ((found.probability >= 0.5) == TRUTH).all()
    assert model.encoded == 1
    assert [len(prompts) for prompts in model.asked] == [3, 1, 1]
    assert (found.prompts, found.objects, found.fallback) == (5, 1, "")


def test_a_score_falls_only_where_gaze_contradicts_the_mask():
    heat = _heat(slice(8, 24), slice(12, 36))
    found, plain = _label(Bright(), heat)
    quality = found.quality
    assert quality.dwell == pytest.approx(0.8)
    assert quality.agreement == 1.0
    assert quality.stability == pytest.approx(1.0)
    assert quality.predicted_iou == pytest.approx(0.8)
    assert quality.area == TRUTH.mean()
    assert quality.score == pytest.approx(0.8 * 1.0)
    part = np.where(TRUTH, 0.9, 0.0)
    part[:16] = 0  # the lower half: the second fixation alone, half of the dwell time
    below = case_quality(part, 0.9, 0.8, FIX, plain, PromptConfig())
    assert (below.dwell, below.agreement) == (pytest.approx(0.5), pytest.approx(2 / 3))
    assert below.score == pytest.approx(0.72)
    part[:, :30] = 0  # no fixation at all
    assert case_quality(part, 0.9, 0.8, FIX, plain, PromptConfig()).score == 0


def test_a_crf_mask_that_misses_most_of_the_object_does_not_lower_the_score():
    found = case_quality(TRUTH.astype(np.float32), 0.9, 0.8, FIX, np.zeros(SIZE, np.float32), PromptConfig())
    assert found.agreement == 0
    assert found.score == pytest.approx(0.9 * 0.8)


@pytest.mark.parametrize(
    ("heat", "config", "reason"),
    [
        (np.zeros(SIZE, np.float32), {}, "no mode"),
        (_heat(slice(8, 24), slice(12, 36)), {"max_area": 0.1}, "more than 10%"),
        (_heat(slice(8, 24), slice(12, 36)), {"min_quality": 0.99}, "below 0.99"),
        (_heat(slice(0, 4), slice(0, 4)), {}, "covers 0.00%"),  # looked at where nothing is bright
    ],
)
def test_a_case_that_fails_keeps_the_plain_map_and_says_why(heat, config, reason):
    found, plain = _label(Bright(), heat, **config)
    assert reason in found.fallback
    assert (found.probability == plain).all()
    assert not found.stability.any()


def test_two_objects_are_both_found():
    fix = Fixations([14.0, 34.0], [12.0, 20.0], [0.0, 1.0], [500.0, 500.0], SIZE, "case")
    heat = _heat(slice(8, 24), slice(12, 18)) + _heat(slice(8, 24), slice(30, 36))
    found, _ = _label(Bright(), heat, fix, rounds=0)
    assert found.objects == 2
    assert ((found.probability >= 0.5) == (TRUTH & (heat > 0))).all()


def test_a_second_opinion_is_asked_about_too_and_the_two_ways_are_averaged():
    left = _heat(slice(8, 24), slice(12, 24))  # gaze knows of the left half alone, and is asked once
    right = np.where(TRUTH & (np.arange(SIZE[1]) >= 20), 1, 0).astype(np.float32)
    model, asked = Bright(0.9), {"rounds": 0, "round_margins": (0.0, 0.5)}
    plain = np.where(TRUTH, 0.6, 0.1).astype(np.float32)
    found = label_case(
        model, IMAGE, FIX, left, plain, PromptConfig(**asked, min_quality=0), opinion=right, resize=resize_map
    )
    # the student's box as it is holds columns 20 to 35, grown by half its width also 12 to 19
    assert [prompts.boxes[:, 0].tolist() for prompts in model.asked] == [[12.0] * 3, [20.0, 12.0]]
    row = found.probability[16]
    np.testing.assert_allclose(row[12:20], (0.9 + 0.45) / 2, atol=1e-6)
    np.testing.assert_allclose(row[20:24], 0.9, atol=1e-6)
    np.testing.assert_allclose(row[24:36], 0.45, atol=1e-6)
    np.testing.assert_allclose(found.stability[16, 20:24], 1)
    np.testing.assert_allclose(found.stability[16, 12:20], 0.6, atol=1e-6)  # four members of five say foreground
    assert (found.prompts, found.objects, model.encoded) == (5, 1, 1)


@pytest.mark.parametrize(("heat", "reason"), [(np.zeros(SIZE, np.float32), "no mode"), (_heat(4, 4), "covers 0")])
def test_where_gaze_fails_the_second_opinion_is_kept(heat, reason):
    opinion = np.where(TRUTH, 0.8, 0.2).astype(np.float32)
    plain = np.where(TRUTH, 0.6, 0.1).astype(np.float32)
    found = label_case(Bright(), IMAGE, FIX, heat, plain, PromptConfig(), opinion=opinion, resize=resize_map)
    assert reason in found.fallback
    assert (found.probability == opinion).all()
    assert not found.stability.any()


def test_a_second_opinion_without_foreground_changes_nothing():
    heat = _heat(slice(8, 24), slice(12, 30))
    plain, nothing = np.where(TRUTH, 0.6, 0.1).astype(np.float32), np.full(SIZE, 0.4, np.float32)
    alone, both = (
        label_case(Bright(), IMAGE, FIX, heat, plain, PromptConfig(), opinion=opinion, resize=resize_map)
        for opinion in (None, nothing)
    )
    assert (alone.probability == both.probability).all()
    assert alone.quality == both.quality
    assert alone.prompts == both.prompts
