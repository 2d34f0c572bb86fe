"""``gazeseg train``: one run."""

from __future__ import annotations

from pathlib import Path

from gazeseg.cli.options import Overrides, overrides


def train(
    *keys: Overrides,
    out: Path,
    method: str | None = None,
    data: Path | None = None,
    config: Path | None = None,
    resume: bool = False,
) -> None:
    """Train one method on one data set; any configuration key may follow as `--section.key value`.

    Example: `gazeseg train --method gazemedseg --data DS --out runs/gms --train.iterations 3000 --data.size 96,96`

    The run folder holds the resolved configuration: `gazeseg train --config RUN/config.yaml --out NEW` repeats the run.

    Args:
        *keys: Configuration keys.
        out: The run folder to make.
        method: A name that `gazeseg methods` lists.
        data: The data set folder.
        config: A YAML file with the sections method, data, network, gaze, pseudo, partial, text, train,
            evaluate.
        resume: Go on from the last checkpoint of the run folder.
    """
    from gazeseg.config import RunConfig, build, merge, read_yaml
    from gazeseg.console import say
    from gazeseg.errors import ConfigError
    from gazeseg.train.runfolder import RunFolder

    if config is None and resume and RunFolder(out).config_file.is_file():
        config = RunFolder(out).config_file
    values = merge(read_yaml(config) if config else {}, overrides(keys, ("out", "method", "data", "config", "resume")))
    if method is not None:
        values = merge(values, {"method": {"name": method}})
    if data is not None:
        values = merge(values, {"data": {"path": str(data)}})
    if "method" not in values or "name" not in values["method"]:
        raise ConfigError("no method given; name one with --method NAME (gazeseg methods lists them)")
    where = str(config) if config else "configuration"

    from gazeseg.train.run import train as run

    folder = run(build(RunConfig, values, where), out, resume=resume)
    say(f"run {folder.path}; next: {_next(folder.path, folder.config().data.path)}")


def _next(run: Path, data: Path | None) -> str:
    """Return the command that shows what was learnt: on test cases, else on validation cases, else on images."""
    from gazeseg.data.dataset import Dataset

    splits = set() if data is None else {case.split for case in Dataset.load(data).cases if case.mask is not None}
    for split in ("test", "val"):
        if split in splits:
            return f"gazeseg evaluate {run} --split {split}"
    return f"gazeseg predict {run} IMAGES --out DIR"
