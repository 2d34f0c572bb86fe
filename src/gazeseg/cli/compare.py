"""``gazeseg compare``: runs side by side on the same cases."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gazeseg.errors import ConfigError


def compare(
    *runs: Path, split: str = "test", pairs: Literal["first", "all"] = "first", out: Path | None = None
) -> None:
    """Compare evaluated runs: mean, std over seeds, bootstrap CI, paired Wilcoxon with Holm on the same cases.

    Example: `gazeseg compare runs/full_s0 runs/full_s1 runs/gms_s0 runs/gms_s1 --split test`

    Args:
        runs: Run folders; runs that differ in the seed alone count as one row.
        split: The evaluated split.
        pairs: Test every row against the first, or all pairs.
        out: Also write the table as JSON here.
    """
    from gazeseg.data.images import write_bytes
    from gazeseg.evaluate.compare import compare_runs

    if not runs:
        raise ConfigError("no run given; name the run folders to compare")
    table = compare_runs(list(runs), split, pairs=pairs)
    print(table.to_text())
    if out is not None:
        write_bytes(out, (table.to_json() + "\n").encode())
