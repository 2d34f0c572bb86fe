"""Where and how far a prediction is unsure: entropy, disagreement of the members of a model, and the Dice to expect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.train.runfolder import replace_file
from gazeseg.types import Float32Array, UInt8Array

FILE: Final = "calibration.json"
_TINY: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure a run may be; ``calibration.json`` in the run folder."""

    temperature: float  # logits are divided by it
    split: str  # fitted on the cases of this split
    cases: int
    weights: str  # checksum of the weights that it was fitted to
    nll: tuple[float, float]  # cross-entropy of a pixel before and after
    ece: tuple[float, float]  # expected calibration error of a pixel before and after

    @classmethod
    def load(cls, run: Path) -> Calibration | None:
        """Read the calibration of a run, None where it has none.

        Raises:
            DataError: if the file is broken.
        """
        path = run / FILE
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**values, "nll": tuple(values["nll"]), "ece": tuple(values["ece"])})
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
            raise DataError(f"{path}: not a calibration ({error}); run gazeseg calibrate again") from None

    def write(self, run: Path) -> Path:
        """Write the file and return it."""
        replace_file(run / FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())
        return run / FILE


@dataclass(frozen=True, slots=True)
class Uncertain:
    """What a model says of one image (H, W), and how sure it is."""

    mask: UInt8Array  # (H, W)
    probabilities: Float32Array  # (K, H, W), calibrated
    entropy: Float32Array  # (H, W) in 0..1
    disagreement: Float32Array  # (H, W) in 0..1; zero for a model of one member
    expected_dice: float


def sharpen(probabilities: Float32Array, temperature: float) -> Float32Array:
    """Return probabilities (K, ...) whose logits are divided by a temperature.

    Examples:
        >>> sharpen(np.array([[0.2], [0.8]], np.float32), 1e9).round(3).ravel().tolist()
        [0.5, 0.5]
    """
    powered = np.exp(np.log(np.maximum(probabilities, _TINY)) / temperature)
    return np.asarray(powered / powered.sum(axis=0), dtype=np.float32)


def entropy(probabilities: npt.NDArray[np.floating]) -> Float32Array:
    """Return the Shannon entropy of probabilities (K, H, W) as a share of the largest possible, (H, W) in 0..1."""
    safe = np.maximum(probabilities, _TINY)
    return np.asarray((-(probabilities * np.log(safe)).sum(axis=0) / np.log(len(safe))).clip(0, 1), np.float32)


def disagreement(members: Sequence[npt.NDArray[np.floating]]) -> Float32Array:
    """Return the Jensen-Shannon divergence of M maps of probabilities (K, H, W), (H, W) in 0..1.

    The entropy of their mean less the mean of their entropies: 0 where they say the same, however unsure.
    """
    stack = np.stack(members)
    apart = np.mean([entropy(member) for member in stack], axis=0)
    return np.asarray((entropy(stack.mean(axis=0)) - apart).clip(0, 1), np.float32)


def expected_dice(probabilities: npt.NDArray[np.floating], mask: UInt8Array) -> float:
    """Return the Dice to expect of a mask, mean over the foreground classes, if pixels are independent.

    With p the probability of a class and P its predicted pixels: 2 sum_P p / (|P| + sum p), the ratio of expectations.
    Where nothing is predicted, the Dice is 1 if nothing is there: the product of all 1 - p.

    Args:
        probabilities: (K, H, W), calibrated.
        mask: (H, W) predicted class indices.

    Examples:
        >>> p = np.array([[[0.0, 0.5, 1.0]], [[1.0, 0.5, 0.0]]])
        >>> round(expected_dice(p, np.array([[1, 1, 0]], np.uint8)), 3)
        0.857
    """
    values = []
    for index in range(1, len(probabilities)):
        p, predicted = probabilities[index].astype(np.float64), mask == index
        count = np.count_nonzero(predicted)
        if count:
            values.append(2 * p[predicted].sum() / (count + p.sum()))
        else:
            values.append(np.exp(np.log1p(-np.minimum(p, 1 - _TINY)).sum()))
    return float(np.mean(values))
