"""``gazeseg report``: one page that tells what was done and found."""

from __future__ import annotations

from pathlib import Path

from gazeseg.errors import ConfigError


def report(*runs: Path, out: Path = Path("report.html"), split: str | None = None) -> None:
    """Write one self-contained HTML page about the runs; it opens with no network.

    Example: `gazeseg report runs/full_s0 runs/gms_s0 --out report.html`

    A method that can say more than its prediction (attention, teacher and student ...) is explained for its best, its
    median and its worst case.

    Args:
        runs: Run folders.
        out: The page.
        split: The evaluated split; by default test, or val where no run is evaluated on test.
    """
    from gazeseg.predict.explain import Explainer
    from gazeseg.report.report import write_report
    from gazeseg.train.runfolder import RunFolder

    if not runs:
        raise ConfigError("no run given; name the run folders to report on")
    if split is None:
        scored = {name for name in ("test", "val") for run in runs if RunFolder(run).evaluation(name).is_dir()}
        split = "val" if scored == {"val"} else "test"
    print(write_report(list(runs), out, split=split, explain=Explainer()))
