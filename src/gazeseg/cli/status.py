"""``gazeseg status``: how runs are doing."""

from __future__ import annotations

from pathlib import Path

from gazeseg.errors import ConfigError


def status(*runs: Path) -> None:
    """Show how runs are doing: rate, ETA, memory, last validation; warn of collapse, divergence or a starving loader.

    Example: `gazeseg status runs/gms`

    It reads the run folder alone, so the run may be going on anywhere.

    Args:
        runs: Run folders.
    """
    from gazeseg.train.status import read_status

    if not runs:
        raise ConfigError("no run given; name run folders")
    for run in runs:
        print(read_status(run).to_text())
