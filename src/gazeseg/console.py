"""What a person sees while work goes on: one progress bar, notes and warnings, all on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True, soft_wrap=True, highlight=False)
stdout = Console(soft_wrap=False, highlight=False)


def say(message: str) -> None:
    """Print a plain line."""
    console.print(message, markup=False)


def warn(message: str) -> None:
    """Print a line that asks for attention."""
    console.print(f"warning: {message}", markup=False, style="yellow")


def make_progress() -> Progress:
    """Return the progress display that all verbs share; use it as a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield ``items`` under a progress bar."""
    with make_progress() as progress:
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)
