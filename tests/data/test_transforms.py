"""The transforms, against SciPy, Pillow, torch's own flips and hand-computed cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage

from gazeseg.config import AugmentConfig
from gazeseg.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TransformParams,
    flip_pixels,
    move_pixels,
    move_points,
    normalise,
    recolour,
    resolve_normalise,
    sample_transforms,
)
from gazeseg.errors import ConfigError


def make_params(
    flip_x=(False,),
    flip_y=(False,),
    angle_deg=(0.0,),
    zoom=(1.0,),
    brightness=(1.0,),
    contrast=(1.0,),
    saturation=(1.0,),
) -> TransformParams:
    """Parameters of a batch; what has length 1 holds for every sample."""
    arrays = np.broadcast_arrays(flip_x, flip_y, np.deg2rad(angle_deg), zoom, brightness, contrast, saturation)
    return TransformParams(*[np.array(array) for array in arrays])


def blob(size: tuple[int, int], x_px: float, y_px: float, sigma_px: float = 2.0) -> torch.Tensor:
    """A Gaussian (1, 1, H, W) whose centre of mass is (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    values = np.exp(-((x - x_px) ** 2 + (y - y_px) ** 2) / (2 * sigma_px**2))
    return torch.from_numpy(values.astype(np.float32))[None, None]


# --- geometry


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_flipping_moves_a_fixation_with_its_pixel(flip_x, flip_y):
    params = make_params(flip_x=(flip_x,), flip_y=(flip_y,))
    image = torch.zeros(1, 3, 20, 31, dtype=torch.uint8)
    image[0, :, 4, 9] = 255
    flipped = flip_pixels(image.clone(), params)
    x, y = move_points(np.array([[9.0]]), np.array([[4.0]]), params, (20, 31))
    assert (int(x[0, 0]), int(y[0, 0])) == (30 - 9 if flip_x else 9, 19 - 4 if flip_y else 4)
    assert flipped[0, :, int(y[0, 0]), int(x[0, 0])].tolist() == [255, 255, 255]
    assert int((flipped > 0).sum()) == 3


@settings(max_examples=25, deadline=None)
@given(
    angle=st.floats(-180, 180),
    zoom=st.floats(0.6, 1.4),
    flip_x=st.booleans(),
    flip_y=st.booleans(),
    x=st.floats(25, 45),
    y=st.floats(20, 35),
)
def test_rotating_and_scaling_moves_a_fixation_with_its_pixels(angle, zoom, flip_x, flip_y, x, y):
    size = (56, 72)
    params = make_params((flip_x,), (flip_y,), (angle,), (zoom,))
    spot = blob(size, x, y)
    moved = move_pixels(spot, spot, None, params)
    weights = moved.image[0, 0].double().numpy()
    rows, columns = np.mgrid[: size[0], : size[1]]
    found = (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()
    expected_x, expected_y = move_points(np.array([[x]]), np.array([[y]]), params, size)
    assert found == pytest.approx((expected_x[0, 0], expected_y[0, 0]), abs=0.1)
    assert torch.equal(moved.image, moved.maps)


def test_a_quarter_turn_is_clockwise_and_exact():
    image = torch.randn(1, 3, 12, 12)
    labels = torch.randint(0, 4, (1, 2, 12, 12), dtype=torch.uint8)
    moved = move_pixels(image, None, labels, make_params(angle_deg=(90.0,)))
    torch.testing.assert_close(moved.image, torch.rot90(image, -1, (2, 3)), atol=1e-5, rtol=0)
    assert torch.equal(moved.labels, torch.rot90(labels, -1, (2, 3)))
    assert bool(moved.inside.all())


def test_the_grid_and_the_index_flip_agree():
    image, labels = torch.randn(4, 3, 10, 14), torch.randint(0, 3, (4, 1, 10, 14), dtype=torch.uint8)
    params = make_params((False, True, False, True), (False, False, True, True))
    moved = move_pixels(image, None, labels, params)
    torch.testing.assert_close(moved.image, flip_pixels(image, params), atol=1e-5, rtol=0)
    assert torch.equal(moved.labels, flip_pixels(labels, params))


def test_scipy_gives_the_same_picture():
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(40, 60)), 2)
    angle, zoom = np.deg2rad(25.0), 1.2
    moved = move_pixels(
        torch.from_numpy(image[None, None].astype(np.float32)), None, None, make_params(angle_deg=(25.0,), zoom=(1.2,))
    )
    # SciPy works in (row, column) and wants output -> input
    forward = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(forward)
    centre = (np.array(image.shape) - 1) / 2
    expected = ndimage.affine_transform(image, inverse, centre - inverse @ centre, order=1, mode="nearest")
    inside = moved.inside[0, 0].numpy()
    assert 0.9 < inside.mean() < 1
    np.testing.assert_allclose(moved.image[0, 0].numpy()[inside], expected[inside], atol=1e-5)


def test_outside_the_image_is_nothing():
    ones = torch.ones(1, 1, 32, 32)
    labels = torch.full((1, 1, 32, 32), 2, dtype=torch.uint8)
    moved = move_pixels(ones, ones, labels, make_params(zoom=(0.5,)))
    inside = moved.inside[0, 0]
    assert inside[8:24, 8:24].all()
    assert int(inside.sum()) == 16 * 16
    for values in (moved.image, moved.maps):
        torch.testing.assert_close(values[0, 0], inside.float())  # neither bleeds out nor darkens at the border
    assert set(moved.labels[0, 0][inside].tolist()) == {2}
    assert set(moved.labels[0, 0][~inside].tolist()) == {255}


def test_labels_keep_their_classes():
    labels = torch.randint(0, 2, (1, 1, 30, 30), dtype=torch.uint8) * 3
    moved = move_pixels(torch.zeros(1, 1, 30, 30), None, labels, make_params(angle_deg=(33.0,), zoom=(1.1,)))
    assert set(moved.labels.unique().tolist()) <= {0, 3, 255}


# --- colour


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_pillow_changes_colours_the_same_way(name, enhancer, factor):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    expected = np.asarray(enhancer(Image.fromarray(pixels)).enhance(factor), dtype=np.float32)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None]
    ours = recolour(image, make_params(**{name: (factor,)}))[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).max() <= 1.5  # Pillow rounds the luma and the result to whole grey levels


def test_the_three_changes_of_colour_compose_in_their_order():
    rng = np.random.default_rng(2)
    v = rng.uniform(60, 120, (2, 3, 6, 5))  # far from the clip
    luma = np.array([0.299, 0.587, 0.114])[None, :, None, None]
    b, c, s = (np.array(x)[:, None, None, None] for x in ([0.9, 1.2], [1.1, 0.8], [0.5, 1.3]))
    step = b * v
    mean = (luma * step).sum(1, keepdims=True).mean((2, 3), keepdims=True)
    step = mean + c * (step - mean)
    grey = (luma * step).sum(1, keepdims=True)
    expected = grey + s * (step - grey)
    params = make_params(brightness=(0.9, 1.2), contrast=(1.1, 0.8), saturation=(0.5, 1.3))
    ours = recolour(torch.from_numpy(v).float(), params)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-3)


def test_saturation_leaves_grey_images_alone():
    image = torch.rand(2, 1, 8, 8) * 255
    torch.testing.assert_close(recolour(image, make_params(saturation=(0.2, 1.8))), image)


# --- normalisation


def test_imagenet_by_hand():
    image = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)  # one pixel
    expected = (np.array([0, 128 / 255, 1]) - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(normalise(image)[0, :, 0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_zscore_has_zero_mean_and_unit_variance_per_image(channels):
    image = torch.randint(0, 256, (3, 17, 13, channels), dtype=torch.uint8)
    out = normalise(image, "zscore").numpy()
    expected = image.permute(0, 3, 1, 2).double().numpy()
    expected = (expected - expected.mean((1, 2, 3), keepdims=True)) / expected.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_a_constant_image_becomes_zeros():
    assert not normalise(torch.full((1, 8, 8, 1), 77, dtype=torch.uint8)).any()


def test_auto_goes_by_channels_and_imagenet_refuses_grey():
    assert (resolve_normalise("auto", 1), resolve_normalise("auto", 3)) == ("zscore", "imagenet")
    with pytest.raises(ConfigError, match=r"data\.normalise imagenet is for 3 channels.*zscore"):
        normalise(torch.zeros(1, 4, 4, 1, dtype=torch.uint8), "imagenet")


# --- sampling


def test_draws_stay_in_their_ranges_and_fill_them():
    config = AugmentConfig(
        flip_horizontal=0.5, flip_vertical=0, rotate_deg=30, scale=0.2, brightness=0.3, contrast=0.1, saturation=0.4
    )
    params = sample_transforms(config, 4000, np.random.default_rng(0))
    assert params.flip_x.mean() == pytest.approx(0.5, abs=0.03)
    assert not params.flip_y.any()
    for values, middle, half in (
        (np.rad2deg(params.angle_rad), 0, 30),
        (params.zoom, 1, 0.2),
        (params.brightness, 1, 0.3),
        (params.contrast, 1, 0.1),
        (params.saturation, 1, 0.4),
    ):
        assert values.min() == pytest.approx(middle - half, abs=half / 20)
        assert values.max() == pytest.approx(middle + half, abs=half / 20)
        assert np.abs(values - middle).max() <= half


def test_one_more_augmentation_leaves_the_others_as_they_were():
    plain = sample_transforms(AugmentConfig(), 16, np.random.default_rng(5))
    more = sample_transforms(AugmentConfig(rotate_deg=10, brightness=0.1), 16, np.random.default_rng(5))
    assert np.array_equal(plain.flip_x, more.flip_x)
    assert np.array_equal(plain.flip_y, more.flip_y)
    assert not plain.resamples
    assert not plain.recolours
    assert more.resamples
    assert more.recolours
