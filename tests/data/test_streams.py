"""Two streams of cases: so many labelled ones a batch, each stream whole before it starts over."""

import numpy as np
import pytest

from gazeseg.data.streams import case_streams
from gazeseg.errors import ConfigError

LABELLED = np.array([True] * 5 + [False] * 11)


def _batches(count: int, **changes) -> np.ndarray:
    arguments = {"labelled": LABELLED, "batch_size": 8, "labelled_per_batch": 4, "seed": 0} | changes
    streams = case_streams(**arguments)
    return np.stack([np.concatenate([stream.cut(step) for stream in streams]) for step in range(count)])


def test_the_first_cases_are_labelled_and_every_case_comes_once_an_epoch():
    rows = _batches(55)
    assert LABELLED[rows[:, :4]].all()
    assert not LABELLED[rows[:, 4:]].any()
    labelled, others = rows[:, :4].ravel().reshape(-1, 5), rows[:, 4:].ravel().reshape(-1, 11)
    assert (np.sort(labelled, axis=1) == np.arange(5)).all()
    assert (np.sort(others, axis=1) == np.arange(5, 16)).all()
    assert not (labelled[0] == labelled[1]).all()


def test_a_batch_depends_on_seed_and_step_alone():
    streams = case_streams(LABELLED, 8, 4, 0)
    late = np.concatenate([stream.cut(17) for stream in streams])
    assert (late == _batches(18)[17]).all()
    assert (_batches(3, seed=1) != _batches(3)).any()


def test_batches_of_labelled_cases_alone():
    rows = _batches(2, labelled_per_batch=8)
    assert rows.shape == (2, 8)
    assert LABELLED[rows].all()


def test_streams_without_a_case_are_refused():
    with pytest.raises(ConfigError, match=r"labelled_per_batch 9 is above train.batch_size 8"):
        _batches(1, labelled_per_batch=9)
    with pytest.raises(ConfigError, match=r"every training case is labelled"):
        _batches(1, labelled=np.ones(4, bool))
    with pytest.raises(ConfigError, match=r"no case is labelled"):
        _batches(1, labelled=np.zeros(4, bool))
