"""The second opinion of students: the mean of runs, and which runs are none."""

import dataclasses

import numpy as np
import pytest
from test_predictor import image, make_config, make_run, make_task

from gazeseg.config import GazeConfig
from gazeseg.errors import ConfigError, DataError
from gazeseg.predict.opinion import Students
from gazeseg.predict.predictor import Predictor

PARTIAL = {"method": {"name": "gaze_partial"}, "data": {"size": (32, 48)}, "network": {"name": "small_unet"}}


def _run(path, num_classes=2, **gaze):
    task = dataclasses.replace(make_task(num_classes=num_classes), mask_supervised=False)
    return make_run(path, make_config(**PARTIAL, gaze=gaze), task).path


def test_it_is_the_mean_foreground_of_the_runs(tmp_path):
    runs = [_run(tmp_path / "a"), _run(tmp_path / "b", num_classes=3)]
    pixels = image(40, 50)
    first, second = (Predictor.load(run, tta=True).probabilities([pixels])[0] for run in runs)
    both = Students.load(runs, GazeConfig())(pixels)
    assert both.shape == (40, 50)
    assert both.dtype == np.float32
    np.testing.assert_allclose(both, (first[1] + second[1] + second[2]) / 2, atol=1e-6)


def test_its_identity_is_that_of_the_weights_wherever_they_lie(tmp_path):
    first, second = _run(tmp_path / "a"), _run(tmp_path / "b", num_classes=3)
    before = Students.load([first], GazeConfig()).identity
    assert Students.load([second], GazeConfig()).identity != before
    assert Students.load([first, second], GazeConfig()).identity != before
    assert Students.load([first.rename(tmp_path / "moved")], GazeConfig()).identity == before


def test_who_saw_true_masks_or_other_gaze_is_refused(tmp_path):
    taught = make_run(tmp_path / "taught").path
    with pytest.raises(ConfigError, match="taught learnt from true masks; name runs of a method that learns from gaze"):
        Students.load([taught], GazeConfig())
    spoilt = _run(tmp_path / "spoilt", control="shuffled_cases", seed=0)
    with pytest.raises(ConfigError, match=r"spoilt learnt under gaze.control shuffled_cases \(seed 0\), these masks"):
        Students.load([spoilt], GazeConfig())
    assert Students.load([spoilt], GazeConfig(control="shuffled_cases"))
    with pytest.raises(DataError, match="nowhere"):
        Students.load([tmp_path / "nowhere"], GazeConfig())
