"""The leader-board as files: Markdown, and one self-contained HTML page in the style of the report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gazeseg import __version__
from gazeseg.errors import DataError
from gazeseg.report.text import plural
from gazeseg.reproduce.ledger import KINDS, NOTES, PUBLISHED, Ledger
from gazeseg.reproduce.result import SUFFIX, Result
from gazeseg.train.runfolder import replace_file

LOW, HIGH = 0.5, 0.95  # range of the small bars; Dice below it is drawn at the left edge


def write_ledger(ledger: Ledger, out: Path) -> None:
    """Write ``leaderboard.md``, ``leaderboard.html`` and a result file a row of ours into ``out``.

    Raises:
        DataError: if the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "leaderboard.md", ledger.to_text().encode())
        replace_file(out / "leaderboard.html", render(ledger).encode())
        for stem, result in _named(ledger.results).items():
            result.write(out / f"{stem}{SUFFIX}")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error}); name another --out") from None


def render(ledger: Ledger) -> str:
    """Return the leader-board as one page that asks the network for nothing."""
    style = PackageLoader("gazeseg", "report/templates")
    environment = Environment(
        loader=PackageLoader("gazeseg", "reproduce/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = style.get_source(environment, "style.css")[0]
    boards = [
        {
            "dataset": board.dataset,
            "split": board.split,
            "kind": KINDS[board.kind],
            "warn": board.kind != "recorded",
            "groups": [
                {"name": name, "published": name == PUBLISHED, "lines": [(line, _place(line.dice)) for line in lines]}
                for name, lines in board.groups
            ],
        }
        for board in ledger.boards
    ]
    ours = plural(len(ledger.results), "result")
    return environment.get_template("leaderboard.html").render(
        css=Markup(css),  # noqa: S704 -- our own file
        version=__version__,
        date=datetime.date.today().isoformat(),
        count=ours,
        boards=boards,
        notes=NOTES,
    )


def _place(dice: float | None) -> float | None:
    """Return where a Dice lies between LOW and HIGH, in percent."""
    return None if dice is None else 100 * min(1.0, max(0.0, (dice - LOW) / (HIGH - LOW)))


def _named(results: Sequence[Result]) -> Mapping[str, Result]:
    """Return the results by stems that are different."""
    named: dict[str, Result] = {}
    for result in results:
        stem, number = result.name, 2
        while stem in named:
            stem, number = f"{result.name}-{number}", number + 1
        named[stem] = result
    return named
