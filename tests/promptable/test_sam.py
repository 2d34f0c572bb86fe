"""Folders of the SAM family: a tiny network with random weights, saved as ``transformers`` saves it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg.config import PromptConfig
from gazeseg.errors import ConfigError, DataError
from gazeseg.promptable import load_promptable
from gazeseg.promptable.sam import SamFolder
from gazeseg.supervision.prompts import Prompts, gaze_prompts
from gazeseg.types import Fixations

transformers = pytest.importorskip("transformers")
SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A SAM of 64 px with two thin layers."""
    common = {"hidden_size": 16, "image_size": SIDE}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.SamModel(
            transformers.SamConfig(
                vision_config={
                    **common,
                    "patch_size": 16,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "output_channels": 16,
                    "mlp_dim": 16,
                    "global_attn_indexes": [0],
                    "window_size": 2,
                    "num_pos_feats": 8,
                },
                prompt_encoder_config={**common, "patch_size": 16, "mask_input_channels": 4},
                mask_decoder_config={
                    "hidden_size": 16,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "mlp_dim": 16,
                    "iou_head_hidden_dim": 16,
                },
            )
        )
        for parameter in model.parameters():  # as drawn, its masks hardly depend on what is asked
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp("models") / "tiny-sam"
    model.save_pretrained(path)
    return path


def _prompts(boxes, size, points=None):
    count = len(boxes)
    places = np.zeros((count, 0, 2)) if points is None else np.array(points, dtype=float)
    labels = np.ones(places.shape[:2], np.int64)
    return Prompts(np.array(boxes, dtype=float), places, labels, np.arange(count), size)


def _image(size=(30, 48), channels=3):
    return np.random.default_rng(0).integers(0, 255, (*size, channels)).astype(np.uint8)


def test_masks_are_those_of_transformers_own_processor(folder):
    """Against the library's own way from pixels to logits."""
    image = _image()
    model = load_promptable(str(folder), device="cpu")
    embedding = model.encode(image)
    found = model.masks(embedding, _prompts([[4, 5, 30, 20]], image.shape[:2]))

    net = transformers.SamModel.from_pretrained(folder).eval()
    inner = (round(30 * SIDE / 48), SIDE)
    small = np.asarray(Image.fromarray(image).resize((inner[1], inner[0]), Image.Resampling.BILINEAR)) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    pixels[0, :, : inner[0]] = torch.tensor((small - mean) / std).permute(2, 0, 1).float()
    box = (np.array([[4, 5, 30, 20]]) + 0.5) * SIDE / 48 - 0.5
    with torch.no_grad():
        out = net(pixel_values=pixels, input_boxes=torch.tensor(box[None], dtype=torch.float32), multimask_output=False)
    logits = torch.nn.functional.interpolate(out.pred_masks[0], (SIDE, SIDE), mode="bilinear", align_corners=False)
    expected = logits[0, 0, : inner[0]].sigmoid().numpy()
    assert found.probability.shape == (1, *inner)
    np.testing.assert_allclose(found.probability[0], expected, atol=1e-4)
    assert found.predicted_iou[0] == pytest.approx(out.iou_scores.item(), abs=1e-4)


def test_prompts_asked_together_are_answered_as_if_asked_alone(folder):
    model = SamFolder.load(folder, torch.device("cpu"))
    image = _image(channels=1)
    embedding = model.encode(image)
    boxes = [[2, 2, 20, 20], [10, 5, 40, 25]]
    together = model.masks(embedding, _prompts(boxes, image.shape[:2]))
    for k, box in enumerate(boxes):
        alone = model.masks(embedding, _prompts([box], image.shape[:2]))
        np.testing.assert_allclose(together.probability[k], alone.probability[0], atol=1e-5)


def test_points_reach_the_model(folder):
    model = SamFolder.load(folder, torch.device("cpu"))
    image = _image()
    fix = Fixations([12.0], [9.0], [0.0], [400.0], image.shape[:2], "case")
    heat = np.zeros(image.shape[:2], np.float32)
    heat[5:15, 5:20] = 1.0
    embedding = model.encode(image)
    config = PromptConfig(levels=(0.5,))
    bare = model.masks(embedding, gaze_prompts(fix, heat, config))
    pointed = model.masks(embedding, gaze_prompts(fix, heat, config.model_copy(update={"points": 1})))
    assert np.abs(bare.probability - pointed.probability).max() > 1e-3


def test_a_folder_of_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="type 'bert', not one of sam"):
        load_promptable(str(tmp_path), device="cpu")


def test_weights_that_do_not_fit_or_are_pickles_are_refused(folder, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(DataError, match="safetensors"):
        load_promptable(str(broken), device="cpu")
    torch.save({}, broken / "pytorch_model.bin")  # would be unpickled; it is not looked at
    with pytest.raises(DataError, match="safetensors"):
        load_promptable(str(broken), device="cpu")
    (broken / "config.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        load_promptable(str(broken), device="cpu")


def test_an_unknown_model_gets_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'lite_medsam'"):
        load_promptable("lite_medsan", device="cpu")
    with pytest.raises(DataError, match="no such file"):
        load_promptable(str(tmp_path), device="cpu")
