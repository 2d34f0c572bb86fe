"""The leader-board as one self-contained HTML page in the style of the report."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gazeseg import __version__
from gazeseg.report.text import plural
from gazeseg.reproduce.ledger import KINDS, NOTES, PUBLISHED

if TYPE_CHECKING:
    from gazeseg.reproduce.ledger import Ledger

LOW, HIGH = 0.5, 0.95  # range of the small bars; Dice below it is drawn at the left edge


def render(ledger: Ledger) -> str:
    """Return the page."""
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
