"""One self-contained HTML page about runs: what was found, on which data, how sure, and what went wrong.

The page holds everything: style, charts (inline SVG), pictures (data URIs). It asks the network for nothing. Whatever
is missing (no evaluation, no masks, a data set that moved) is said in its place, with the command that mends it.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gazeseg import __version__
from gazeseg.data.schema import MAY_HAVE_SEEN, SIMULATED
from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate.annotation import cost_sentence
from gazeseg.report.cases import Explain, Gallery, add_pseudo_examples, cases_context
from gazeseg.report.datasets import citations, data_context, gaze_context, open_sources, pseudo_context
from gazeseg.report.runs import Block, Group, Run, make_blocks
from gazeseg.report.tables import failures_context, results_context, training_context
from gazeseg.report.text import how_to_evaluate, interval, number, plural
from gazeseg.report.uncertainty import uncertainty_context


def write_report(runs: Sequence[Path], out: Path, split: str = "test", *, explain: Explain | None = None) -> Path:
    """Write the report of one or many runs.

    Args:
        runs: Run folders, evaluated or not, of one data set or several.
        out: The page; it appears whole or not at all.
        split: The evaluated split to report on, or its variant such as ``test-legacy``.
        explain: Adds to the best, median and worst case what their method shows of them, e.g.
            ``gazeseg.predict.explain.Explainer()``; given from outside, since it computes with a network.

    Returns:
        ``out``.

    Raises:
        ConfigError: if no run is named.
        DataError: if a folder is no run, its evaluation is broken, or ``out`` cannot be written.
    """
    if not runs:
        raise ConfigError("no run given; name the run folders to report on")
    loaded = [Run.load(Path(path), split) for path in dict.fromkeys(Path(path) for path in runs)]
    html = _render(_page(loaded, split, explain))
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error}); name another --out") from None
    return out


def _render(page: Mapping[str, Any]) -> str:
    loader = PackageLoader("gazeseg.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, _, _ = loader.get_source(environment, "style.css")
    return environment.get_template("report.html").render(**page, css=Markup(style))  # noqa: S704 - our own file


def _page(runs: Sequence[Run], split: str, explain: Explain | None) -> dict[str, Any]:
    """Gather everything that the template shows."""
    blocks, notes = make_blocks(runs, split)
    groups = [group for block in blocks for group in block.groups]
    groups += _unevaluated(runs, len(groups))
    unique = _each_run_once(groups)
    sources = open_sources(runs)
    by_run = {str(run.folder.path): source for source in sources for run in source.runs}
    gallery = Gallery()
    datasets = []
    for source in sources:
        pseudo = pseudo_context(source)
        add_pseudo_examples(pseudo, source, gallery)
        datasets.append({**data_context(source), "gaze": gaze_context(source), "pseudo": pseudo})
    cases = cases_context([group for group in groups if group.row is not None], by_run, gallery, explain)
    waiting = [run for run in runs if not run.scores]
    if waiting and len(waiting) < len(runs):
        names = ", ".join(run.name for run in waiting)
        notes.append(
            f"Not evaluated on '{split}', so without results: {names}. {how_to_evaluate(waiting[0].folder.path, split)}"
        )
    return {
        "page": {
            "title": f"gazeseg report: {', '.join(dict.fromkeys(source.name for source in sources))}",
            "version": __version__,
            "dataset": ", ".join(dict.fromkeys(source.name for source in sources)),
            "split": split,
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "badges": [SIMULATED] if any(run.gaze == "simulated" for run in runs) else [],
            "notes": notes,
        },
        "headline": _headline(blocks, runs, split),
        "results": results_context(blocks, runs, split),
        "cases": cases,
        "failures": failures_context(unique),
        "uncertainty": uncertainty_context(unique),
        "datasets": datasets,
        "training": training_context(unique),
        "configurations": [_configuration(group, run) for group in unique for run in group.runs],
        "environments": _environments(runs),
        "empty_rules": list(dict.fromkeys(str(r.summary["definitions"]["empty"]) for r in runs if r.summary)),
        "citations": citations(sources),
        "symbols": gallery.render(),
    }


def _unevaluated(runs: Sequence[Run], used: int) -> list[Group]:
    """Group runs without results by method; the folder's name tells several apart."""
    waiting = [run for run in runs if not run.scores]
    return [Group(f"{run.method} ({run.name})", f"m{(used + k) % 8}", (run,)) for k, run in enumerate(waiting)]


def _each_run_once(groups: Sequence[Group]) -> list[Group]:
    """Drop runs seen before: without gaze, a run stands beside recorded and beside simulated gaze."""
    seen: set[str] = set()
    out = []
    for group in groups:
        fresh = tuple(run for run in group.runs if str(run.folder.path) not in seen)
        seen |= {str(run.folder.path) for run in fresh}
        if fresh:
            out.append(Group(group.label, group.colour, fresh, group.row))
    return out


def _headline(blocks: Sequence[Block], runs: Sequence[Run], split: str) -> dict[str, Any]:
    """One line of what was found, and its figures as cards."""
    if not blocks:
        names = ", ".join(dict.fromkeys(run.method for run in runs))
        return {
            "text": f"{plural(len(runs), 'run')} of {names}, not evaluated yet",
            "detail": how_to_evaluate(runs[0].folder.path, split),
            "cards": [],
        }
    block = max(blocks, key=lambda b: len(b.groups))
    count = plural(block.comparison.cases, f"{split.partition('-')[0]} {block.comparison.by}")
    best = next(iter(block.weak()), None)
    bound = next((group for group in block.groups if group.bound), None)
    lead = best or block.groups[0]
    mean, ci = _dice(lead)
    text = f"{_name(lead)} reaches Dice {number(mean)} on {count}"
    if best is not None and bound is not None:
        top, _ = _dice(bound)
        if mean >= top:
            text += f", level with or above the fully supervised {_name(bound)} ({number(top)})"
        else:
            text += f", {100 * mean / top:.0f} % of the fully supervised bound ({number(top)})" if top > 0 else ""
    kind = lead.runs[0].gaze
    learned = {"simulated": SIMULATED, "recorded": "recorded gaze", "none": "no gaze"}[kind]
    learned += f", {control}" if (control := lead.runs[0].control) else ""
    detail = f"95 % CI {interval(ci)} over cases. "
    if best is not None:
        detail += f"Learned from {learned}; "
        detail += "masks were used to draw it." if kind == "simulated" else "no mask was used in training."
        if drawn_by := lead.runs[0].task.drawn_by:
            detail += f" Masks by {drawn_by}: {MAY_HAVE_SEEN}."
        others = len(block.weak()) - 1
        if others:
            detail += f" Best of {plural(others + 1, 'method')} that see no mask."
    else:
        detail += "Learned from masks." if kind == "none" else f"Learned from masks and {learned}."
    if lead.row is not None:
        against = bound.row.annotation if bound is not None and bound.row is not None and bound is not lead else None
        detail += f" {cost_sentence(lead.row.annotation, against)}"
    return {"text": text, "detail": detail.rstrip(), "cards": _cards(block, best, bound)}


def _cards(block: Block, best: Group | None, bound: Group | None) -> list[dict[str, str]]:
    cards = []
    lead = best or block.groups[0]
    without = "Best on simulated gaze" if lead.runs[0].gaze == "simulated" else "Best without masks"
    named = (without if best is not None else "Best", lead)
    for title, group in (named, ("Fully supervised bound", bound if bound is not lead else None)):
        if group is not None:
            mean, ci = _dice(group)
            cards.append(
                {"name": f"{title}: {_name(group)}", "value": number(mean), "detail": f"Dice, 95 % CI {interval(ci)}"}
            )
    if best is not None and bound is not None:
        gap = _dice(best)[0] - _dice(bound)[0]
        sign = "+" if gap > 0 else ""
        cards.append({"name": "Difference to the bound", "value": f"{sign}{number(gap)}", "detail": "Dice"})
    if lead.row is not None:
        seeds = f", mean of {len(lead.runs)} seeds" if len(lead.runs) > 1 else ""
        classes = len(lead.runs[0].task.classes) - 1
        unit = block.comparison.by + "s" + (f" in {classes} classes" if classes > 1 else "")
        detail = f"of {block.comparison.cases:,} {unit}{seeds}"
        cards.append({"name": f"Missed by {_name(lead)}", "value": f"{lead.row.missed:g}", "detail": detail})
    return cards


def _name(group: Group) -> str:
    """The method; its differing keys stand in the table."""
    return group.row.method if group.row is not None else group.label


def _dice(group: Group) -> tuple[float, tuple[float, float] | None]:
    cell = group.row.cells["dice"] if group.row is not None else None
    return (0.0, None) if cell is None or cell.mean is None else (cell.mean, cell.ci95)


def _configuration(group: Group, run: Run) -> dict[str, Any]:
    text = run.folder.config_file.read_text(encoding="utf-8")
    return {"label": group.label, "colour": group.colour, "seed": run.seed, "run": run.name, "yaml": text}


def _environments(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Show each environment once, with the runs that share it."""
    shared: dict[str, list[str]] = {}
    for run in runs:
        file = run.folder.environment_file
        if file.is_file():
            try:
                text = yaml.safe_dump(json.loads(file.read_text(encoding="utf-8")), sort_keys=False, allow_unicode=True)
            except (json.JSONDecodeError, UnicodeDecodeError):
                text = f"{file} is broken"
            shared.setdefault(text, []).append(run.name)
    return [{"runs": ", ".join(names), "text": text} for text, names in shared.items()]
