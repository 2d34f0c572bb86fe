"""Untrained runs, small enough to be traced in seconds."""

import numpy as np
import pytest
import torch

from gazeseg import methods
from gazeseg.config import RunConfig, write_yaml
from gazeseg.predict.predictor import Predictor
from gazeseg.train import checkpoint
from gazeseg.train.runfolder import RunFolder, Task


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run folder with random weights."""

    def make(method="full", *, in_channels=3, num_classes=2, normalise="auto", gaze="none", name="run"):
        config = RunConfig.model_validate(
            {
                "method": {"name": method},
                "data": {"size": (64, 96), "normalise": normalise, "path": str(tmp_path / "gone")},
                "network": {"name": "small_unet"},
            }
        )
        classes = ("background", *(f"part {k}" for k in range(1, num_classes)))
        task = Task("Kvasir-SEG", classes, in_channels, 2, (0.5, 0.3), gaze, gaze == "none", 900, 266_000)
        built = methods.create(
            config.method,
            network=config.network,
            in_channels=in_channels,
            num_classes=num_classes,
            levels=2,
            seed=0,
        )
        with torch.no_grad():  # an untrained head says .5 everywhere; make it say something
            for key, parameter in built.named_parameters():
                if key.endswith("head.weight"):
                    parameter.mul_(8)
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        write_yaml(folder.config_file, config)
        folder.write_task(task)
        checkpoint.save(folder, 1, built.state_dict(), {"step": 1}, best_step=1)
        return folder.path

    return make


@pytest.fixture
def probabilities():
    """Return a function: what a predictor says of an image of the network's own size."""

    def answer(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
        return predictor.probabilities([pixels])[0]

    return answer
