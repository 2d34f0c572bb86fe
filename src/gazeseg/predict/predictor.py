"""A trained run as a function: images in, probabilities or masks at native size out. Needs no gaze and no mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gazeseg import methods
from gazeseg.config import RunConfig
from gazeseg.console import warn
from gazeseg.data.cache import resize_image
from gazeseg.data.transforms import normalise
from gazeseg.errors import ConfigError, DataError
from gazeseg.losses.logits import logits_from_probabilities, probabilities
from gazeseg.methods.base import Method
from gazeseg.train import checkpoint as checkpoints
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import Float32Array, UInt8Array


class Predictor:
    """Predicts with a method, on images of any size.

    Args:
        method: The trained method; moved to ``device`` and put into evaluation mode.
        task: What it was trained for.
        config: The run's configuration: network input size, normalisation, what is upsampled.
        device: Where to compute.
        checkpoint: Name of the checkpoint folder that the weights came from, for results.
        batch_size: Images computed at once.

    Example:
        >>> predictor = Predictor.load(Path("runs/gms"))  # doctest: +SKIP
        >>> [mask] = predictor.masks([read_image(Path("polyp.jpg"))])  # doctest: +SKIP
    """

    def __init__(
        self,
        method: Method,
        task: Task,
        config: RunConfig,
        *,
        device: torch.device,
        checkpoint: str = "",
        batch_size: int = 16,
    ) -> None:
        self.method = method.to(device).eval()
        self.task = task
        self.config = config
        self.device = device
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self._warned = False

    @classmethod
    def load(cls, run: Path, *, checkpoint: str | None = None, device: str = "cpu", batch_size: int = 16) -> Predictor:
        """Load a run folder.

        Args:
            run: The run folder.
            checkpoint: ``last`` or ``best``; ``None``: what ``train.select`` says.
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
            batch_size: Images computed at once.

        Raises:
            DataError: if the folder is no run, has no such checkpoint, or the checkpoint is corrupt.
            ConfigError: for an unknown checkpoint name or device.
        """
        folder = RunFolder(Path(run))
        config, task = folder.config(), folder.task()
        which = checkpoint or ("best" if config.train.select == "validation" else "last")
        if which not in ("last", "best"):
            raise ConfigError(f"unknown checkpoint '{which}'; known: best, last")
        target = _device(device)
        weights = checkpoints.load_weights(folder, which, device="cpu")
        # ImageNet weights would be overwritten by the checkpoint at once; without them the extra is not needed either
        network = config.network.model_copy(update={"pretrained": False})
        method = methods.create(
            config.method,
            network=network,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
            levels=task.levels,
            seed=config.train.seed,
        )
        path = checkpoints.find(folder, which)
        try:
            method.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{path}: the weights do not fit config.yaml ({reason}); restore the configuration the run was "
                "trained with, or train again"
            ) from None
        name = path.name if path is not None else ""
        return cls(method, task, config, device=target, checkpoint=name, batch_size=batch_size)

    def probabilities(self, images: Sequence[UInt8Array]) -> list[Float32Array]:
        """Return class probabilities at native size.

        Images are resized bilinearly to ``data.size``, as in training. Back at native size, ``evaluate.resize``
        ``logit`` interpolates logits bilinearly (log p1 - log p0 for two classes, else log p, with p clamped to
        [1e-6, 1 - 1e-6]) and applies sigmoid or softmax; ``probability`` interpolates probabilities, ``label``
        takes those of the nearest pixel.

        Args:
            images: uint8 (H, W), (H, W, 1) or (H, W, 3), sizes may differ. Grey for an RGB model is copied to three
                channels; colour for a grey model becomes luma, with a warning.

        Returns:
            One float32 (K, H, W) an image, summing to 1 over the K classes.

        Raises:
            DataError: if an array is no such image.
        """
        out: list[Float32Array] = []
        for start in range(0, len(images), self.batch_size):
            out += self._batch([self._fit_channels(image) for image in images[start : start + self.batch_size]])
        return out

    def masks(self, images: Sequence[UInt8Array]) -> list[UInt8Array]:
        """Return the most probable class of each pixel, uint8 (H, W), at native size; on a tie the lower index."""
        out: list[UInt8Array] = []
        for start in range(0, len(images), self.batch_size):  # in batches, so that probabilities are soon freed
            rows = self.probabilities(images[start : start + self.batch_size])
            out += [row.argmax(axis=0).astype(np.uint8) for row in rows]
        return out

    @torch.inference_mode()
    def _batch(self, images: list[UInt8Array]) -> list[Float32Array]:
        size = self.config.data.size
        small = torch.from_numpy(np.stack([resize_image(image, size) for image in images])).to(self.device)
        predicted = self.method.predict(normalise(small, self.config.data.normalise)).float()
        rows = zip(predicted, images, strict=True)
        return [self._native(row, (image.shape[0], image.shape[1])).cpu().numpy() for row, image in rows]

    def _native(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring (K, h, w) to (K, H, W)."""
        if self.config.evaluate.resize == "label":
            return F.interpolate(probability[None], size=size, mode="nearest-exact")[0]
        if self.config.evaluate.resize == "probability":
            return F.interpolate(probability[None], size=size, mode="bilinear", align_corners=False)[0]
        logits = F.interpolate(
            logits_from_probabilities(probability[None]), size=size, mode="bilinear", align_corners=False
        )
        return probabilities(logits, self.task.num_classes)[0]

    def _fit_channels(self, image: UInt8Array) -> UInt8Array:
        if image.ndim == 2:
            image = image[:, :, None]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
            raise DataError(f"expected a uint8 image (H, W), (H, W, 1) or (H, W, 3), got {image.dtype} {image.shape}")
        channels = self.task.in_channels
        if image.shape[2] < channels:
            return np.repeat(image, channels, axis=2)
        if image.shape[2] > channels:
            if not self._warned:
                self._warned = True
                warn("colour images for a model of grey images: their luma is used")
            return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
        return image


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}'; known: auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"device '{name}': PyTorch {torch.__version__} finds no such GPU; use --device cpu")
    return device
