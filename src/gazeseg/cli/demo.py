"""``gazeseg demo``: the whole way, on generated images, in a few minutes on a CPU."""

from __future__ import annotations

from pathlib import Path


def demo(*, out: Path = Path("demo"), data_only: bool = False) -> None:
    """Watch gaze become heatmaps, pseudo-masks, a trained model and a report; no data and no network needed.

    Example: `gazeseg demo --out demo`

    Images and gaze are generated (simulated gaze uses the true masks), so the figures say that the way works, not how
    well it does on patients.

    Args:
        out: Folder for the data set, the runs and report.html; it must be new or empty.
        data_only: Stop after the data set `OUT/data`: images, masks and simulated gaze to try the other verbs on.
    """
    from gazeseg.cli.check import check
    from gazeseg.cli.masks import masks
    from gazeseg.config import RunConfig, build, merge
    from gazeseg.console import say
    from gazeseg.data.synthetic import make_demo_dataset
    from gazeseg.errors import DataError
    from gazeseg.evaluate.compare import compare_runs
    from gazeseg.evaluate.evaluate import evaluate_run
    from gazeseg.report.report import write_report
    from gazeseg.train.run import train

    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: not empty; remove it or name another folder with --out DIR")
    data = out / "data"
    say("generating images and simulated gaze" if data_only else "1/5 generating images and simulated gaze")
    make_demo_dataset(data)
    if data_only:
        print(f"generated images and their simulated gaze (uses ground truth) in {data}; next: gazeseg check {data}")
        return
    say("2/5 check")
    check(data)
    say("3/5 masks")
    masks(data)
    runs = []
    for step, method in (("4/5", "gazemedseg"), ("5/5", "full")):
        say(f"{step} training {method}")
        values = merge(DEMO, {"method": {"name": method}, "data": {"path": str(data)}})
        folder = train(build(RunConfig, values, "demo"), out / "runs" / method)
        evaluate_run(folder.path, "test")
        runs.append(folder.path)
    table = compare_runs(runs, "test")
    page = write_report(runs, out / "report.html")
    print(table.to_text())
    print(page.resolve())
    found = {row.method: row.cells["dice"].mean or 0.0 for row in table.rows}
    print(
        f"Trained on simulated gaze alone, gazemedseg reaches Dice {found['gazemedseg']:.3f} on {table.cases} "
        f"generated test images; trained on true masks, the same network reaches {found['full']:.3f}."
    )


DEMO = {
    "data": {
        "size": [64, 64],
        "augment": {"rotate_deg": 30, "scale": 0.2, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    },
    "network": {"name": "small_unet"},
    "train": {
        "iterations": 300,
        "optimizer": "adamw",
        "lr": 2e-3,
        "schedule": "one_cycle",
        "weight_decay": 1e-2,
        "checkpoint_every": 150,
    },
}
"""A schedule that ends in a minute on two cores and still learns."""
