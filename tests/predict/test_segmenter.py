from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from test_predictor import image, make_config, make_predictor, make_run, make_task

import gazeseg
from gazeseg.errors import DataError
from gazeseg.predict.segmenter import Segmentation, Segmenter


def test_a_run_becomes_a_function_of_an_image(tmp_path):
    folder = make_run(tmp_path / "run")
    segment = gazeseg.load(folder.path)
    pixels = image()
    found = segment(pixels)
    assert isinstance(found, Segmentation)
    assert found.classes == segment.classes == ("background", "class 1")
    assert found.mask.shape == pixels.shape[:2]
    np.testing.assert_array_equal(found.mask, found.probabilities.argmax(axis=0))
    np.testing.assert_array_equal(found.probabilities, segment.predictor.probabilities([pixels])[0])
    assert gazeseg.load(str(folder.path), tta=True).predictor.tta


def test_grey_of_any_type_is_stretched_as_files_are():
    segment = Segmenter(make_predictor(make_config(), make_task(in_channels=1)))
    pixels = image(40, 50, 1)[:, :, 0]
    pixels[0, :2] = 0, 255
    expected = segment(pixels).probabilities
    for other in (pixels.astype(np.int32) * 7 - 300, pixels / 3.0, pixels.astype(np.float16)[:, :, None]):
        np.testing.assert_allclose(segment(other).probabilities, expected, atol=1e-5)
    broken = pixels.astype(float)
    broken[5, 5] = np.nan
    assert np.isfinite(segment(broken).probabilities).all()


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3)), np.zeros(5), np.zeros((0, 0), np.uint16), np.array(["a"])])
def test_what_is_no_image_is_refused(bad):
    with pytest.raises(DataError, match="expected"):
        Segmenter(make_predictor())(bad)


def test_threads_get_what_they_asked_for():
    segment = Segmenter(make_predictor())
    images = [image(30 + k, 50 - k) for k in range(12)]
    expected = [segment(pixels).mask for pixels in images]
    with ThreadPoolExecutor(4) as pool:
        for mask, wanted in zip(pool.map(lambda x: segment(x).mask, images), expected, strict=True):
            np.testing.assert_array_equal(mask, wanted)
    assert not torch.is_inference_mode_enabled()
