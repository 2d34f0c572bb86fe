"""``gazeseg ablate``: a declared grid of runs over seeds, and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gazeseg.cli.options import Overrides, overrides
from gazeseg.errors import GazeSegError


def ablate(
    grid: Path,
    /,
    *keys: Overrides,
    out: Path,
    data: Path | None = None,
    evaluate_data: Path | None = None,
    seeds: str | None = None,
    only: str | None = None,
    jobs: int | None = None,
    executor: Literal["local", "slurm"] = "local",
    table_only: bool = False,
) -> None:
    """Train and score every cell of a grid over seeds; test each against the reference in one table.

    Example: `gazeseg ablate configs/ablations/fgi.yaml --data DS --out runs/fgi --jobs 2`

    The same command goes on after an interruption: a finished run is never run again, a failed one is tried again. Each
    run is an ordinary run folder `OUT/CELL/seedK` with its log beside it; the table is `OUT/table.md` and `.json`.

    Args:
        grid: A YAML file: base, cells, reference, seeds, split.
        *keys: Configuration keys that change the base of every cell, and `--slurm.KEY value`.
        out: The folder of the results.
        data: The data set to train on.
        evaluate_data: The data set to score on, where the one to train on has no masks.
        seeds: In place of the grid's, as `0,1,2`.
        only: Cells to run, as `base,no_text`; the table shows all that are there.
        jobs: Runs at a time; by default one for two cores, and one where there is a GPU.
        executor: Processes of this machine, or `slurm` jobs (extra `slurm`).
        table_only: Write the table of what is there; run nothing.
    """
    from gazeseg.ablate.grid import load_grid
    from gazeseg.config import merge

    options = ("out", "data", "evaluate-data", "seeds", "only", "jobs", "executor", "table-only")
    over = overrides(keys, options)
    if data is not None:
        over = merge(over, {"data": {"path": str(data)}})
    declared = load_grid(grid, over, _numbers(seeds) if seeds is not None else None)

    from gazeseg.ablate.run import Outcome, run_grid
    from gazeseg.ablate.table import make_table

    outcome = Outcome(0, 0)
    if not table_only:
        cells = [name.strip() for name in only.split(",")] if only else []
        outcome = run_grid(declared, out, data=evaluate_data, jobs=jobs, executor=executor, only=cells)
    if len(outcome.failures) == outcome.ran > 0 and not outcome.before:
        raise GazeSegError(_failed(outcome.failures, outcome.ran))
    table = make_table(declared, out, outcome.failures)
    table.write(out)
    print(table.to_text())
    if outcome.failures:
        raise GazeSegError(_failed(outcome.failures, outcome.ran))


def _numbers(text: str) -> list[int]:
    from gazeseg.errors import ConfigError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--seeds takes whole numbers with commas between them, such as 0,1,2; got '{text}'"
        ) from None


def _failed(failures: dict[str, str], ran: int) -> str:
    some = "; ".join(f"{name}: {error}" for name, error in list(failures.items())[:3])
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    return f"{len(failures)} of {ran} runs failed ({some}{more}); mend the cause and run the same command again"
