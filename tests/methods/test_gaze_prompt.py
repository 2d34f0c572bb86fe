import pytest
import torch

from gazeseg.errors import ConfigError
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, check_method, make_batch
from gazeseg.methods.gaze_prompt import GazePrompt


def _make(name, num_classes=2):
    return create({"name": name}, network=NETWORK, in_channels=3, num_classes=num_classes, levels=1, seed=0)


def test_the_contract_holds():
    check_method(GazePrompt)


def test_it_is_the_partial_baseline_on_other_masks():
    batch = make_batch(GazePrompt.needs, in_channels=3, num_classes=2)
    own, other = (_make(name).training_step(batch, 0).losses for name in ("gaze_prompt", "gaze_partial"))
    assert own.keys() == other.keys() == {"ce", "dice"}
    assert all(torch.equal(own[key], other[key]) for key in own)


def test_more_classes_are_refused():
    with pytest.raises(ConfigError, match="not which of 2 classes"):
        _make("gaze_prompt", num_classes=3)
