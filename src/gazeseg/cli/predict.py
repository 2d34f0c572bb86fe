"""``gazeseg predict``: masks for images, NIfTI files and DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gazeseg.errors import ConfigError, DataError


def predict(
    run: Path,
    images: Path,
    /,
    *,
    out: Path,
    format: Literal["png", "nifti", "dicom-seg"] | None = None,
    tta: bool = False,
    uncertainty: bool = False,
    ensemble: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = (),
    probabilities: bool = False,
    checkpoint: str | None = None,
    device: str = "cpu",
) -> None:
    """Segment images with a trained run: masks at native size, as PNG, NIfTI or DICOM SEG.

    Example: `gazeseg predict runs/gms photos --out masks`

    What is done already in OUT is not done again. A file that cannot be read is reported, and the rest goes on.

    Args:
        run: The run folder.
        images: A folder (searched through) or one file: PNG, JPEG, TIFF, BMP, NIfTI, DICOM.
        out: Where masks go; the folder structure of IMAGES is kept.
        format: By default that of the source: PNG for images, NIfTI for NIfTI, DICOM SEG for DICOM.
        tta: Average over the flips that training drew; as many times slower as there are flips.
        uncertainty: Also write maps of entropy and disagreement (levels, student and teacher, flips), and `review.csv`:
            every image with the Dice to expect, the lowest first.
        ensemble: More runs whose disagreement counts, e.g. other seeds; with `--uncertainty`.
        probabilities: Also write each foreground class's probability, as 16-bit PNG or NIfTI.
        checkpoint: `last` or `best`; by default what the run's `train.select` says.
        device: `cpu` or `cuda`.
    """
    from gazeseg.console import say, warn
    from gazeseg.predict.folder import Doubt, predict_folder
    from gazeseg.predict.predictor import Predictor

    predictor = Predictor.load(run, checkpoint=checkpoint, device=device, tta=tta)
    doubt = None
    if uncertainty:
        from gazeseg.evaluate.uncertainty import calibration_of

        calibration = calibration_of(predictor, run)
        others = tuple(Predictor.load(path, device=device) for path in ensemble)
        doubt = Doubt(1.0 if calibration is None else calibration.temperature, others)
    elif ensemble:
        raise ConfigError("--ensemble says where runs disagree; add --uncertainty")
    failures = predict_folder(predictor, images, out, probabilities=probabilities, format=format, uncertainty=doubt)
    for path, reason in failures.items():
        warn(f"{path}: {reason}")
    say(f"masks in {out}" + (f", review list in {out / 'review.csv'}" if uncertainty else ""))
    if failures:
        raise DataError(f"{len(failures)} of the sources could not be segmented (listed above); the others are done")
