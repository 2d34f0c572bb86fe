"""``gazeseg evaluate``: scores of a run on a split, or of any masks against a truth."""

from __future__ import annotations

from pathlib import Path

from gazeseg.errors import ConfigError


def evaluate(
    run: Path | None = None,
    /,
    *,
    split: str = "test",
    predictions: Path | None = None,
    truth: Path | None = None,
    out: Path | None = None,
    legacy: bool = False,
    device: str = "cpu",
) -> None:
    """Score a run on a split, or a folder of masks against a folder of true masks.

    Example: `gazeseg evaluate runs/gms --split test`

    Example: `gazeseg evaluate --predictions masks --truth truth --out scores`

    Writes `cases.csv`, a row a case and class, and `summary.json`.

    Args:
        run: The run folder.
        split: `train`, `val` or `test`.
        predictions: Masks to score instead of a run's.
        truth: The true masks, matched by name.
        out: Where the two files go; for a run `RUN/evaluation/SPLIT`.
        legacy: Follow the empty-mask rules of published code; every output is labelled so.
        device: `cpu` or `cuda`.
    """
    from gazeseg.evaluate.evaluate import describe, evaluate_folders, evaluate_run

    if (run is None) == (predictions is None):
        raise ConfigError("give either a run folder, or --predictions DIR with --truth DIR")
    if run is not None:
        folder = evaluate_run(run, split, legacy=legacy, device=device)
    elif truth is None or predictions is None:
        raise ConfigError("--predictions needs --truth DIR, the folder of true masks")
    else:
        folder = evaluate_folders(predictions, truth, out or predictions.parent / "evaluation", legacy=legacy)
    print(describe(folder))
