import dataclasses

import numpy as np
import pytest
from PIL import Image

from gazeseg.gaze.frame import guess_display, guess_frame
from gazeseg.gaze.geometry import Viewport
from gazeseg.gaze.io.formats import read_gaze
from gazeseg.gaze.io.trial import ReadOptions
from gazeseg.gaze.simulate import simulate_fixations
from gazeseg.types import Fixations


@pytest.fixture(scope="module")
def readings():
    """Thirty images of different sizes, a blob somewhere in each, and gaze on it."""
    rng = np.random.default_rng(0)
    masks, fixations = {}, {}
    for case in map(str, range(30)):
        height, width = rng.integers(300, 700, 2).tolist()
        y, x = np.ogrid[:height, :width]
        cy, cx = rng.uniform(0.25, 0.75, 2) * (height, width)
        masks[case] = np.hypot((y - cy) / height, (x - cx) / width) < 0.13
        fixations[case] = simulate_fixations(masks[case], rng, image_id=case)
    return fixations, masks


def moved(fixations, move):
    return {
        name: dataclasses.replace(fix, **dict(zip(("x_px", "y_px"), move(fix), strict=True)))
        for name, fix in fixations.items()
    }


def test_gaze_that_fits_raises_no_guess(readings):
    assert guess_frame(*readings) is None
    assert guess_display(readings[0]) is None
    assert guess_frame({}, {}) is None


@pytest.mark.parametrize("kind", ["fit", "native"])
def test_screen_px_are_named_with_the_display(readings, kind):
    fixations, masks = readings
    place = Viewport.fit if kind == "fit" else Viewport.centred
    on_screen = moved(fixations, lambda fix: place(fix.image_size, (1920, 1080)).to_screen(fix.x_px, fix.y_px))
    guess = guess_frame(on_screen, masks)
    assert "px of a 1920 x 1080 display" in guess.text
    assert f"--screen 1920x1080 --viewport {kind}" in guess.text
    assert guess.share > 0.7
    told = guess_display(on_screen)
    assert "may be px of a" in told


def test_a_shift_is_named_with_its_direction(readings):
    fixations, masks = readings
    shifted = moved(fixations, lambda fix: (fix.x_px - 0.2 * fix.image_size[1], fix.y_px + 0.1 * fix.image_size[0]))
    text = guess_frame(shifted, masks).text
    assert "20% of the width further right and 10% of the height further up" in text
    assert "calibration" in text


@pytest.mark.real
def test_the_recorded_gaze_of_kvasir_raises_no_guess(real_data):
    table = read_gaze(real_data / "gazemedseg" / "kvasir_fixation.csv", ReadOptions())
    masks, fixations = {}, {}
    for trial in table.trials[::20]:
        with Image.open(real_data / "kvasir-seg" / "masks" / trial.image) as image:
            masks[trial.image] = np.asarray(image.convert("L")) > 127
        height, width = size = masks[trial.image].shape
        marks = trial.marks
        fixations[trial.image] = Fixations(
            marks.x * width - 0.5, marks.y * height - 0.5, marks.onset_ms, marks.duration_ms, size, trial.image
        )
    assert guess_frame(fixations, masks) is None
    on_screen = moved(fixations, lambda fix: Viewport.fit(fix.image_size, (1920, 1080)).to_screen(fix.x_px, fix.y_px))
    assert "px of a 1920 x 1080 display with the image fitted to it" in guess_frame(on_screen, masks).text
