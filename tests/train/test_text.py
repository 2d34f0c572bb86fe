"""Runs of a method that learns from text: what is refused, what the run folder says, what a resumed run checks."""

import dataclasses

import numpy as np
import pytest

from gazeseg.config import RunConfig, build, merge
from gazeseg.data.dataset import Dataset
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.data.text import TextStore, write_embeddings
from gazeseg.errors import ConfigError, DataError
from gazeseg.methods.full import Full
from gazeseg.train.plan import make_plan
from gazeseg.train.run import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return make_demo_dataset(tmp_path_factory.mktemp("data") / "DS", cases=12, size=(40, 40))


@pytest.fixture
def learns_from_text(monkeypatch) -> list:
    """Make the method 'full' ask for text, and note what text its steps are given."""
    seen = []

    def step(self, batch, number):
        seen.append(batch.text)
        return plain(self, batch, number)

    plain = Full.training_step
    monkeypatch.setattr(Full, "needs", frozenset({"mask", "text"}))
    monkeypatch.setattr(Full, "training_step", step)
    return seen


def _text(ids, value=1.0) -> TextStore:
    count = len(ids)
    tokens, fields = np.full((2 * count, 4), value, np.float16), np.zeros(2 * count, np.uint8)
    return TextStore(tuple(ids), tokens, np.full(count, 2), fields, "made", "rules", "0", ("location",))


def _config(dataset: Dataset, **sections) -> RunConfig:
    values = {
        "method": {"name": "full"},
        "data": {"path": str(dataset.root), "size": [32, 32]},
        "network": {"name": "small_unet", "features": [4, 8, 8]},
        "train": {"iterations": 2, "batch_size": 2, "device": "cpu", "threads": 1},
    }
    return build(RunConfig, merge(values, sections), "test")


def _ids(dataset: Dataset) -> list[str]:
    return [case.case_id for case in dataset.split("train")]


def test_a_run_says_whose_text_it_learnt_from(dataset, tmp_path, learns_from_text, capsys):
    write_embeddings(tmp_path / "text" / "embeddings.safetensors", _text(_ids(dataset)[1:]))
    run = train(_config(dataset, text={"path": str(tmp_path / "text")}), tmp_path / "run")
    assert [text.shape for text in learns_from_text] == [(2, 2, 4), (2, 2, 4)]
    assert "1 of 6 training images have no text" in " ".join(capsys.readouterr().err.split())
    assert run.task().text == "rules (stand-in for a vision-language model)"
    text = run.environment()["text"]
    assert (text["encoder"], text["dim"], text["images"], text["tokens"]) == ("made", 4, 5, 10)
    assert run.config().text.path == tmp_path / "text"


def test_shuffled_text_is_said_everywhere(dataset, tmp_path, learns_from_text):
    write_embeddings(tmp_path / "text" / "embeddings.safetensors", _text(_ids(dataset)))
    shuffled = {"path": str(tmp_path / "text"), "control": "shuffled_cases"}
    run = train(_config(dataset, text=shuffled), tmp_path / "run")
    assert "shuffled between images (control)" in run.task().text
    assert run.config().text.control == "shuffled_cases"


def test_missing_text_is_found_before_the_run_folder_is_made(dataset, tmp_path, learns_from_text):
    with pytest.raises(DataError, match=f"gazeseg describe {dataset.root} && gazeseg encode {dataset.root}"):
        train(_config(dataset), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_text_of_no_training_image_is_refused(dataset, tmp_path, learns_from_text):
    tests = [case.case_id for case in dataset.split("test")]
    write_embeddings(tmp_path / "embeddings.safetensors", _text(tests))
    with pytest.raises(DataError, match="none of the 6 training images has text"):
        make_plan(_config(dataset, text={"path": str(tmp_path)}))
    write_embeddings(tmp_path / "embeddings.safetensors", _text([*tests, "stranger"]))
    with pytest.raises(DataError, match="not in the data set: 'stranger'"):
        make_plan(_config(dataset, text={"path": str(tmp_path)}))


def test_a_method_without_text_takes_no_text_control(dataset):
    with pytest.raises(
        ConfigError, match=r"text\.control is shuffled_cases, but method 'full' does not learn from text"
    ):
        make_plan(_config(dataset, text={"control": "shuffled_cases"}))


def test_a_resumed_run_keeps_its_text(dataset, tmp_path, learns_from_text):
    file = tmp_path / "text" / "embeddings.safetensors"
    store = _text(_ids(dataset))
    write_embeddings(file, store)
    config = _config(dataset, text={"path": str(file.parent)})
    train(config, tmp_path / "run")
    train(config, tmp_path / "run", resume=True)
    write_embeddings(file, dataclasses.replace(store, tokens=store.tokens * 2))
    with pytest.raises(DataError, match="text embeddings are others"):
        train(config, tmp_path / "run", resume=True)
