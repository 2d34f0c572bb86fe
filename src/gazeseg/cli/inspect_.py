"""``gazeseg inspect``: one reading, as a figure and as a replay."""

from __future__ import annotations

from pathlib import Path


def inspect(dataset: Path, case: str, /, *, out: Path | None = None, gif: bool = False) -> None:
    """Show how a case was read: fixations in order and by duration, saccades, time axis, growing heatmap.

    Example: `gazeseg inspect DS cju16ach3m1da0993r1dq3sn2 --out reading`

    Writes `CASE.png`, a figure, and `CASE.html`, a page that replays the reading in any browser and needs no network.

    Args:
        dataset: The data set folder.
        case: The case id.
        out: Folder for the files; by default `DS/readings`.
        gif: Also write `CASE.gif`, for slides.
    """
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.images import safe_name
    from gazeseg.report.reading import describe, load_reading, require_gaze
    from gazeseg.report.replay import replay_gif, replay_html
    from gazeseg.report.scanpath import scanpath_figure

    data = Dataset.load(dataset)
    reading = load_reading(data, case)
    require_gaze(reading, data.root)
    stem = (out or data.root / "readings") / safe_name(case)
    print(f"{case}: {describe(reading.figures)}")
    print(f"figure: {scanpath_figure(reading, stem.with_name(stem.name + '.png'))}")
    print(f"replay: {replay_html(reading, stem.with_name(stem.name + '.html'))}")
    if gif:
        print(f"animation: {replay_gif(reading, stem.with_name(stem.name + '.gif'))}")
