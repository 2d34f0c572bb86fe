"""``gazeseg masks``: from fixations to pseudo-masks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gazeseg.cli.options import Overrides, overrides


def masks(
    dataset: Path,
    /,
    *keys: Overrides,
    refine: Literal["none", "prompt"] = "none",
    out: Path | None = None,
    jobs: int | None = None,
    shards: int | None = None,
    executor: Literal["local", "slurm"] = "local",
    device: str = "auto",
) -> None:
    """Draw heatmaps, refine them with a dense CRF, cut nested levels and the ternary target.

    Example: `gazeseg masks DS --maps.sigma 70 --crf.mode fast --pseudo.thresholds 0.5,0.3`

    With `--refine prompt` gaze prompts a model such as LiteMedSAM, and what all its answers agree on becomes the mask;
    train on it with `--pseudo.source prompt`. Runs that have learnt from these masks give a second opinion with
    `--prompt.students RUN,RUN`; train on the result with `--data.pseudo DS/pseudo-prompt-students`.

    With `--gaze.control shuffled_cases` the training cases get each other's gaze. All these have folders of their own.

    A second run with the same keys recomputes nothing. With masks in the data set, `quality.csv` holds the score of
    each pseudo-mask against the truth.

    Args:
        dataset: The data set folder.
        *keys: Configuration keys of the sections gaze, maps, crf, pseudo, partial and prompt.
        refine: What follows the CRF: nothing, or a promptable model.
        out: Where the maps go; by default `DS/pseudo`, `DS/pseudo-prompt` or `DS/pseudo-prompt-students`, under a gaze
            control with `-CONTROL`.
        jobs: Parallel workers; by default one a core.
        shards: Share the cases out to so many submitit jobs (extra `slurm`), after an estimate of the cost; each asks
            for what `--slurm.KEY value` says.
        executor: What the shards run on: processes of this machine, or `slurm`.
        device: Where the promptable model computes; `auto` takes a GPU if there is one.
    """
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.pseudo import default_path, make_masks, resolve_config
    from gazeseg.errors import ConfigError
    from gazeseg.report.sheets import masks_sheet

    data = Dataset.load(dataset)
    given = overrides(keys, ("out", "jobs", "shards", "executor", "refine", "device"))
    if "slurm" in given and shards is None:
        raise ConfigError("--slurm.KEY says what a shard asks for; add --shards N, or leave it out")
    asked = given.pop("slurm", {"cpus": 1})
    config = resolve_config(data, {**given, "refine": refine})
    students = config.prompt.students
    target = out or default_path(data.root, config.gaze, prompted=refine == "prompt", students=bool(students))
    if refine == "prompt" and shards is not None:
        raise ConfigError("--shards does not go with --refine prompt, which resumes where it was; leave --shards out")
    if refine == "prompt":
        import torch

        from gazeseg.data.prompted import describe_prompted, make_prompted_masks
        from gazeseg.predict.opinion import Students
        from gazeseg.promptable import load_promptable

        torch.set_num_threads(1)  # the workers share the cores
        model = load_promptable(config.prompt.model, device=device)
        opinion = Students.load(students, config.gaze, device=device) if students else None
        folder = make_prompted_masks(data, target, config, model, opinion=opinion, jobs=jobs)
        print(f"{folder.describe()}\n{describe_prompted(folder)}")
    elif shards is not None:
        from gazeseg.ablate.grid import SlurmConfig
        from gazeseg.ablate.shards import make_masks_in_shards
        from gazeseg.config import build

        slurm = build(SlurmConfig, asked, "slurm")
        folder = make_masks_in_shards(data, target, config, shards=shards, cluster=executor, slurm=slurm)
        print(folder.describe())
    else:
        folder = make_masks(data, target, config, jobs=jobs)
        print(folder.describe())
    print(f"overlays: {masks_sheet(data, folder, folder.path / 'overlay.png')}")
