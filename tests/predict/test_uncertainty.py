import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from scipy.stats import entropy as scipy_entropy
from test_predictor import image, make_config, make_method, make_predictor, make_task

from gazeseg import methods
from gazeseg.errors import DataError
from gazeseg.predict.predictor import Predictor
from gazeseg.predict.uncertainty import Calibration, disagreement, entropy, expected_dice, sharpen

RNG = np.random.default_rng(0)


def some_probabilities(classes=3, height=5, width=6):
    return RNG.dirichlet(np.ones(classes), (height, width)).transpose(2, 0, 1).astype(np.float32)


def test_entropy_is_that_of_scipy_as_a_share_of_the_largest():
    values = some_probabilities()
    np.testing.assert_allclose(entropy(values), scipy_entropy(values, axis=0) / np.log(3), atol=1e-5)
    assert entropy(np.full((2, 1, 1), 0.5)).item() == pytest.approx(1)
    assert entropy(np.array([[[1.0]], [[0.0]]])).item() == 0


def test_disagreement_is_zero_for_one_opinion_and_one_for_certain_opposites():
    values = some_probabilities()
    np.testing.assert_allclose(disagreement([values, values]), 0, atol=1e-5)
    sure = np.array([[[1.0]], [[0.0]]], np.float32)
    assert disagreement([sure, 1 - sure]).item() == pytest.approx(1, abs=1e-5)
    other = some_probabilities()
    mean = (values + other) / 2
    divergence = (scipy_entropy(values, mean, axis=0) + scipy_entropy(other, mean, axis=0)) / 2  # Kullback-Leibler
    np.testing.assert_allclose(disagreement([values, other]), divergence / np.log(3), atol=1e-5)


def test_a_temperature_divides_logits_and_keeps_the_order():
    p = RNG.uniform(0.01, 0.99, (4, 5))
    two = np.stack([1 - p, p]).astype(np.float32)
    np.testing.assert_allclose(sharpen(two, 2.5)[1], expit(logit(p) / 2.5), atol=1e-5)
    values = some_probabilities()
    np.testing.assert_array_equal(sharpen(values, 3.0).argmax(axis=0), values.argmax(axis=0))
    np.testing.assert_allclose(sharpen(values, 1.0), values, atol=1e-6)


def test_the_dice_to_expect_is_near_that_of_drawn_truths():
    p = np.clip(RNG.normal(0.5, 0.35, (24, 24)), 0.01, 0.99)
    mask = (p > 0.5).astype(np.uint8)
    drawn = RNG.random((4000, 24, 24)) < p
    dice = 2 * (drawn & (mask > 0)).sum(axis=(1, 2)) / (mask.sum() + drawn.sum(axis=(1, 2)))
    assert expected_dice(np.stack([1 - p, p]), mask) == pytest.approx(dice.mean(), abs=2e-3)


def test_an_empty_prediction_is_right_if_nothing_is_there():
    p = np.array([[0.1, 0.2]])
    assert expected_dice(np.stack([1 - p, p]), np.zeros((1, 2), np.uint8)) == pytest.approx(0.9 * 0.8)
    three = np.stack([np.full((1, 2), 0.5), np.full((1, 2), 0.5), np.zeros((1, 2))])
    assert expected_dice(three, np.array([[1, 1]], np.uint8)) == pytest.approx((2 * 1 / (2 + 1) + 1) / 2)


@pytest.mark.parametrize(("name", "members"), [("full", 1), ("gazemedseg", 2), ("fgi", 2)])
def test_members_are_levels_or_student_and_teacher(name, members):
    config, task = make_config(method={"name": name}), make_task()
    method = methods.create(
        config.method, network=config.network, in_channels=3, num_classes=2, levels=2, seed=0
    ).eval()
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = method.predict_members(images)
        whole = method.predict(images)
    assert found.shape == (members, 2, 2, 32, 48)
    if name != "gazemedseg":  # whose prediction is the mean of the levels, the others' is their first member
        torch.testing.assert_close(found[0], whole)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(members, 2, 32, 48))
    predictor = Predictor(method, task, config, device=torch.device("cpu"))
    [one] = predictor.uncertain([image()])
    assert one.disagreement.shape == (60, 70)
    assert one.disagreement.max() > 0  # one member is asked again on flipped images


def test_masks_are_those_of_predict_and_maps_lie_in_range():
    predictor, images = make_predictor(), [image(20, 17), image(50, 40)]
    for found, mask, values in zip(
        predictor.uncertain(images, temperature=2.0),
        predictor.masks(images),
        predictor.probabilities(images),
        strict=True,
    ):
        np.testing.assert_array_equal(found.mask, mask)
        np.testing.assert_allclose(found.probabilities, sharpen(values, 2.0))
        np.testing.assert_allclose(found.entropy, entropy(found.probabilities))
        for values_ in (found.entropy, found.disagreement):
            assert (values_.min() >= 0) & (values_.max() <= 1)
        assert 0 <= found.expected_dice <= 1


def test_runs_of_other_seeds_join_in():
    config, task = make_config(), make_task()
    predictor = make_predictor(config)
    other = Predictor(make_method(config, task, seed=5), task, config, device=torch.device("cpu"))
    pixels = [image()]
    [found] = predictor.uncertain(pixels, others=[other])
    expected = disagreement([predictor.probabilities(pixels)[0], other.probabilities(pixels)[0]])
    np.testing.assert_allclose(found.disagreement, expected, atol=1e-5)
    with pytest.raises(DataError, match="cannot judge one on background, class 1"):
        predictor.uncertain(pixels, others=[make_predictor(task=make_task(num_classes=3))])


def test_a_calibration_is_kept_with_its_run(tmp_path):
    assert Calibration.load(tmp_path) is None
    written = Calibration(1.7, "val", 12, "abc", (0.5, 0.4), (0.1, 0.02))
    path = written.write(tmp_path)
    assert Calibration.load(tmp_path) == written
    path.write_text('{"temperature": 1}')
    with pytest.raises(DataError, match="not a calibration"):
        Calibration.load(tmp_path)
