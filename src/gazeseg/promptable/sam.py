"""Any SAM, MedSAM or SAM 2 checkpoint folder that ``transformers`` reads.

Kirillov et al., "Segment anything", ICCV 2023; Ma et al., "Segment anything in medical images" (MedSAM), Nature
Communications 2024; Ravi et al., "SAM 2", ICLR 2025. Weights are read from safetensors, so that no pickled code runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from gazeseg.errors import ConfigError, DataError, MissingDependencyError
from gazeseg.promptable.canvas import Embedding, moved, on_square, probabilities, resized_rgb, scaled_size
from gazeseg.supervision.prompts import NOTHING, Answer, Prompts
from gazeseg.types import UInt8Array

# config.json's model_type -> class of transformers, and whether the image keeps its proportions on the square
ARCHITECTURES: Final = {
    "sam": ("SamModel", True),
    "sam2": ("Sam2Model", False),
    "sam2_video": ("Sam2Model", False),  # how the published SAM 2 checkpoints call themselves
}
MEAN: Final = (0.485, 0.456, 0.406)  # ImageNet, where the folder has no preprocessor_config.json
STD: Final = (0.229, 0.224, 0.225)
PADDING: Final = -10  # label of a point that the models of transformers leave out


class SamFolder:
    """A frozen model of the SAM family; see :class:`gazeseg.supervision.prompts.Promptable`."""

    def __init__(
        self,
        model: Any,
        *,
        keeps_proportions: bool,
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
        identity: str = "",
        device: torch.device | None = None,
    ) -> None:
        """Take a ``SamModel`` or ``Sam2Model``.

        Args:
            model: The model.
            keeps_proportions: Scale the longer side and pad (SAM), or stretch to the square (SAM 2).
            mean: Of the three channels, in 0..1.
            std: Likewise.
            identity: Names the weights; part of what decides whether a case is done again.
            device: Where to compute.
        """
        self.identity = identity
        self._device = device or torch.device("cpu")
        self._model = model.float().eval().requires_grad_(False).to(self._device)
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._keeps_proportions = keeps_proportions
        self._mean, self._std = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> SamFolder:
        """Open a folder with config.json and model.safetensors; nothing is downloaded.

        Raises:
            ConfigError: if it holds another architecture.
            MissingDependencyError: without ``transformers``.
            DataError: if a file is missing or does not fit.
        """
        described = _read_json(folder / "config.json")
        kind = described.get("model_type")
        if kind not in ARCHITECTURES:
            raise ConfigError(
                f"{folder}: holds a model of type '{kind}', not one of {', '.join(ARCHITECTURES)}; give the folder of "
                "a SAM, MedSAM or SAM 2 checkpoint"
            )
        if importlib.util.find_spec("transformers") is None:
            raise MissingDependencyError("transformers", "prompt")
        import transformers

        name, keeps_proportions = ARCHITECTURES[kind]
        try:
            model, report = getattr(transformers, name).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            first = " ".join(str(error).split())[:160]
            raise DataError(f"{folder}: no {name} to read ({first}); save it there as safetensors") from None
        if report["missing_keys"]:
            raise DataError(
                f"{folder}: {len(report['missing_keys'])} weights of {name} are missing, e.g. "
                f"'{min(report['missing_keys'])}'; the checkpoint is of another architecture"
            )
        prepared = folder / "preprocessor_config.json"
        given = _read_json(prepared) if prepared.is_file() else {}
        return cls(
            model,
            keeps_proportions=keeps_proportions,
            mean=tuple(given.get("image_mean", MEAN)),
            std=tuple(given.get("image_std", STD)),
            identity=f"{kind} {_fingerprint(folder)}",
            device=device,
        )

    def encode(self, image: UInt8Array) -> Embedding:
        """Encode an image, scaled to the model's square and standardised."""
        square = (self._side, self._side)
        size = scaled_size((image.shape[0], image.shape[1]), self._side) if self._keeps_proportions else square
        pixels = (resized_rgb(image, size) / np.float32(255) - self._mean) / self._std
        with torch.inference_mode():
            features = self._model.get_image_embeddings(on_square(pixels, self._side, self._device))
        return Embedding(features, self._side, size)

    def masks(self, embedding: Embedding, prompts: Prompts) -> Answer:
        """Answer all prompts, a chunk at a time, with the one mask that the model would choose."""
        found, ious = [], []
        with torch.inference_mode():
            for boxes, points, labels in moved(prompts, embedding, self._device):
                given = {}
                if (labels != NOTHING).any():
                    given = {
                        "input_points": points[None],
                        "input_labels": labels.masked_fill(labels < 0, PADDING)[None],
                    }
                out = self._model(
                    image_embeddings=embedding.features, input_boxes=boxes[None], multimask_output=False, **given
                )
                found.append(probabilities(out.pred_masks[0, :, 0], embedding))
                ious.append(out.iou_scores[0, :, 0].float().cpu().numpy())
        return Answer(np.concatenate(found), np.concatenate(ious).astype(np.float64))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give a folder that transformers reads") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not JSON ({error}); fetch the checkpoint again") from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected keys and values; fetch the checkpoint again")
    return document


def _fingerprint(folder: Path) -> str:
    """Hash names, sizes and times of the weights: reading gigabytes for a name is not worth it."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        stat = file.stat()
        digest.update(f"{file.name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
