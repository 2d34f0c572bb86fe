"""What is there of a grid: which runs are finished, and whether they are still what the grid asks for."""

from __future__ import annotations

from gazeseg.ablate.grid import Run, flatten
from gazeseg.config import RunConfig, build, read_yaml
from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate.results import read_summary
from gazeseg.train import checkpoint
from gazeseg.train.run import MAY_CHANGE
from gazeseg.train.runfolder import RunFolder


def asked_config(run: Run) -> RunConfig:
    """Return the configuration that the grid asks for."""
    return build(RunConfig, run.cell.asked(run.seed), run.name)


def refuse_changes(run: Run) -> None:
    """Refuse a run that began with other keys than the grid asks for now.

    Keys that say where and how fast to compute may change, unless the cell itself sets them.

    Raises:
        ConfigError: naming the first key that differs.
        DataError: if the run folder holds something that no grid asked for.
    """
    if not run.asked_file.is_file():
        if run.folder.exists() and any(run.folder.iterdir()):
            raise DataError(
                f"{run.folder}: holds a run that this grid did not start ({run.asked_file.name} is missing beside it); "
                "move it away or name another folder with --out"
            )
        return
    before = _flat(build(RunConfig, read_yaml(run.asked_file), str(run.asked_file)))
    now = _flat(asked_config(run))
    for key in sorted(before.keys() | now.keys()):
        free = key in MAY_CHANGE and key not in run.cell.changes
        if not free and before.get(key) != now.get(key):
            raise ConfigError(
                f"{run.folder}: {key} was {before.get(key)} when this run of cell '{run.cell.name}' began, and the "
                f"grid asks for {now.get(key)} now; restore it, give the cell another name, or delete the folder "
                f"{run.folder.parent} to run it anew"
            )


def is_finished(run: Run, evaluation: str) -> bool:
    """Return whether the run was trained to its end and scored."""
    folder = RunFolder(run.folder)
    if not (folder.evaluation(evaluation) / "summary.json").is_file():
        return False
    try:
        last = checkpoint.find(folder, "last")
    except DataError:
        return False  # a broken pointer: the run itself says so when it is resumed
    return last is not None and int(last.name.removeprefix("step-")) >= asked_config(run).train.iterations


def mean_dice(run: Run, evaluation: str) -> float | None:
    """Return the mean Dice of a finished run, None where no case has one."""
    value: float | None = read_summary(RunFolder(run.folder).evaluation(evaluation))["mean"]["dice"]["mean"]
    return value


def progress_of(run: Run) -> tuple[int, float, float]:
    """Return iterations done, seconds of training, and iterations a second in the last window, from the run's log."""
    rows = [row for row in RunFolder(run.folder).metrics() if "it_per_s" in row]
    return (int(rows[-1]["step"]), float(rows[-1]["time_s"]), float(rows[-1]["it_per_s"])) if rows else (0, 0.0, 0.0)


def _flat(config: RunConfig) -> dict[str, object]:
    return flatten(config.model_dump(mode="json"))
