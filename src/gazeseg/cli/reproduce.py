"""``gazeseg reproduce``: a named recipe, from data to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gazeseg.cli.options import Overrides, overrides
from gazeseg.errors import ConfigError, GazeSegError


def reproduce(
    recipe: str | None = None,
    /,
    *keys: Overrides,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    data: Path | None = None,
    evaluate_data: Path | None = None,
    seeds: str = "3",
    scale: Literal["cpu-small", "paper"] = "cpu-small",
    out: Path | None = None,
    jobs: int | None = None,
    executor: Literal["local", "slurm"] = "local",
    table_only: bool = False,
) -> None:
    """Train and score a named recipe over seeds and hold it against its published figure.

    Example: `gazeseg reproduce kvasir/gazemedseg --data DS --seeds 3 --scale cpu-small`

    Leaves run folders, `table.md` and a result file in OUT; the same command goes on after an interruption. The verdict
    is matches, above, below, or not comparable and why.

    Args:
        recipe: A name that `--list` shows.
        *keys: Configuration keys over those of the recipe; the verdict then says so.
        list_: Show the recipes with their data sets and published figures.
        data: The data set to train on.
        evaluate_data: The data set to score on, where the one to train on has no masks.
        seeds: How many, or which, as `0,1,2`.
        scale: The budget: `cpu-small` takes minutes and repeats no paper; `paper` is the published recipe, for a GPU.
        out: The folder of the results; by default `runs/RECIPE-SCALE`.
        jobs: Runs at a time.
        executor: Processes of this machine, or `slurm` jobs (extra `slurm`).
        table_only: Judge what is there; run nothing.
    """
    from gazeseg.reproduce.recipe import find_recipe, recipes
    from gazeseg.reproduce.run import listing, plan
    from gazeseg.reproduce.run import reproduce as run

    options = ("list", "data", "evaluate-data", "seeds", "scale", "out", "jobs", "executor", "table-only")
    if list_:
        print(listing(recipes()))
        return
    if recipe is None:
        raise ConfigError("no recipe given; gazeseg reproduce --list shows them")
    chosen = find_recipe(recipe)
    target = out or Path("runs") / f"{recipe.replace('/', '-')}-{scale}"
    grids = plan(chosen, scale, _seeds(seeds), data, overrides(keys, options))
    found = run(
        chosen,
        scale,
        grids,
        target,
        evaluate_data=evaluate_data,
        jobs=jobs,
        executor=executor,
        train=not table_only,
    )
    found.write(target)
    print(found.to_text())
    if found.failures:
        some = "; ".join(f"{name}: {error}" for name, error in found.failures.items())
        raise GazeSegError(f"a run failed ({some}); mend the cause and give the same command again")


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and "," not in text:
        numbers = list(range(numbers[0]))
    if not numbers:
        raise ConfigError(f"--seeds takes a count such as 3, or seeds such as 0,1,2; got '{text}'")
    return numbers
