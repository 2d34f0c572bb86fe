"""``gazeseg masks``: from fixations to pseudo-masks."""

from __future__ import annotations

from pathlib import Path

from gazeseg.cli.options import Overrides, overrides


def masks(dataset: Path, /, *keys: Overrides, out: Path | None = None, jobs: int | None = None) -> None:
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
    """
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.pseudo import default_path, make_masks, resolve_config
    from gazeseg.report.sheets import masks_sheet

    data = Dataset.load(dataset)
    config = resolve_config(data, overrides(keys, ("out", "jobs")))
    folder = make_masks(data, out or default_path(data.root, config.gaze), config, jobs=jobs)
    print(folder.describe())
    print(f"overlays: {masks_sheet(data, folder, folder.path / 'overlay.png')}")
