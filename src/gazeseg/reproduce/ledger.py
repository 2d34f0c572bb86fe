"""The leader-board: every result file and evaluated run below some folders, beside the published figures.

Figures that answer different questions never share a table: recorded gaze, simulated gaze (which uses the true masks)
and controls (something spoilt on purpose) stand apart, and so do data sets and test splits. Within a table rows are
grouped by budget, and the published ones close it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gazeseg.console import warn
from gazeseg.data.schema import MAY_HAVE_SEEN
from gazeseg.errors import DataError, GazeSegError
from gazeseg.evaluate.compare import markdown_table
from gazeseg.evaluate.groups import group_runs
from gazeseg.reproduce.recipe import Published, datasets, published, recognise
from gazeseg.reproduce.result import Result, find_results, make_result, read_result
from gazeseg.reproduce.run import percent
from gazeseg.reproduce.verdict import judged
from gazeseg.train.runfolder import RunFolder

KINDS: Final = {
    "recorded": "Recorded gaze, or true masks",
    "simulated": "Simulated gaze: drawn from the true masks, so no figure for recorded gaze",
    "control": "Controls: something about gaze or text was spoilt on purpose",
}
NOTES: Final = (
    "Dice in percent, mean +- standard deviation over seeds; the interval is a bootstrap over the test cases.",
    "Rows of different budgets do not rank methods. Only rows at paper scale can be held against published figures.",
    "Protocol gazeseg: both masks empty 1, missed 0; legacy: empty masks as in released code.",
    "A reconstruction was written without the paper's full text and not checked against it.",
    f"Masks by a promptable model: {MAY_HAVE_SEEN}.",
    "Most published checkpoints were selected on the test split, or nobody says how; ours never.",
)
PUBLISHED: Final = "published"


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the leader-board, ours or published."""

    group: str  # heading within the table: the budget, or published
    method: str
    status: str
    learns_from: str
    protocol: str
    dice: float | None
    figure: str  # as printed
    interval: str
    seeds: str
    judged: str  # the verdict, or where a published figure stands
    detail: str  # why


@dataclass(frozen=True, slots=True)
class Board:
    """One table: what was scored on the same cases and learnt from the same kind of gaze."""

    dataset: str
    split: str  # what the test cases are
    kind: str  # key of KINDS
    lines: tuple[Line, ...]

    @property
    def groups(self) -> Iterator[tuple[str, tuple[Line, ...]]]:
        """Headings with their rows, in order."""
        for name in dict.fromkeys(line.group for line in self.lines):
            yield name, tuple(line for line in self.lines if line.group == name)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The leader-board of some results."""

    results: tuple[Result, ...]
    boards: tuple[Board, ...]

    def to_text(self) -> str:
        """Return the leader-board as Markdown."""
        parts = ["# Leader-board"]
        header = ["method", "status", "learns from", "protocol", "Dice %", "95 % CI over cases", "seeds", "verdict"]
        dataset = ""
        for board in self.boards:
            if board.dataset != dataset:
                dataset = board.dataset
                parts.append(f"## {dataset}")
            parts.append(f"### {KINDS[board.kind]}\n\n{board.split}")
            for name, lines in board.groups:
                rows = [
                    [line.method, line.status, line.learns_from, line.protocol, line.figure, line.interval, line.seeds]
                    for line in lines
                ]
                for row, line in zip(rows, lines, strict=True):
                    row.append(f"{line.judged}: {line.detail}" if line.detail else line.judged)
                parts.append(f"**{name}**\n\n" + "\n".join(markdown_table([header, *rows])))
        return "\n\n".join([*parts, "\n".join(f"- {note}" for note in NOTES)]) + "\n"


def gather(folders: Sequence[Path], split: str = "test") -> Ledger:
    """Read every result file and every run evaluated on ``split`` below ``folders``.

    Runs that differ in the seed alone become one result. What several folders hold is counted once, and a run that
    cannot be read is left out with a warning.

    Raises:
        DataError: if a folder is not there, or nothing was found.
    """
    results: dict[str, Result] = {}
    for folder in folders:
        if not folder.exists():
            raise DataError(f"{folder}: no such folder; name folders of runs or result files")
        for file in find_results(folder):
            result = read_result(file)
            if result.split == split:
                results.setdefault(_identity(result), result)
    for evaluation, runs in _evaluated(folders, split).items():
        for group in _groups(runs):
            try:
                result = _result(group, evaluation)
            except DataError as error:
                warn(f"{error}; left out")
                continue
            results.setdefault(_identity(result), result)
    if not results:
        where = ", ".join(map(str, folders))
        raise DataError(f"{where}: no result file and no run evaluated on '{split}'; run: gazeseg evaluate RUN")
    found = tuple(results.values())
    return Ledger(found, tuple(_boards(found)))


def _evaluated(folders: Sequence[Path], split: str) -> dict[str, list[Path]]:
    """Return run folders by the name of their evaluation: the split, and its variants such as ``test-legacy``."""
    found: dict[str, dict[Path, None]] = {}
    for folder in folders:
        for summary in sorted(folder.rglob("evaluation/*/summary.json")):
            name = summary.parent.name
            if name == split or name.startswith(f"{split}-"):
                found.setdefault(name, {})[summary.parents[2]] = None
    return {name: list(runs) for name, runs in found.items()}


def _groups(runs: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield runs that differ in the seed alone: of one configuration, on one data set, from one kind of gaze."""
    alike: dict[tuple[str, str], list[Path]] = {}
    for run in runs:
        try:
            RunFolder(run).config()
            task = RunFolder(run).task()
        except GazeSegError as error:
            warn(f"{error}; left out")
        else:
            alike.setdefault((task.dataset, task.gaze), []).append(run)
    for members in alike.values():
        yield from map(_one_a_seed, group_runs(members))


def _one_a_seed(runs: Sequence[Path]) -> list[Path]:
    """Return one run a seed; the others are copies."""
    return list({RunFolder(run).config().train.seed: run for run in reversed(runs)}.values())[::-1]


def _result(runs: Sequence[Path], evaluation: str) -> Result:
    result = make_result(runs, evaluation)
    known = recognise(RunFolder(runs[0]).config(), result.dataset)
    return judged(result, *known) if known else result


def _identity(result: Result) -> str:
    """What two records of one result share."""
    return result.model_dump_json(
        include={"dataset", "test", "protocol", "by", "method", "gaze", "config", "seeds", "control", "drawn_by"}
    )


def _boards(results: Sequence[Result]) -> Iterator[Board]:
    keys = dict.fromkeys((r.dataset, r.test.checksum, r.by, kind_of(r)) for r in results)
    for dataset, checksum, by, kind in sorted(
        keys, key=lambda key: (key[0], key[1], key[2], list(KINDS).index(key[3]))
    ):
        mine = [r for r in results if (r.dataset, r.test.checksum, r.by, kind_of(r)) == (dataset, checksum, by, kind)]
        lines = sorted(map(_line, mine), key=_order)
        entry = datasets().get(dataset)
        standard = entry is not None and entry.test.checksum == checksum
        split = f"{mine[0].test.cases} {by}s of the split '{mine[0].split}', checksum {checksum}"
        split += f": {entry.split}" if entry is not None and standard else ""
        if entry is not None and standard and kind == "recorded" and by == entry.by:
            lines += [_published(figure, dataset) for figure in _ranked(dataset)]
        yield Board(dataset, split, kind, tuple(lines))


def kind_of(result: Result) -> str:
    """Return the key of :data:`KINDS` that a result belongs to."""
    return "control" if result.control else "simulated" if result.gaze == "simulated" else "recorded"


def _line(result: Result) -> Line:
    budget, dice = result.budget, result.dice
    group = f"{budget.size[0]} px, {budget.network}, {budget.iterations:,} iterations of {budget.batch_size}"
    verdict = result.verdict
    learns = "masks" if result.mask_supervised else f"{result.gaze} gaze" if result.gaze != "none" else "nothing"
    if result.gaze != "none" and result.mask_supervised:
        learns = f"masks and {result.gaze} gaze"
    if result.text != "none":
        learns += f", text: {result.text}"
    if result.drawn_by:
        learns += f", masks by {result.drawn_by}"
    detail = ""
    if verdict is not None and result.published is not None:
        comparable = verdict.word != "not comparable"
        published_dice = percent(result.published.dice, result.published.seed_sd)
        known = verdict.caveats if comparable else ()  # else they stand in the result file
        detail = "; ".join([f"{result.published.label} {published_dice}", *verdict.why, *known])
    return Line(
        group=(f"{result.scale}: " if result.scale and not result.changed else "") + group,
        method=result.method + (f" ({result.control})" if result.control else ""),
        status=result.status,
        learns_from=learns,
        protocol=f"{result.protocol}, {result.select}",
        dice=dice.mean,
        figure=percent(dice.mean, dice.seed_sd),
        interval="-" if dice.ci95 is None else f"{100 * dice.ci95[0]:.1f} to {100 * dice.ci95[1]:.1f}",
        seeds=str(len(result.seeds)),
        judged="-" if verdict is None else verdict.word,
        detail=detail,
    )


def _published(figure: Published, dataset: str) -> Line:
    dice, spread = figure.figures[dataset]
    return Line(
        group=PUBLISHED,
        method=f"{figure.label}, {figure.venue}",
        status=PUBLISHED,
        learns_from="recorded gaze" if figure.supervision == "gaze" else figure.supervision,
        protocol=f"selected on: {figure.selected}",
        dice=dice,
        figure=percent(dice, spread),
        interval="-",
        seeds=str(figure.seeds),
        judged=figure.read,
        detail=figure.source,
    )


def _ranked(dataset: str) -> list[Published]:
    there = [figure for figure in published().values() if dataset in figure.figures]
    return sorted(there, key=lambda figure: (figure.supervision != "gaze", -figure.figures[dataset][0]))


def _order(line: Line) -> tuple[bool, str, float]:
    """Paper scale first, then budget by budget, the best first."""
    return (not line.group.startswith("paper"), line.group, -(line.dice or 0.0))
