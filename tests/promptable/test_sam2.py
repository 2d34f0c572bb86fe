"""Folders of SAM 2, of the image and of the video model: tiny, with random weights, saved by ``transformers``."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg.config import PromptConfig
from gazeseg.errors import DataError
from gazeseg.promptable import load_promptable
from gazeseg.supervision.prompts import Prompts, gaze_prompts
from gazeseg.types import Fixations

transformers = pytest.importorskip("transformers")
SIDE = 64
IMAGE = np.random.default_rng(0).integers(0, 255, (30, 48, 3)).astype(np.uint8)
BOXES = np.array([[4.0, 5, 30, 20], [10, 5, 40, 25]])


def _config():
    """A Hiera of four stages, 64 px, whose deepest map is 4 x 4 px."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [SIDE, SIDE],
        "patch_kernel_size": [7, 7],
        "patch_stride": [4, 4],
        "patch_padding": [3, 3],
        "query_stride": [2, 2],
        "window_positional_embedding_background_size": [4, 4],
        "num_query_pool_stages": 3,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "global_attention_blocks": [3],
    }
    return {
        "vision_config": {
            "backbone_config": backbone,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        "prompt_encoder_config": {"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Sam2Model(transformers.Sam2Config(**_config()))
        for parameter in model.parameters():  # as drawn, its masks hardly depend on what is asked
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp("models") / "tiny-sam2"
    model.save_pretrained(path)
    return path


def _prompts(boxes=BOXES):
    count = len(boxes)
    return Prompts(boxes, np.zeros((count, 0, 2)), np.zeros((count, 0), np.int64), np.arange(count), IMAGE.shape[:2])


def _answer(path, prompts=None):
    model = load_promptable(str(path), device="cpu")
    return model.masks(model.encode(IMAGE), prompts or _prompts())


def test_masks_are_those_of_the_library_on_the_image_stretched_to_a_square(folder):
    found = _answer(folder)
    net = transformers.Sam2Model.from_pretrained(folder).eval()
    small = np.asarray(Image.fromarray(IMAGE).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.tensor((small - mean) / std).permute(2, 0, 1)[None].float()
    boxes = (BOXES + 0.5) * np.array([SIDE / 48, SIDE / 30] * 2) - 0.5
    with torch.no_grad():
        out = net(pixel_values=pixels, input_boxes=torch.tensor(boxes[None]).float(), multimask_output=False)
    logits = torch.nn.functional.interpolate(out.pred_masks[0], (SIDE, SIDE), mode="bilinear", align_corners=False)
    assert found.probability.shape == (2, SIDE, SIDE)  # of the whole image: nothing was padded
    np.testing.assert_allclose(found.probability, logits[:, 0].sigmoid().numpy(), atol=1e-4)
    np.testing.assert_allclose(found.predicted_iou, out.iou_scores[0, :, 0].numpy(), atol=1e-4)
    assert np.abs(found.probability[0] - found.probability[1]).max() > 1e-2


def test_prompts_together_are_answered_as_alone_and_points_reach_the_model(folder):
    together = _answer(folder)
    for k in range(len(BOXES)):
        alone = _answer(folder, _prompts(BOXES[k : k + 1]))
        np.testing.assert_allclose(together.probability[k], alone.probability[0], atol=1e-5)
    fix = Fixations([12.0], [9.0], [0.0], [400.0], IMAGE.shape[:2], "case")
    heat = np.zeros(IMAGE.shape[:2], np.float32)
    heat[5:15, 5:20] = 1.0
    config = PromptConfig(levels=(0.5,))
    bare = _answer(folder, gaze_prompts(fix, heat, config))
    pointed = _answer(folder, gaze_prompts(fix, heat, config.model_copy(update={"points": 1})))
    assert np.abs(bare.probability - pointed.probability).max() > 1e-3


def test_a_checkpoint_of_the_video_model_answers_as_the_image_model_in_it(folder, tmp_path):
    """The published SAM 2 checkpoints are of this kind."""
    video = transformers.Sam2VideoModel(
        transformers.Sam2VideoConfig(
            **_config(),
            image_size=SIDE,
            memory_attention_hidden_size=16,
            memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=16,
            memory_attention_rope_feat_sizes=[4, 4],
            memory_encoder_hidden_size=16,
            memory_encoder_output_channels=8,
            mask_downsampler_embed_dim=16,
            memory_fuser_num_layers=1,
            memory_fuser_embed_dim=16,
            memory_fuser_intermediate_dim=16,
        )
    )
    loaded = video.load_state_dict(transformers.Sam2Model.from_pretrained(folder).state_dict(), strict=False)
    assert not loaded.unexpected_keys
    video.save_pretrained(tmp_path / "video")
    assert json.loads((tmp_path / "video" / "config.json").read_text())["model_type"] == "sam2_video"
    np.testing.assert_array_equal(_answer(tmp_path / "video").probability, _answer(folder).probability)


def test_a_folder_that_does_not_fit_is_refused_in_one_line(folder, tmp_path):
    def changed(name, change):
        copy = shutil.copytree(folder, tmp_path / name)
        described = json.loads((copy / "config.json").read_text())
        change(described)
        (copy / "config.json").write_text(json.dumps(described))
        return copy

    listed = changed("listed", lambda config: config["prompt_encoder_config"].update(image_size=[SIDE, SIDE]))
    with pytest.raises(DataError, match="no Sam2Model to read") as error:  # transformers wants one number
        load_promptable(str(listed), device="cpu")
    assert "\n" not in str(error.value)
    image_model = changed("sam", lambda config: config.update(model_type="sam"))
    with pytest.raises(DataError, match="SamModel"):
        load_promptable(str(image_model), device="cpu")
