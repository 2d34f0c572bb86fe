"""``gazeseg ledger``: every result beside the published figures."""

from __future__ import annotations

from pathlib import Path


def ledger(*folders: Path, out: Path = Path("leaderboard"), split: str = "test") -> None:
    """Gather result files and evaluated runs into one leader-board, beside the published figures.

    Example: `gazeseg ledger runs --out leaderboard`

    Writes `leaderboard.md`, `leaderboard.html` and, for every row of ours, a result file. Recorded gaze, simulated gaze
    and controls stand in tables of their own.

    Args:
        folders: Where to look, all the way down; by default `runs`.
        out: The folder of the leader-board.
        split: The evaluated split.
    """
    from gazeseg.reproduce.ledger import gather
    from gazeseg.reproduce.page import write_ledger

    found = gather(list(folders) or [Path("runs")], split)
    write_ledger(found, out)
    print(found.to_text())
    print(f"{out / 'leaderboard.html'}")
