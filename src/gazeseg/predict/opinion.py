"""What students think of an image: a second opinion beside gaze when masks are made (``prompt.students``).

A student has seen all cases and the promptable model one prompt at a time, so the student is mostly right where a box
from gaze has misled the model. Runs that saw true masks, or other gaze, are no such opinion and are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gazeseg.config import GazeConfig
from gazeseg.errors import ConfigError
from gazeseg.gaze.control import map_control
from gazeseg.predict.predictor import Predictor
from gazeseg.predict.segmenter import Segmenter
from gazeseg.types import Float32Array, UInt8Array


class Students:
    """The mean foreground of runs.

    Args:
        predictors: At least one.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        weights = json.dumps([predictor.identity for predictor in predictors])
        self.identity = hashlib.sha256(weights.encode()).hexdigest()[:16]
        self._segmenters = [Segmenter(predictor) for predictor in predictors]

    @classmethod
    def load(cls, runs: Sequence[Path], gaze: GazeConfig, *, device: str = "cpu") -> Students:
        """Load runs by the checkpoint that each chose; each averages over the flips that it was trained with.

        Args:
            runs: Run folders, at least one.
            gaze: The control of the masks that are to be made; the runs must have learnt under the same.
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.

        Raises:
            DataError: if a folder is no run.
            ConfigError: if a run saw true masks or the gaze of another control.
        """
        predictors = [Predictor.load(run, device=device, tta=True) for run in runs]
        for run, predictor in zip(runs, predictors, strict=True):
            if predictor.task.mask_supervised:
                raise ConfigError(
                    f"prompt.students: {run} learnt from true masks; name runs of a method that learns from gaze alone"
                )
            theirs, ours = map_control(predictor.config.gaze), map_control(gaze)
            if theirs != ours:
                raise ConfigError(
                    f"prompt.students: {run} learnt under gaze.control {theirs[0]} (seed {theirs[1]}), these masks are "
                    f"of {ours[0]} (seed {ours[1]}); name runs of the same control"
                )
        return cls(predictors)

    def __call__(self, image: UInt8Array) -> Float32Array:
        """Return (H, W) the mean probability of any class but the background; safe from several threads."""
        foreground = [1 - segmenter(image).probabilities[0] for segmenter in self._segmenters]
        mean: Float32Array = np.mean(foreground, axis=0, dtype=np.float32)
        return mean
