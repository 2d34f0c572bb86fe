import json
import sys

import numpy as np
import pytest
import torch

from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.export import graphs
from gazeseg.export.network import TOLERANCE, Deployed, check_parity, example
from gazeseg.predict.predictor import Predictor

RNG = np.random.default_rng(0)


def test_normalisation_is_inside(make_run):
    """Pixels of the network's size give what the predictor gives for that image."""
    for channels, normalise in ((3, "imagenet"), (3, "zscore"), (1, "zscore")):
        run = make_run(in_channels=channels, normalise=normalise, name=f"{channels}{normalise}")
        predictor = Predictor.load(run)
        pixels = RNG.integers(0, 256, (64, 96, channels), dtype=np.uint8)
        with torch.no_grad():
            got = Deployed(predictor).eval()(torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32)))
        np.testing.assert_allclose(got[0].numpy(), predictor.probabilities([pixels])[0], atol=2e-5)


@pytest.mark.slow
def test_onnx_runtime_agrees_with_pytorch_for_any_batch_and_size(make_run, tmp_path):
    import onnx
    import onnxruntime

    predictor = Predictor.load(make_run("gazemedseg"))
    path = tmp_path / "out" / "model.onnx"
    parity = graphs.export_onnx(predictor, path)
    assert parity.largest <= TOLERANCE
    assert len({shape[0] for shape in parity.shapes}) == 3
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [taken], [given] = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1]) == ("image", "tensor(float)", 3)
    assert all(isinstance(taken.shape[axis], str) for axis in (0, 2, 3))
    assert given.name == "probabilities"
    pixels = RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    [[got]] = session.run(None, {"image": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    np.testing.assert_allclose(got, predictor.probabilities([pixels])[0], atol=1e-4)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    [said] = [json.loads(entry.value) for entry in model.metadata_props if entry.key == "gazeseg"]
    assert said["classes"] == ["background", "part 1"]
    assert said["learnt_at"] == [64, 96]


@pytest.mark.slow
def test_an_exported_program_runs_without_us(make_run, tmp_path):
    predictor = Predictor.load(make_run(in_channels=1, num_classes=3))
    parity = graphs.export_pt2(predictor, tmp_path / "model.pt2")
    assert parity.largest <= TOLERANCE
    module = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        answer = module(example(predictor, batch=5, height=128, width=64))
    assert answer.shape == (5, 3, 128, 64)
    np.testing.assert_allclose(answer.sum(dim=1).numpy(), 1, atol=1e-5)


def test_a_runtime_that_answers_otherwise_is_refused(make_run):
    predictor = Predictor.load(make_run())
    network = Deployed(predictor).eval()

    def wrong(image, shift):
        with torch.no_grad():
            return network(torch.from_numpy(image)).numpy() + shift

    assert check_parity(predictor, lambda image: wrong(image, 0)).largest == 0
    for shift in (2e-4, float("nan")):
        with pytest.raises(DataError, match="the export differs from PyTorch by"):
            check_parity(predictor, lambda image, shift=shift: wrong(image, shift))
    with pytest.raises(DataError, match=r"answers \(1, 1, 64, 96\) where PyTorch answers \(1, 2, 64, 96\)"):
        check_parity(predictor, lambda image: wrong(image, 0)[:, 1:])


def test_without_onnx_the_extra_is_named(make_run, tmp_path, monkeypatch):
    predictor = Predictor.load(make_run())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"gazeseg\[export\]"):
        graphs.export_onnx(predictor, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
