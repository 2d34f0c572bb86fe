"""The part of a run that others need: pixels in, probabilities out, nothing of ours to know about in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gazeseg.data.transforms import IMAGENET_MEAN, IMAGENET_STD, MIN_STD, resolve_normalise
from gazeseg.errors import DataError
from gazeseg.predict.predictor import Predictor

MULTIPLE: Final = 32  # of both sides: what the poolings of every network divide without a remainder
SMALLEST: Final = 64
LARGEST: Final = 8192
TOLERANCE: Final = 1e-4  # of a probability
INPUT: Final = "image"
OUTPUT: Final = "probabilities"

Answer = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]


class Deployed(nn.Module):
    """A trained method with its normalisation inside.

    Maps ``image`` (B, C, H, W) float32 in 0..255 to ``probabilities`` (B, K, H, W) that sum to 1 over the classes. H
    and W are multiples of 32, from 64. Resizing stays outside: the network has learnt at one size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        channels = predictor.task.in_channels
        self.method = predictor.method
        self.per_image = resolve_normalise(predictor.config.data.normalise, channels) == "zscore"
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, 255 * torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, C, H, W) in 0..255 to (B, K, H, W)."""
        if self.per_image:
            centred = image - image.mean(dim=(1, 2, 3), keepdim=True)
            normal = centred / centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=MIN_STD)
        else:
            normal = (image - self.mean) / self.std
        return self.method.predict(normal)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far another runtime is from PyTorch."""

    largest: float  # absolute difference of any probability
    shapes: tuple[tuple[int, ...], ...]  # (B, C, H, W) of what was compared


def example(predictor: Predictor, *, batch: int = 2, height: int = 0, width: int = 0) -> Tensor:
    """Return seeded noise in 0..255 that the network can take; by default of the size that it has learnt at."""
    learnt = allowed_size(predictor)
    size = (height or learnt[0], width or learnt[1])
    generator = torch.Generator().manual_seed(batch)
    coarse = torch.rand(batch, predictor.task.in_channels, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    noise = torch.rand(batch, predictor.task.in_channels, *size, generator=generator)
    return 255 * (0.8 * smooth + 0.2 * noise)


def allowed_size(predictor: Predictor) -> tuple[int, int]:
    """Return the size (H, W) that the network has learnt at, or the nearest that an exported graph takes."""
    height, width = (max(SMALLEST, round(side / MULTIPLE) * MULTIPLE) for side in predictor.config.data.size)
    return height, width


@torch.no_grad()
def check_parity(predictor: Predictor, answer: Answer) -> Parity:
    """Compare another runtime's answer with PyTorch's, for several batches and sizes.

    Args:
        predictor: The run.
        answer: Maps float32 (B, C, H, W) to probabilities, in the other runtime.

    Raises:
        DataError: if a probability differs by more than 1e-4, or the shapes do.
    """
    network = Deployed(predictor).eval()
    height, width = allowed_size(predictor)
    distances, shapes = [], []
    for batch, h, w in ((1, height, width), (3, height + 32, width), (2, height, width + 64)):
        image = example(predictor, batch=batch, height=h, width=w).to(predictor.device)
        expected = network(image).cpu().numpy()
        got = np.asarray(answer(image.cpu().numpy()))
        if got.shape != expected.shape:
            raise DataError(
                f"the export answers {got.shape} where PyTorch answers {expected.shape}; nothing is written"
            )
        distances.append(float(np.abs(got - expected).max()))
        shapes.append(tuple(image.shape))
    largest = float(np.max(distances))  # NaN if one is
    if not largest <= TOLERANCE:  # written so that NaN fails too
        raise DataError(
            f"the export differs from PyTorch by {largest:.1e} (at most {TOLERANCE:g} is allowed); nothing is written"
        )
    return Parity(largest, tuple(shapes))


def exported_program(predictor: Predictor) -> torch.export.ExportedProgram:
    """Trace the deployed network with a dynamic batch and size.

    Raises:
        DataError: if the method does something that cannot be traced.
    """
    network = Deployed(predictor).eval()
    if predictor.device.type != "cpu":
        raise DataError("export runs on the CPU; leave --device out")
    most = LARGEST // MULTIPLE
    height, width = (MULTIPLE * torch.export.Dim(n, min=SMALLEST // MULTIPLE, max=most) for n in ("rows", "columns"))
    sizes = {0: torch.export.Dim("batch", min=1, max=4096), 2: height, 3: width}
    image = example(predictor, batch=2)
    try:
        return torch.export.export(network, (image,), dynamic_shapes={"image": sizes}, strict=False)
    except (
        torch._dynamo.exc.UserError,
        RuntimeError,
        ValueError,
    ) as error:  # what tracing raises, all documented nowhere
        reason = " ".join(str(error).split())[:200]
        name = predictor.config.method.get("name", "")
        raise DataError(f"method '{name}' cannot be traced for export ({reason}); use --to hub") from None
