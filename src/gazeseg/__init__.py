"""gazeseg: turn where an expert looks into a segmentation model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is loaded where it is needed
    from gazeseg.predict.segmenter import Segmenter

__all__ = ["load"]
__version__ = "0.1.0"


def load(run: str | Path, *, checkpoint: str | None = None, device: str = "cpu", tta: bool = False) -> Segmenter:
    """Load a trained run as a function of an image: ``gazeseg.load("runs/first")(array).mask``.

    Args:
        run: The run folder.
        checkpoint: ``last`` or ``best``; ``None``: what the run's ``train.select`` says.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        tta: Average over the flips that training drew.

    Raises:
        DataError: if the folder is no run, or its checkpoint is missing or corrupt.
        ConfigError: for an unknown checkpoint name or device.
    """
    from gazeseg.predict.predictor import Predictor
    from gazeseg.predict.segmenter import Segmenter

    return Segmenter(Predictor.load(Path(run), checkpoint=checkpoint, device=device, tta=tta))
