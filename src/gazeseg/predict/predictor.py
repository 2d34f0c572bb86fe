"""A trained run as a function: images in, probabilities or masks at native size out. Needs no gaze and no mask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gazeseg import __version__, methods
from gazeseg.config import RunConfig
from gazeseg.console import warn
from gazeseg.data.cache import resize_image
from gazeseg.data.transforms import normalise
from gazeseg.errors import ConfigError, DataError, GazeSegError
from gazeseg.losses.logits import logits_from_probabilities, probabilities
from gazeseg.methods.base import Method
from gazeseg.predict.uncertainty import Uncertain, disagreement, entropy, expected_dice, sharpen
from gazeseg.train import checkpoint as checkpoints
from gazeseg.train.runfolder import RunFolder, Task
from gazeseg.types import Float32Array, UInt8Array

EXPORTED: Final = "model.safetensors"
"""The weights of a folder that was exported; it has no checkpoints."""

_PICKLES: Final = frozenset({".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})


class Predictor:
    """Predicts with a method, on images of any size.

    Args:
        method: The trained method; moved to ``device`` and put into evaluation mode.
        task: What it was trained for.
        config: The run's configuration: network input size, normalisation, what is upsampled.
        device: Where to compute.
        checkpoint: Name of the checkpoint folder that the weights came from, for results.
        batch_size: Images computed at once.
        tta: Average the probabilities over the flips that training drew (``data.augment``), the image itself included.

    Examples:
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
        tta: bool = False,
    ) -> None:
        layout = torch.channels_last  # a fifth to a third less time than planes on a CPU, equal to rounding
        method.to(device, memory_format=layout)  # type: ignore[call-overload]  # the stub omits memory_format beside device
        self.method = method.eval()
        self.task = task
        self.config = config
        self.device = device
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.tta = tta
        self._warned: set[str] = set()

    @classmethod
    def load(
        cls,
        run: Path,
        *,
        checkpoint: str | None = None,
        device: str = "cpu",
        batch_size: int = 16,
        tta: bool = False,
    ) -> Predictor:
        """Load a run folder.

        Args:
            run: The run folder, or what ``gazeseg export --to hub`` made of one; that has one checkpoint only.
            checkpoint: ``last`` or ``best``; ``None``: what ``train.select`` says.
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
            batch_size: Images computed at once.
            tta: Average over flips.

        Raises:
            DataError: if the folder is no run, has no such checkpoint, the checkpoint is corrupt, or an exported folder
                holds a pickle.
            ConfigError: for an unknown checkpoint name or device, or a run of another version that this one cannot
                read.
        """
        folder = RunFolder(Path(run))
        try:
            config, task = folder.config(), folder.task()
        except GazeSegError as error:
            raise type(error)(f"{error}{_other_version(folder)}") from None
        which = checkpoint or ("best" if config.train.select == "validation" else "last")
        if which not in ("last", "best"):
            raise ConfigError(f"unknown checkpoint '{which}'; known: best, last")
        target = _device(device)
        exported = folder.path / EXPORTED
        path: Path | None = exported
        if exported.is_file():
            refuse_pickles(folder.path)
            weights = checkpoints.load_exported(exported)
        else:
            weights, path = checkpoints.load_weights(folder, which), checkpoints.find(folder, which)
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
        try:
            method.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{path}: the weights do not fit config.yaml ({reason}); restore the configuration the run was "
                f"trained with, or train again{_other_version(folder)}"
            ) from None
        name = path.name if path is not None else ""
        return cls(method, task, config, device=target, checkpoint=name, batch_size=batch_size, tta=tta)

    @cached_property
    def identity(self) -> dict[str, str | bool]:
        """What decides a prediction, for records: weights by a checksum, checkpoint, and whether flips are averaged."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.method.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return {"weights": digest.hexdigest()[:16], "checkpoint": self.checkpoint, "tta": self.tta}

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
        for chunk in self._chunks(images):
            rows = zip(self._small(chunk), chunk, strict=True)
            out += [self._native(row, _size(image)).cpu().numpy() for row, image in rows]
        return out

    def uncertain(
        self, images: Sequence[UInt8Array], *, temperature: float = 1.0, others: Sequence[Predictor] = ()
    ) -> list[Uncertain]:
        """Return masks with how sure the model is, at native size.

        Masks are those of :meth:`masks`. What disagrees are the method's own members (levels; student and teacher), the
        flips that training drew with ``tta`` or where the method has one member alone, and ``others``.

        Args:
            images: As for :meth:`probabilities`.
            temperature: Divides the logits of what is called probable; ``calibration.json`` of a run has one.
            others: Runs of other seeds or methods on the same classes.

        Raises:
            DataError: if an array is no image, or another run knows other classes.
        """
        for other in others:
            if other.task.classes != self.task.classes:
                raise DataError(
                    f"a run on the classes {', '.join(other.task.classes)} cannot judge one on "
                    f"{', '.join(self.task.classes)}; name runs of one data set"
                )
        out: list[Uncertain] = []
        for chunk in self._chunks(images):
            elsewhere = [other.probabilities(chunk) for other in others]
            predicted, members = self._small(chunk), self._members(chunk, alone=not others)
            for index, image in enumerate(chunk):
                values = self._native(predicted[index], _size(image)).cpu().numpy()
                mask = self._most_probable(predicted[index], _size(image)).cpu().numpy()
                views = [self._native(member[index], _size(image)).cpu().numpy() for member in members]
                views += [rows[index] for rows in elsewhere]
                calibrated = sharpen(values, temperature)
                apart = disagreement(views)
                out.append(Uncertain(mask, calibrated, entropy(calibrated), apart, expected_dice(calibrated, mask)))
        return out

    def masks(self, images: Sequence[UInt8Array]) -> list[UInt8Array]:
        """Return the most probable class of each pixel, uint8 (H, W), at native size; on a tie the lower index."""
        out: list[UInt8Array] = []
        for chunk in self._chunks(images):
            rows = zip(self._small(chunk), chunk, strict=True)
            out += [self._most_probable(row, _size(image)).cpu().numpy() for row, image in rows]
        return out

    def _chunks(self, images: Sequence[UInt8Array]) -> Iterator[list[UInt8Array]]:
        for start in range(0, len(images), self.batch_size):
            yield [self._fit_channels(image) for image in images[start : start + self.batch_size]]

    @torch.inference_mode()
    def _small(self, images: list[UInt8Array]) -> Tensor:
        """Map images to probabilities (B, K, h, w) at the network's size."""
        return self._predict(self._input(images))

    def _input(self, images: list[UInt8Array]) -> Tensor:
        size = self.config.data.size
        small = torch.from_numpy(np.stack([resize_image(image, size) for image in images])).to(self.device)
        return normalise(small, self.config.data.normalise).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def _members(self, images: list[UInt8Array], *, alone: bool) -> list[Tensor]:
        """Return each opinion within the model, (B, K, h, w); those of the flips too where there is one alone."""
        small = self._input(images)
        members = list(self.method.predict_members(small).float())
        if not self.tta and (len(members) > 1 or not alone):
            return members
        for axes in self.flips[1:]:
            members += self.method.predict_members(small.flip(axes)).float().flip(axes)
        return members

    def _predict(self, images: Tensor) -> Tensor:
        """Map normalised images to probabilities (B, K, h, w), averaged over flips if wanted."""
        flips = self.flips if self.tta else ((),)
        views = [self.method.predict(images.flip(axes)).float().flip(axes) for axes in flips]
        return views[0] if len(views) == 1 else torch.stack(views).mean(dim=0)

    @property
    def flips(self) -> tuple[tuple[int, ...], ...]:
        """Axes of the flips that training drew, the identity first: to others the network is a stranger."""
        augment = self.config.data.augment
        axes = [axis for axis, chance in ((3, augment.flip_horizontal), (2, augment.flip_vertical)) if chance > 0]
        return tuple(group for size in range(len(axes) + 1) for group in combinations(axes, size))

    def _native(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring (K, h, w) to (K, H, W)."""
        if self.config.evaluate.resize == "label":
            return F.interpolate(probability[None], size=size, mode="nearest-exact")[0]
        if self.config.evaluate.resize == "probability":
            return _stretched(probability[None], size)[0]
        return probabilities(_stretched(logits_from_probabilities(probability[None]), size), self.task.num_classes)[0]

    def _most_probable(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring (K, h, w) to class indices (H, W): as the largest of :meth:`_native`, without its exponentials."""
        if self.config.evaluate.resize == "probability":
            return _stretched(probability[None], size)[0].argmax(dim=0).to(torch.uint8)
        logits = _stretched(logits_from_probabilities(probability[None]), size)[0]
        return ((logits[0] > 0) if len(logits) == 1 else logits.argmax(dim=0)).to(torch.uint8)

    def _fit_channels(self, image: UInt8Array) -> UInt8Array:
        if image.ndim == 2:
            image = image[:, :, None]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
            raise DataError(f"expected a uint8 image (H, W), (H, W, 1) or (H, W, 3), got {image.dtype} {image.shape}")
        channels = self.task.in_channels
        if image.shape[2] < channels:
            self._warn_once("grey images for a model of colour images: each is copied to three channels")
            return np.repeat(image, channels, axis=2)
        if image.shape[2] > channels:
            self._warn_once("colour images for a model of grey images: their luma is used")
            return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
        return image

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warn(message)


def _size(image: UInt8Array) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _stretched(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder from elsewhere that holds a pickle: code that runs when some program loads it.

    Raises:
        DataError: naming the file.
    """
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as stream:
            start = stream.read(2)
        if path.suffix.lower() in _PICKLES or (
            start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
        ):
            raise DataError(
                f"{path}: a pickle, which runs code when it is loaded; nothing here needs it, so delete it or take the "
                "folder from somebody you trust"
            )


def _other_version(folder: RunFolder) -> str:
    """Say so where another version of gazeseg made the run: the likely reason why it cannot be read."""
    try:
        version = str(folder.environment().get("gazeseg", __version__))
    except (GazeSegError, OSError):
        return ""
    return "" if version == __version__ else f"; gazeseg {version} made this run, this is {__version__}"


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
