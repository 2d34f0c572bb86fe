"""The rules on drawn shapes whose description is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gazeseg.text.rules import _lab, describe_by_rules, measure

HEIGHT, WIDTH = 120, 150
GROUND, OBJECT = (140, 90, 80), (200, 150, 140)


def ellipse(cx=0.5, cy=0.5, a=0.15, b=0.15, angle=0.0, size=(HEIGHT, WIDTH)) -> np.ndarray:
    """Filled ellipse; centre in shares of the sides, half axes in shares of the height."""
    y, x = np.mgrid[: size[0], : size[1]]
    dx, dy = x + 0.5 - cx * size[1], y + 0.5 - cy * size[0]
    u, v = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    return (u / (a * size[0])) ** 2 + (v / (b * size[0])) ** 2 <= 1


def paint(mask, inside=OBJECT, outside=GROUND, noise=0.0) -> np.ndarray:
    values = np.where(mask[..., None], inside, outside) + np.random.default_rng(0).normal(0, noise, (*mask.shape, 1))
    return values.clip(0, 255).astype(np.uint8)


def words(image, mask, domain="polyp"):
    found = describe_by_rules(image, mask, domain)
    assert found is not None
    return found


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_the_place_is_the_cell_of_a_three_by_three_grid(row, column):
    mask = ellipse(cx=(2 * column + 1) / 6, cy=(2 * row + 1) / 6, a=0.1, b=0.1)
    cells = [
        *("upper left", "upper centre", "upper right", "middle left", "centre", "middle right"),
        *("lower left", "lower centre", "lower right"),
    ]
    assert words(paint(mask), mask).location == cells[3 * row + column]


@pytest.mark.parametrize(("a", "b", "term"), [(0.2, 0.2, "round"), (0.3, 0.21, "oval"), (0.3, 0.1, "elongated")])
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.5])
def test_the_shape_is_that_of_the_ellipse_however_it_lies(a, b, term, angle):
    mask = ellipse(a=a, b=b, angle=angle)
    assert measure(paint(mask), mask).axis_ratio == pytest.approx(b / a, abs=0.03)
    found = words(paint(mask), mask)
    assert found.characteristics[0] == term
    assert found.boundary == "smooth and sharp"
    assert found.area_percentage == round(100 * math.pi * a * b * HEIGHT / WIDTH)


def test_solidity_is_the_share_of_the_convex_hull():
    square = np.zeros((60, 60), bool)
    square[10:40, 10:40] = True
    assert measure(paint(square), square).solidity == pytest.approx(1)
    corner = square.copy()
    corner[10:25, 10:25] = False  # an L: its hull lacks a triangle of half the cut
    assert measure(paint(corner), corner).solidity == pytest.approx(675 / 787.5)
    assert "lobulated" in words(paint(corner), corner).characteristics
    assert words(paint(corner), corner).boundary.startswith("irregular")


def test_parts_are_counted_and_crumbs_are_not():
    two = ellipse(cx=0.25) | ellipse(cx=0.75)
    assert "several parts" in words(paint(two), two).characteristics
    assert words(paint(two), two).confidence != "high"
    three = ellipse(cx=0.2, cy=0.2) | ellipse(cx=0.8, cy=0.2) | ellipse(cy=0.8)
    assert words(paint(three), three).location == "several places"
    crumb = ellipse() | ellipse(cx=0.9, cy=0.9, a=0.02, b=0.02)
    assert measure(paint(crumb), crumb).parts == 1


@pytest.mark.parametrize(
    ("inside", "term"),
    [
        ((255, 240, 230), "much brighter than around"),
        ((165, 112, 102), "brighter than around"),
        ((140, 90, 80), "as bright as around"),
        ((118, 70, 61), "darker than around"),
        ((40, 25, 22), "much darker than around"),
        ((190, 70, 60), "redder than around"),
        ((110, 110, 95), "paler than around"),
        ((140, 90, 45), "yellower than around"),
        ((140, 90, 110), "bluer than around"),
        ((150, 97, 86), "same colour as around"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_brightness_and_colour_are_those_painted(inside, term):
    mask = ellipse()
    assert term in words(paint(mask, inside), mask).characteristics


def test_lab_agrees_with_published_colours():
    # sRGB primaries under D65, as in Lindbloom's tables
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]], np.uint8)
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0], [0, 0, 0]]
    assert np.allclose(_lab(pixels)[0], expected, atol=0.15)
    assert _lab(np.full((1, 1, 1), 119, np.uint8))[0, 0] == pytest.approx([50.0, 0, 0], abs=0.1)


def test_a_blurred_outline_and_a_coarse_texture_are_seen():
    mask = ellipse(a=0.25, b=0.25)
    image = paint(mask)
    soft = np.stack([ndimage.gaussian_filter(image[..., c].astype(float), 14) for c in range(3)], axis=-1)
    assert words(soft.astype(np.uint8), mask).boundary == "smooth and blurred"
    assert "smooth texture" in words(image, mask).characteristics
    assert "mixed texture" in words(paint(mask, noise=9), mask).characteristics
    assert "coarse texture" in words(paint(mask, noise=30), mask).characteristics
    glare = image.copy()
    glare[58:64, 70:80] = 255
    assert "bright reflections" in words(glare, mask).characteristics


def test_the_black_frame_is_no_surroundings():
    mask = ellipse(cx=0.2)
    framed = paint(mask)
    framed[~mask] = 0
    framed[:, :80][~mask[:, :80] & (np.indices((HEIGHT, 80))[0] > 40)] = GROUND
    framed[mask] = GROUND
    assert "as bright as around" in words(framed, mask).characteristics


def test_grey_images_and_the_prostate_get_no_colour():
    mask = ellipse()
    for image, domain in ((paint(mask)[..., :1], "polyp"), (paint(mask), "prostate")):
        terms = " ".join(words(image, mask, domain).characteristics)
        assert not any(word in terms for word in ("red", "pale", "yellow", "blue", "colour"))
        assert "brighter than around" in terms


def test_nothing_is_said_about_nothing():
    assert describe_by_rules(paint(ellipse()), np.zeros((HEIGHT, WIDTH), bool), "polyp") is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (3, 3), (600, 2), (513, 900)])
def test_degenerate_masks_are_described(shape):
    mask = np.zeros(shape, bool)
    mask[shape[0] // 2, shape[1] // 2] = True
    assert words(np.full((*shape, 3), 99, np.uint8), mask).area_percentage == round(100 / mask.size)
    full = np.ones(shape, bool)
    assert words(np.zeros((*shape, 1), np.uint8), full, "generic").location == "whole image"


@settings(max_examples=15, deadline=None)
@given(cx=st.floats(0.2, 0.8), cy=st.floats(0.2, 0.8), a=st.floats(0.05, 0.3), b=st.floats(0.05, 0.3))
def test_a_mirrored_image_is_described_by_mirrored_words(cx, cy, a, b):
    mask = ellipse(cx, cy, a, b)
    image = paint(mask, noise=5)
    one, other = measure(image, mask), measure(image[:, ::-1], mask[:, ::-1])
    assert other.x == pytest.approx(1 - one.x)
    assert other.y == pytest.approx(one.y)
    for name in ("area", "axis_ratio", "solidity", "lightness", "red", "yellow", "edge", "texture"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-6), name


def test_size_changes_no_word():
    small, large = ellipse(0.3, 0.6, 0.3, 0.2), ellipse(0.3, 0.6, 0.3, 0.2, size=(4 * HEIGHT, 4 * WIDTH))
    assert words(paint(small), small) == words(paint(large), large)
