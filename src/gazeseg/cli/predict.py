"""``gazeseg predict``: masks for a folder of images."""

from __future__ import annotations

from pathlib import Path

from gazeseg.errors import DataError


def predict(
    run: Path,
    images: Path,
    /,
    *,
    out: Path,
    probabilities: bool = False,
    checkpoint: str | None = None,
    device: str = "cpu",
) -> None:
    """Segment images with a trained run: class-index masks as PNG at native size.

    Example: `gazeseg predict runs/gms photos --out masks`

    Args:
        run: The run folder.
        images: A folder (searched through) or one file.
        out: Where masks go; the folder structure of IMAGES is kept.
        probabilities: Also write each foreground class's probability as 16-bit PNG.
        checkpoint: `last` or `best`; by default what the run's `train.select` says.
        device: `cpu` or `cuda`.
    """
    from gazeseg.console import say, warn
    from gazeseg.predict.folder import predict_folder
    from gazeseg.predict.predictor import Predictor

    predictor = Predictor.load(run, checkpoint=checkpoint, device=device)
    failures = predict_folder(predictor, images, out, probabilities=probabilities)
    for path, reason in failures.items():
        warn(f"{path}: {reason}")
    say(f"masks in {out}")
    if failures:
        raise DataError(f"{len(failures)} of the images could not be read (listed above); the others are done")
