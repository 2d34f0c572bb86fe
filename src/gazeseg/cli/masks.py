"""``gazeseg masks``: from fixations to pseudo-masks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gazeseg.cli.options import Overrides, overrides


def masks(
    dataset: Path,
    /,
    *keys: Overrides,
    out: Path | None = None,
    jobs: int | None = None,
    shards: int | None = None,
    executor: Literal["local", "slurm"] = "local",
) -> None:
    """Draw heatmaps, refine them with a dense CRF, cut nested levels and the ternary target.

    Example: `gazeseg masks DS --maps.sigma 70 --crf.mode fast --pseudo.thresholds 0.5,0.3`

    With `--gaze.control shuffled_cases` the training cases get each other's gaze, in a folder of its own.

    A second run with the same keys recomputes nothing. With masks in the data set, `quality.csv` holds the score of
    each pseudo-mask against the truth.

    Args:
        dataset: The data set folder.
        *keys: Configuration keys of the sections gaze, maps, crf, pseudo and partial.
        out: Where the maps go; by default `DS/pseudo`, under a gaze control `DS/pseudo-CONTROL`.
        jobs: Parallel workers; by default one a core.
        shards: Share the cases out to so many submitit jobs (extra `slurm`), after an estimate of the cost; each asks
            for what `--slurm.KEY value` says.
        executor: What the shards run on: processes of this machine, or `slurm`.
    """
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.pseudo import default_path, make_masks, resolve_config
    from gazeseg.report.sheets import masks_sheet

    data = Dataset.load(dataset)
    given = overrides(keys, ("out", "jobs", "shards", "executor"))
    asked = given.pop("slurm", {"cpus": 1})
    config = resolve_config(data, given)
    target = out or default_path(data.root, config.gaze)
    if shards is not None:
        from gazeseg.ablate.grid import SlurmConfig
        from gazeseg.ablate.shards import make_masks_in_shards
        from gazeseg.config import build

        slurm = build(SlurmConfig, asked, "slurm")
        folder = make_masks_in_shards(data, target, config, shards=shards, cluster=executor, slurm=slurm)
    else:
        folder = make_masks(data, target, config, jobs=jobs)
    print(folder.describe())
    print(f"overlays: {masks_sheet(data, folder, folder.path / 'overlay.png')}")
