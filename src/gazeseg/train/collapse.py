"""Notice early that a run has collapsed to background, while there is still time to start it anew.

A method that logs ``foreground`` and ``foreground_target``, the shares of the labelled pixels that are predicted as
foreground and that should be, is watched; one that does not is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

SHARE: Final = 0.02  # of the target's foreground: less counts as none
STEPS: Final = 300  # so many iterations in a row without foreground: a healthy run starts with some hundred


class CollapseWatch:
    """Reads the rows of ``metrics.jsonl`` as they are written and speaks once.

    What it knows comes from the rows alone, so a resumed run, given the rows so far, goes on as if never interrupted.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._foreground_at = 0  # the last step at which foreground was predicted, or none was asked for
        self._spoken = False
        for row in rows:
            self.see(row)

    def see(self, row: Mapping[str, Any]) -> str | None:
        """Take note of one row; return the warning when it is due."""
        predicted, wanted = row.get("log/foreground"), row.get("log/foreground_target")
        if predicted is None or wanted is None:
            return None
        if predicted > SHARE * wanted or wanted == 0:
            self._foreground_at = row["step"]
        if self._spoken or row["step"] - self._foreground_at < STEPS:
            return None
        self._spoken = True
        return (
            f"step {row['step']}: no foreground predicted for {row['step'] - self._foreground_at} iterations, though "
            f"{wanted:.1%} of the target is: the run has collapsed to background; stop it and lower train.lr, or use "
            "--train.optimizer adamw or --train.clip_norm 1"
        )
