import time

import pytest

from gazeseg.ablate.pace import seconds_per_step
from gazeseg.config import RunConfig, build
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.methods.gaze_unet import GazeUNet
from gazeseg.train.plan import make_plan


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    dataset = make_demo_dataset(tmp_path_factory.mktemp("pace") / "ds", cases=6, size=(48, 48))
    make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {}), jobs=1)
    return dataset


def _plan(dataset, **train):
    keys = {
        "data": {"path": str(dataset.root), "size": [32, 48]},
        "network": {"name": "small_unet", "features": [8, 8, 8, 8, 8]},
        "method": {"name": "gaze_unet"},
        "train": {"batch_size": 3, "iterations": 10, **train},
    }
    return make_plan(build(RunConfig, keys, "test"))


def test_a_step_takes_the_time_of_the_second_one_as_often_as_it_is_accumulated(dataset, monkeypatch):
    seen, step = [], GazeUNet.training_step

    def slow(self, batch, number):
        seen.append((tuple(batch.image.shape), number))
        time.sleep(0.3 if len(seen) % 2 else 0.1)  # the first step also compiles and fills caches
        return step(self, batch, number)

    monkeypatch.setattr(GazeUNet, "training_step", slow)
    assert 0.1 < seconds_per_step(_plan(dataset), threads=1) < 0.29
    assert seen == [((3, 3, 32, 48), 9)] * 2
    assert 0.3 < seconds_per_step(_plan(dataset, accumulate=3), threads=1) < 0.87
