import json
import pickle

import numpy as np
import pytest
import yaml
from PIL import Image

import gazeseg
from gazeseg.errors import DataError
from gazeseg.export.folders import export_hub, export_monai_bundle
from gazeseg.export.network import TOLERANCE
from gazeseg.predict.predictor import Predictor

RNG = np.random.default_rng(0)


def pixels():
    return RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_a_hub_folder_takes_the_place_of_its_run(make_run, tmp_path):
    run = make_run("gazemedseg", gaze="recorded")
    parity = export_hub(Predictor.load(run), run, tmp_path / "hub", licence="cc-by-4.0")
    assert parity.largest == 0
    image = pixels()
    here, there = gazeseg.load(run)(image), gazeseg.load(tmp_path / "hub")(image)
    np.testing.assert_array_equal(here.probabilities, there.probabilities)
    names = sorted(path.name for path in (tmp_path / "hub").iterdir())
    assert names == ["README.md", "config.yaml", "model.safetensors", "task.json"]
    assert str(tmp_path) not in (tmp_path / "hub" / "config.yaml").read_text()  # no paths of the machine


def test_the_card_states_data_gaze_protocol_figures_licence_and_limits(make_run, tmp_path):
    run = make_run("gazemedseg", gaze="simulated")
    statistics = {"mean": 0.8, "ci95": [0.75, 0.85]}
    mean = {"dice": statistics, "iou": statistics, "hd95": {"mean": 12.34}, "missed": 3, "false_alarms": 0}
    summary = {"mean": mean, "headline_hd95": "hd95", "cases": 100, "unit": "px", "protocol": "gazeseg"}
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "evaluation" / "test" / "summary.json").write_text(json.dumps(summary))
    export_hub(Predictor.load(run), run, tmp_path / "hub", licence="cc-by-4.0")
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert (head["library_name"], head["license"]) == ("gazeseg", "cc-by-4.0")
    for words in (
        "Kvasir-SEG, 900 training cases",
        "simulated (uses ground truth), so that masks were needed",
        "| test | 100 | 0.800 [0.750, 0.850] | 0.800 | 12.3 px | 3 | 0 | gazeseg |",
        "not a medical device",
        "say nothing about recorded gaze",
    ):
        assert words in card
    export_hub(Predictor.load(run), run, tmp_path / "unstated")
    unstated = (tmp_path / "unstated" / "README.md").read_text(encoding="utf-8")
    assert "Not stated by whoever exported this" in unstated


@pytest.mark.parametrize("name", ["extra.pkl", "optimizer.pt", "innocent.txt"])
def test_a_hub_folder_with_a_pickle_is_refused(make_run, tmp_path, name):
    run = make_run()
    export_hub(Predictor.load(run), run, tmp_path / "hub")
    (tmp_path / "hub" / "sub").mkdir()
    (tmp_path / "hub" / "sub" / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match=rf"{name}: a pickle, which runs code when it is loaded"):
        gazeseg.load(tmp_path / "hub")


def test_broken_weights_are_one_line(make_run, tmp_path):
    run = make_run()
    export_hub(Predictor.load(run), run, tmp_path / "hub")
    (tmp_path / "hub" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"model.safetensors: corrupt weights; export or download"):
        gazeseg.load(tmp_path / "hub")


def test_a_folder_that_is_there_is_kept(make_run, tmp_path):
    run = make_run()
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="holds something else"):
        export_hub(Predictor.load(run), run, tmp_path / "hub")


@pytest.mark.slow
def test_monai_builds_and_runs_the_bundle(make_run, tmp_path):
    from monai.bundle import run as run_bundle

    run = make_run()
    predictor = Predictor.load(run)
    bundle = tmp_path / "bundle"
    parity = export_monai_bundle(predictor, run, bundle)
    assert parity.largest <= TOLERANCE
    (tmp_path / "in").mkdir()
    image = pixels()
    Image.fromarray(image).save(tmp_path / "in" / "a.png")
    files = {"config_file": str(bundle / "configs" / "inference.json"), "bundle_root": str(bundle)}
    run_bundle(**files, input_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    mask = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    [expected] = predictor.masks([image])
    assert mask.shape == (64, 96)
    assert (mask == expected).mean() > 0.999
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "part 1"}
    assert {"version", "monai_version", "pytorch_version", "numpy_version", "task", "authors"} <= set(metadata)
