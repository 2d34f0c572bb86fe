"""``gazeseg calibrate``: how sure a run may be, and whether it knows when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def calibrate(
    run: Path,
    /,
    *,
    split: Literal["val", "train"] = "val",
    measure: str | None = None,
    data: Path | None = None,
    checkpoint: Literal["last", "best"] | None = None,
    device: str = "cpu",
) -> None:
    """Fit a temperature to cases with masks, and measure on an evaluated split whether the case score finds failures.

    Example: `gazeseg calibrate runs/gms --measure test`

    Writes `RUN/calibration.json`, and with `--measure` `uncertainty.json` and `review.csv` beside `cases.csv`. From
    then on `gazeseg predict --uncertainty` is calibrated, and `gazeseg report` shows what was measured.

    Args:
        run: The run folder.
        split: Where to fit: cases that were held out, or `train`, where the network looks surer than it is.
        measure: Split to measure on, evaluated before.
        data: The data set folder, where it is no longer the one the run was trained on.
        checkpoint: `last` or `best`; by default what the run's `train.select` says.
        device: `cpu` or `cuda`.
    """
    from gazeseg.evaluate.uncertainty import calibrate_run, measure_run

    found = calibrate_run(run, split=split, data=data, checkpoint=checkpoint, device=device)
    print(
        f"temperature {found.temperature:.2f} from {found.cases} cases of {split}: pixel ECE {found.ece[0]:.4f} -> "
        f"{found.ece[1]:.4f}, cross-entropy {found.nll[0]:.4f} -> {found.nll[1]:.4f}"
    )
    if measure is not None:
        result = measure_run(run, measure, data=data, checkpoint=checkpoint, device=device)
        print(f"{measure}, {result['cases']} cases: ECE of pixels {result['pixel']['ece']:.4f}, of the expected Dice "
              f"{result['case']['ece']:.4f}")  # fmt: skip
        for name, row in result["scores"].items():
            print(
                f"  {name}: area under risk-coverage {row['aurc']:.4f} (best possible {row['aurc_best']:.4f}, "
                f"knowing nothing {row['aurc_random']:.4f}), rank correlation with Dice {row['spearman']:.2f}"
            )
