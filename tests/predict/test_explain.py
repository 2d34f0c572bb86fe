"""Explanations of runs: the default equals predict, needs are met for any split, and a reader is told what is drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gazeseg import methods
from gazeseg.config import RunConfig, write_yaml
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.data.transforms import normalise
from gazeseg.errors import ConfigError, DataError
from gazeseg.methods.base import Layer, Method
from gazeseg.methods.gaze_unet import GazeUNet
from gazeseg.predict.explain import Explainer, explain_case, explains, open_dataset
from gazeseg.predict.predictor import Predictor
from gazeseg.train import checkpoint
from gazeseg.train.runfolder import RunFolder, Task


class Shows(GazeUNet):
    """A method that shows what it was given."""

    name = "shows"
    needs = frozenset({"pseudo", "track", "track_length"})

    def explain(self, batch):
        assert not self.training
        assert not torch.is_grad_enabled()
        image = batch.image[0].mean(dim=0)
        length = torch.full((2, 3), float(batch.track_length[0]))
        return (
            Layer("prediction", "probability", 1 - self.predict(batch.image)[0, 0], "probability"),
            Layer("taught with", "pseudo", batch.pseudo[0, 0].double(), "mask"),
            Layer("taught with", "fixations", length, "target"),
            Layer("seen", "image", image.bfloat16(), "difference"),
        )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    made = make_demo_dataset(tmp_path_factory.mktemp("demo") / "DS", cases=8, size=(64, 64))
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}), jobs=1)
    return made


def make_run(path: Path, dataset, name="gaze_unet", **sections) -> Path:
    values = {
        "method": {"name": name},
        "data": {"size": (32, 48), "path": dataset.root},
        "network": {"name": "small_unet"},
        "pseudo": {"thresholds": (0.5,), "source": "heatmap"},
    }
    config, folder = RunConfig.model_validate({**values, **sections}), RunFolder(path)
    path.mkdir()
    write_yaml(folder.config_file, config)
    folder.write_task(
        Task(
            "made",
            ("background", "object"),
            3,
            1,
            (0.5,),
            "recorded",
            mask_supervised=False,
            train_cases=4,
            parameters=1,
        )
    )
    method = methods.create(config.method, network=config.network, in_channels=3, num_classes=2, levels=1, seed=3)
    checkpoint.save(folder, 1, method.state_dict(), {"step": 1}, best_step=None)
    return path


@pytest.fixture
def shows(monkeypatch):
    known = methods.available
    monkeypatch.setattr(methods, "available", lambda: {**known(), "shows": Shows})
    return Shows


def test_the_default_explanation_is_what_predict_says(dataset, tmp_path):
    predictor = Predictor.load(make_run(tmp_path / "run", dataset))
    case = dataset.split("test")[0]
    explanation = explain_case(predictor, dataset, case.case_id)
    [found] = explanation.maps
    assert (explanation.method, found.row, found.kind) == ("gaze_unet", "prediction", "probability")
    from gazeseg.data.cache import resize_image

    pixels = torch.from_numpy(resize_image(dataset.image(case), (32, 48)).copy())[None]
    with torch.no_grad():
        expected = predictor.method.predict(normalise(pixels, predictor.config.data.normalise))[0, 1]
    np.testing.assert_allclose(found.values, expected.numpy(), atol=1e-6)


def test_a_method_gets_what_it_needs_for_a_case_that_training_never_saw(dataset, tmp_path, shows):
    predictor = Predictor.load(make_run(tmp_path / "run", dataset, "shows"))
    case = dataset.split("test")[0]
    assert not (dataset.root / "pseudo" / "levels" / f"{case.case_id}.png").exists()
    explanation = explain_case(predictor, dataset, case.case_id)
    assert list(explanation.rows) == ["prediction", "taught with", "seen"]
    assert [layer.title for layer in explanation.rows["taught with"]] == ["pseudo", "fixations"]
    pseudo, fixations = explanation.rows["taught with"]
    assert set(np.unique(pseudo.values)) == {0, 1}
    assert fixations.values[0, 0] == dataset.fixations[case.case_id].on_image.sum()
    assert all(layer.values.dtype == np.float32 for layer in explanation.maps)
    alone = predictor.probabilities([dataset.image(case)])[0]  # gaze beside it changes no prediction
    assert alone.shape[1:] == case.size


def test_prediction_in_an_explanation_does_not_depend_on_gaze(dataset, tmp_path, shows):
    import dataclasses

    from gazeseg.data.schema import no_fixations

    predictor = Predictor.load(make_run(tmp_path / "run", dataset, "shows"))
    blind = dataclasses.replace(dataset)
    object.__setattr__(blind, "fixations", {c.case_id: no_fixations(c.case_id, c.size) for c in dataset.cases})
    case_id = dataset.split("test")[0].case_id
    with_gaze, without = (explain_case(predictor, data, case_id) for data in (dataset, blind))
    np.testing.assert_array_equal(with_gaze.maps[0].values, without.maps[0].values)
    assert without.rows["taught with"][1].values[0, 0] == 0


def test_a_controlled_run_says_whose_gaze_is_drawn(dataset, tmp_path, shows):
    pseudo = dataset.root / "pseudo"
    run = make_run(
        tmp_path / "run", dataset, "shows", gaze={"control": "shuffled_order", "scope": "track"},
        data={"size": (32, 48), "path": dataset.root, "pseudo": pseudo},
    )  # fmt: skip
    explanation = explain_case(Predictor.load(run), dataset, dataset.cases[0].case_id)
    assert "shuffled order" in explanation.notes[0]


def test_errors_name_the_case_the_data_set_and_the_fix(dataset, tmp_path, shows):
    run = make_run(tmp_path / "run", dataset, "shows", data={"size": (32, 48)})
    predictor = Predictor.load(run)
    with pytest.raises(DataError, match="no case 'nobody'"):
        explain_case(predictor, dataset, "nobody")
    with pytest.raises(ConfigError, match="--data DS"):
        open_dataset(run, None)
    assert open_dataset(run, dataset.root).root == dataset.root
    empty = make_demo_dataset(tmp_path / "DS", cases=6, size=(40, 40))
    with pytest.raises(DataError, match="gazeseg masks"):
        explain_case(predictor, empty, empty.cases[0].case_id)


def test_only_methods_that_override_explain_are_explained_in_reports(dataset, tmp_path, shows):
    assert not explains(GazeUNet)
    assert explains(Shows)
    assert not explains(Method)
    case_id = dataset.split("test")[0].case_id
    explainer = Explainer()
    assert explainer(make_run(tmp_path / "plain", dataset), case_id) is None
    found = explainer(make_run(tmp_path / "shows", dataset, "shows"), case_id)
    assert found.case_id == case_id
    assert len(found.maps) == 4
