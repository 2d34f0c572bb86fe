"""The largest component of each class, against scipy's labelling."""

import numpy as np
from scipy import ndimage

from gazeseg.supervision.components import largest_components, touching


def plainly(labels, num_classes):
    out = np.zeros_like(labels)
    for image, kept in zip(labels, out, strict=True):
        for value in range(1, num_classes):
            parts, count = ndimage.label(image == value, np.ones((3, 3)))
            if count:
                sizes = np.bincount(parts.ravel())[1:]
                kept[parts == 1 + sizes.argmax()] = value
    return out


def test_random_maps_are_those_of_scipy():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = ndimage.gaussian_filter(rng.normal(size=(3, 33, 41)), (0, 1.2, 1.2))
        labels = np.digitize(noise, np.quantile(noise, [0.4, 0.6, 0.8])).astype(np.uint8)
        np.testing.assert_array_equal(largest_components(labels, 4), plainly(labels, 4))


def test_corners_connect_and_ignored_pixels_stay():
    labels = np.array([[[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 255, 0]]], np.uint8)
    expected = np.array([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 255, 0]]], np.uint8)
    np.testing.assert_array_equal(largest_components(labels, 2), expected)
    assert not largest_components(np.zeros((1, 3, 3), np.uint8), 3).any()


def test_components_apart_from_a_region_go():
    labels = np.array([[1, 1, 0, 2], [0, 0, 0, 2], [1, 0, 0, 0]], np.uint8)
    region = np.zeros((3, 4), bool)
    region[0, 1] = True
    np.testing.assert_array_equal(touching(labels, region), [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
