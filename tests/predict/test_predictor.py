from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazeseg import methods
from gazeseg.config import RunConfig, write_yaml
from gazeseg.data.transforms import normalise
from gazeseg.errors import ConfigError, DataError
from gazeseg.predict.predictor import Predictor
from gazeseg.train import checkpoint
from gazeseg.train.runfolder import RunFolder, Task

SIZE = (32, 48)
RNG = np.random.default_rng(0)


def make_config(**sections) -> RunConfig:
    values = {
        "method": {"name": "full"},
        "data": {"size": SIZE, "normalise": "zscore"},
        "network": {"name": "small_unet"},
    }
    return RunConfig.model_validate({**values, **sections})


def make_task(in_channels=3, num_classes=2) -> Task:
    classes = ("background", *(f"class {k}" for k in range(1, num_classes)))
    return Task("made", classes, in_channels, 1, (0.5,), "none", mask_supervised=True, train_cases=4, parameters=1)


def make_method(config, task, seed=0):
    method = methods.create(
        config.method,
        network=config.network,
        in_channels=task.in_channels,
        num_classes=task.num_classes,
        levels=1,
        seed=seed,
    )
    with torch.no_grad():  # an untrained head says .5 everywhere; make it say something
        for name, parameter in method.named_parameters():
            if name.endswith("head.weight"):
                parameter.mul_(8)
    return method


def make_run(path: Path, config=None, task=None) -> RunFolder:
    config, task, folder = config or make_config(), task or make_task(), RunFolder(path)
    path.mkdir()
    write_yaml(folder.config_file, config)
    folder.write_task(task)
    for step, seed in ((1, 1), (2, 2)):  # best is the first, last the second
        checkpoint.save(folder, step, make_method(config, task, seed).state_dict(), {"step": step}, best_step=1)
    return folder


def image(height=60, width=70, channels=3):
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def make_predictor(config=None, task=None, **options) -> Predictor:
    config, task = config or make_config(), task or make_task()
    return Predictor(make_method(config, task), task, config, device=torch.device("cpu"), **options)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("resize", ["logit", "probability"])
def test_probabilities_are_at_native_size_and_sum_to_one(num_classes, resize):
    predictor = make_predictor(make_config(evaluate={"resize": resize}), make_task(num_classes=num_classes))
    images = [image(20, 17), image(100, 90), image(32, 48)]
    for values, pixels in zip(predictor.probabilities(images), images, strict=True):
        assert values.shape == (num_classes, *pixels.shape[:2])
        assert values.dtype == np.float32
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)
        assert values.min() >= 0
    images.append(np.zeros((9, 9, 3), np.uint8))
    for mask, values in zip(predictor.masks(images), predictor.probabilities(images), strict=True):
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, values.argmax(axis=0))


def test_at_network_size_it_is_the_network():
    predictor = make_predictor()
    pixels = image(*SIZE)
    [values] = predictor.probabilities([pixels])
    with torch.no_grad():
        logits = predictor.method.network(normalise(torch.from_numpy(pixels[None]), "zscore"))
    assert logits.std() > 0.01
    np.testing.assert_allclose(values[1], torch.sigmoid(logits)[0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_what_is_upsampled_is_a_choice(num_classes):
    logits = torch.randn(1, num_classes, 8, 12, generator=torch.Generator().manual_seed(0))
    up = {"size": (30, 20), "mode": "bilinear", "align_corners": False}
    expected = {
        "logit": F.interpolate(logits, **up).softmax(dim=1),
        "probability": F.interpolate(logits.softmax(dim=1), **up),
    }
    assert (expected["logit"] - expected["probability"]).abs().max() > 0.01
    for resize, values in expected.items():
        predictor = make_predictor(make_config(evaluate={"resize": resize}), make_task(num_classes=num_classes))
        if num_classes == 2:  # the sigmoid of the interpolated foreground logit
            binary = torch.sigmoid(F.interpolate(logits[:, 1:] - logits[:, :1], **up))
            assert resize == "probability" or torch.allclose(values[:, 1:], binary, atol=1e-5)
        native = predictor._native(logits.softmax(dim=1)[0], (30, 20))
        np.testing.assert_allclose(native.numpy(), values[0].numpy(), atol=1e-5)


def test_flips_that_training_drew_are_averaged():
    config = make_config(data={"size": SIZE, "augment": {"flip_horizontal": 0.5, "flip_vertical": 0}})
    plain, averaged = make_predictor(config), make_predictor(config, tta=True)
    assert averaged.flips == ((), (3,))
    pixels = image(*SIZE)
    [a], [b], [both] = (
        p.probabilities([x]) for p, x in ((plain, pixels), (plain, pixels[:, ::-1]), (averaged, pixels))
    )
    expected = (a + b[:, :, ::-1]) / 2
    assert np.abs(a - expected).max() > 1e-3
    np.testing.assert_allclose(both, expected, atol=2e-5)
    still = make_config(data={"size": SIZE, "augment": {"flip_horizontal": 0, "flip_vertical": 0}})
    assert make_predictor(still, tta=True).flips == ((),)


def test_the_identity_follows_weights_checkpoint_and_flips():
    config, task = make_config(), make_task()
    first, again = make_predictor(config), make_predictor(config)
    other = Predictor(make_method(config, task, seed=1), task, config, device=torch.device("cpu"))
    assert first.identity == again.identity
    assert first.identity["weights"] != other.identity["weights"]
    assert make_predictor(config, tta=True).identity == {**first.identity, "tta": True}


def test_certain_pixels_stay_finite():
    predictor = make_predictor()
    certain = torch.zeros(2, 4, 4)
    certain[1] = 1
    native = predictor._native(certain, (9, 9))
    assert torch.isfinite(native).all()
    assert native[1].min() > 0.999


def test_batching_and_order_change_nothing():
    images = [image(40 + i, 50 - i) for i in range(5)]
    one, many = make_predictor(batch_size=1), make_predictor(batch_size=3)
    for a, b in zip(one.probabilities(images), many.probabilities(images), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert many.probabilities([]) == []
    assert many.masks([]) == []


def test_channels_are_brought_to_what_the_model_knows(capsys):
    colour, grey = make_predictor(), make_predictor(task=make_task(in_channels=1))
    pixels = image(40, 40, 1)
    tripled = np.repeat(pixels, 3, axis=2)
    np.testing.assert_array_equal(colour.probabilities([pixels])[0], colour.probabilities([tripled])[0])
    np.testing.assert_array_equal(colour.probabilities([pixels[:, :, 0]])[0], colour.probabilities([tripled])[0])
    said = capsys.readouterr().err
    assert "luma" not in said
    assert said.count("copied to three channels") == 1
    np.testing.assert_allclose(grey.probabilities([tripled])[0], grey.probabilities([pixels])[0], atol=1e-6)
    grey.probabilities([tripled])
    assert capsys.readouterr().err.count("luma") == 1  # once is enough


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_images_are_refused(bad):
    with pytest.raises(DataError, match="expected a uint8 image"):
        make_predictor().probabilities([bad])


def test_a_run_is_loaded_with_the_checkpoint_its_rule_names(tmp_path):
    folder = make_run(tmp_path / "run")
    chosen = make_run(tmp_path / "chosen", make_config(train={"select": "validation"}))
    pixels = [image()]
    last, best = Predictor.load(folder.path), Predictor.load(folder.path, checkpoint="best")
    assert (last.checkpoint, best.checkpoint) == ("step-000002", "step-000001")
    assert Predictor.load(chosen.path).checkpoint == "step-000001"
    assert not np.allclose(last.probabilities(pixels)[0], best.probabilities(pixels)[0])
    config, task = make_config(), make_task()
    direct = Predictor(make_method(config, task, seed=2), task, config, device=torch.device("cpu"))
    np.testing.assert_array_equal(last.probabilities(pixels)[0], direct.probabilities(pixels)[0])


def test_broken_runs_are_refused_in_one_line(tmp_path):
    folder = make_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="known: best, last"):
        Predictor.load(folder.path, checkpoint="newest")
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        Predictor.load(folder.path, device="gpu")
    weights = folder.checkpoints / "step-000002" / "model.safetensors"
    whole = weights.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"no weights" * 100):
        weights.write_bytes(broken)
        with pytest.raises(DataError, match="corrupt checkpoint") as error:
            Predictor.load(folder.path)
        assert "\n" not in str(error.value)
    weights.write_bytes(whole)
    write_yaml(folder.config_file, make_config(network={"name": "small_unet", "features": (4, 8, 8, 8)}))
    with pytest.raises((DataError, ConfigError)) as error:
        Predictor.load(folder.path)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no run folder"):
        Predictor.load(tmp_path)


def test_a_run_of_another_version_says_so(tmp_path):
    folder = make_run(tmp_path / "run")
    folder.environment_file.write_text('{"gazeseg": "0.0.1"}', encoding="utf-8")
    folder.config_file.write_text("method:\n  name: full\nnoise: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown key.*noise.*; gazeseg 0\.0\.1 made this run, this is 0\.1\.0"):
        Predictor.load(folder.path)
