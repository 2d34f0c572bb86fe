import numpy as np
import pytest
import torch

from gazeseg.promptable.canvas import CHUNK, Embedding, moved, on_square, probabilities, resized_rgb, scaled_size
from gazeseg.supervision.prompts import Prompts

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "inner"),
    [((300, 400), (192, 256)), ((400, 300), (256, 192)), ((64, 64), (256, 256)), ((1, 2000), (1, 256))],
)
def test_the_longer_side_fills_the_square(size, inner):
    assert scaled_size(size, 256) == inner


def test_grey_becomes_three_equal_channels_and_lies_top_left():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    pixels = resized_rgb(image, (3, 4))
    assert (pixels == image).all()
    square = on_square(pixels, 8, CPU)
    assert square.shape == (1, 3, 8, 8)
    assert square[0, 1, :3, :4].tolist() == image[..., 0].tolist()
    assert square[..., 3:, :].abs().sum() == 0 == square[..., 4:].abs().sum()


def test_prompts_move_with_the_pixel_centres_and_come_in_chunks():
    count = CHUNK + 3
    boxes = np.tile([0.0, 0.0, 99.0, 49.0], (count, 1))
    points = np.full((count, 1, 2), 9.5)
    prompts = Prompts(boxes, points, np.ones((count, 1), np.int64), np.arange(count), (50, 100))
    parts = list(moved(prompts, Embedding(None, 256, (100, 200)), CPU))  # twice as large
    assert [len(part[0]) for part in parts] == [CHUNK, 3]
    assert parts[0][0][0].tolist() == [0.5, 0.5, 198.5, 98.5]
    assert parts[1][1][0].tolist() == [[19.5, 19.5]]


def test_what_lies_beside_the_image_is_cut_off():
    logits = torch.full((2, 4, 4), -20.0)
    logits[:, :2] = 20.0  # the upper half of the square
    inner = probabilities(logits, Embedding(None, 8, (4, 8)))
    assert inner.shape == (2, 4, 8)
    assert inner[:, :3].min() > 0.99
    assert inner.dtype == np.float32
