"""A trained run as a typed function of one image: ``gazeseg.load(run)(array)``."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazeseg.data.images import stretch
from gazeseg.errors import DataError
from gazeseg.predict.predictor import Predictor
from gazeseg.types import Float32Array, UInt8Array


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a model says of one image (H, W)."""

    mask: UInt8Array  # (H, W) class indices: the most probable class
    probabilities: Float32Array  # (K, H, W), summing to 1 over the classes
    classes: tuple[str, ...]  # K names, background first


class Segmenter:
    """A loaded model. Calls from several threads are safe: they take turns in the network.

    Args:
        predictor: The trained run.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._turn = threading.Lock()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background first."""
        return self.predictor.task.classes

    def __call__(self, image: npt.NDArray[Any]) -> Segmentation:
        """Segment one image.

        Args:
            image: (H, W), (H, W, 1) or (H, W, 3), row 0 on top, RGB. uint8 is taken as it is; grey of any other real
                type is scaled from its own minimum and maximum to 0..255, as files are.

        Raises:
            DataError: if the array is no such image.
        """
        pixels = np.asarray(image)
        if (
            pixels.dtype != np.uint8
            and pixels.dtype.kind in "iufb"
            and pixels.size
            and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1))
        ):
            pixels = stretch(pixels.reshape(pixels.shape[:2]).astype(np.float64))
        if pixels.dtype != np.uint8:
            raise DataError(f"expected uint8 RGB (H, W, 3) or grey (H, W), got {pixels.dtype} {pixels.shape}")
        with self._turn:
            [values] = self.predictor.probabilities([pixels])
        return Segmentation(values.argmax(axis=0).astype(np.uint8), values, self.classes)
