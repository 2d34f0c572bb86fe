"""``gazeseg evaluate``: scores of a run on a split, or of any masks against a truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gazeseg.errors import ConfigError


def evaluate(
    run: Path | None = None,
    /,
    *,
    split: str = "test",
    data: Path | None = None,
    checkpoint: Literal["last", "best"] | None = None,
    by: Literal["case", "volume"] | None = None,
    slice_spacing_mm: float | None = None,
    predictions: Path | None = None,
    truth: Path | None = None,
    out: Path | None = None,
    classes: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ("background", "foreground"),
    spacing_mm: tuple[float, float] | None = None,
    legacy: bool = False,
    device: str = "cpu",
) -> None:
    """Score a run on a split, or a folder of masks against a folder of true masks.

    Example: `gazeseg evaluate runs/gms --split test`

    Example: `gazeseg evaluate --predictions masks --truth truth --out scores`

    Writes `cases.csv`, a row a case and class, and `summary.json`.

    Args:
        run: The run folder; results go to `RUN/evaluation/SPLIT`.
        split: `train`, `val` or `test`; `val` of a data set without such a split is the part of `train` that the run
            held out.
        data: The data set folder, where it is no longer the one the run was trained on.
        checkpoint: `last` or `best`; by default what the run's `train.select` says.
        by: `volume` stacks the slices of a volume and scores it as one case; by default what the run's `evaluate.by`
            says.
        slice_spacing_mm: Distance between the slices of a volume, where the data set does not give it.
        predictions: Masks to score instead of a run's.
        truth: The true masks, matched by name.
        out: Where the scores of `--predictions` go.
        classes: Names of the classes of `--predictions`, background first.
        spacing_mm: Pixel spacing (y, x) of `--predictions`; without it distances are in pixels.
        legacy: Follow the empty-mask rules of published code; results are labelled so and kept in `SPLIT-legacy`.
        device: `cpu` or `cuda`.
    """
    from gazeseg.evaluate.evaluate import describe, evaluate_folders, evaluate_run

    if (run is None) == (predictions is None):
        raise ConfigError("give either a run folder, or --predictions DIR with --truth DIR")
    if run is not None:
        folder = evaluate_run(
            run,
            split,
            legacy=legacy,
            device=device,
            data=data,
            checkpoint=checkpoint,
            by=by,
            slice_spacing_mm=slice_spacing_mm,
        )
    elif truth is None or predictions is None:
        raise ConfigError("--predictions needs --truth DIR, the folder of true masks")
    else:
        folder = evaluate_folders(
            predictions,
            truth,
            out or predictions.parent / f"{predictions.name}-evaluation",
            legacy=legacy,
            classes=classes,
            spacing_mm=spacing_mm,
        )
    print(describe(folder))
