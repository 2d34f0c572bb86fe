r"""An honest word about a result and a published figure.

They are held against each other only where nothing but chance sets them apart, as far as is known. Then the difference
of the means over seeds has a 95 % interval by Welch's t (standard deviations :math:`s_1, s_2` over :math:`n_1, n_2`
seeds):

.. math:: d \pm t_{0.975, \nu} \sqrt{s_1^2 / n_1 + s_2^2 / n_2}

``above`` and ``below`` where it lies on one side of 0; ``matches`` where it holds 0 and reaches no further than
``MARGIN`` to either side, since an interval that holds everything shows nothing.
"""

from __future__ import annotations

import math
from typing import Final

from scipy.stats import t as student

from gazeseg.data.text import STAND_IN
from gazeseg.reproduce.recipe import PAPER, Recipe
from gazeseg.reproduce.result import Interval, PublishedFigure, Result, Verdict

MARGIN: Final = 0.03  # Dice: about what separates one generation of methods of this benchmark from the next


def judged(result: Result, recipe: Recipe, scale: str, changed: tuple[str, ...] = ()) -> Result:
    """Return ``result`` as one of ``recipe``, with the published figure and the verdict.

    Args:
        result: As :func:`~gazeseg.reproduce.result.make_result` returns it.
        recipe: What made its runs.
        scale: The budget they were made at.
        changed: Dotted keys in which they differ from the recipe.
    """
    source = recipe.published
    dice, seed_sd = source.figures[recipe.dataset_name]
    figure = PublishedFigure(
        label=source.label,
        venue=source.venue,
        dice=dice,
        seed_sd=seed_sd,
        seeds=source.seeds,
        source=source.source,
        read=source.read,
        selected=source.selected,
    )
    result = result.model_copy(
        update={"recipe": recipe.name, "scale": scale, "changed": changed, "published": figure, "verdict": None}
    )
    why = obstacles(result, recipe)
    caveats = _caveats(result, recipe)
    if why:
        verdict = Verdict(word="not comparable", why=tuple(why), caveats=caveats)
    else:
        verdict = _compared(result, figure, caveats)
    return result.model_copy(update={"verdict": verdict})


def obstacles(result: Result, recipe: Recipe) -> list[str]:
    """Return the reasons why a result of ``recipe`` cannot be held against the published figure."""
    why = []
    if result.scale != PAPER:
        why.append(f"another budget (published at {recipe.budgets[PAPER].about})")
    if result.changed:
        why.append(f"keys of the recipe were changed ({', '.join(result.changed)})")
    if result.dataset != recipe.dataset_name:
        why.append(f"another data set ({result.dataset}; published: {recipe.dataset_name})")
    elif result.test.checksum != recipe.dataset.test.checksum:
        why.append(f"scored on other cases than the published split ({recipe.dataset.split})")
    elif result.train.checksum != recipe.train.checksum:
        why.append(f"learnt from other cases than the published split ({recipe.dataset.split})")
    if result.gaze == "simulated":
        why.append("its gaze is simulated from the true masks")
    if result.control:
        why.append(f"a control: {result.control} was spoilt on purpose")
    if STAND_IN in result.text:
        why.append("its text is a stand-in made by rules, not that of a vision-language model")
    if result.by != recipe.dataset.by:
        why.append(f"scored by {result.by}")
    if recipe.dataset.protocol not in (None, result.protocol):
        why.append(f"scored by protocol {result.protocol} (published: {recipe.dataset.protocol})")
    why += recipe.published.differs
    if len(result.seeds) < 2:
        why.append("one seed has no spread")
    return why


def difference_interval(ours: list[float], mean: float, seed_sd: float | None, seeds: int) -> Interval:
    """Return Welch's 95 % interval of the mean of ``ours`` less ``mean``; without ``seed_sd``, of ours alone.

    Args:
        ours: One value a seed, at least two.
        mean: The other mean.
        seed_sd: Its standard deviation (n - 1) over its seeds.
        seeds: How many those were.
    """
    n, own_mean = len(ours), sum(ours) / len(ours)
    own = sum((value - own_mean) ** 2 for value in ours) / (n - 1) / n
    other = 0.0 if seed_sd is None else seed_sd**2 / seeds
    total = own + other
    if total == 0:
        return (own_mean - mean, own_mean - mean)
    freedom = total**2 / (own**2 / (n - 1) + (other**2 / (seeds - 1) if seeds > 1 else 0.0))
    half = float(student.ppf(0.975, freedom)) * math.sqrt(total)
    return (own_mean - mean - half, own_mean - mean + half)


def _compared(result: Result, figure: PublishedFigure, caveats: tuple[str, ...]) -> Verdict:
    ours = list(result.dice_by_seed)
    low, high = difference_interval(ours, figure.dice, figure.seed_sd, figure.seeds)
    difference = sum(ours) / len(ours) - figure.dice
    interval = f"{100 * difference:+.1f} Dice points, 95 % interval over seeds {100 * low:+.1f} to {100 * high:+.1f}"
    if low > 0:
        word, why = "above", interval
    elif high < 0:
        word, why = "below", interval
    elif max(-low, high) <= MARGIN:
        word, why = "matches", interval
    else:
        why = f"{interval}: too wide to say anything within {100 * MARGIN:g} points; run more seeds"
        return Verdict(word="not comparable", why=(why,), caveats=caveats)
    return Verdict.model_validate(
        {"word": word, "difference": difference, "ci95": (low, high), "why": (why,), "caveats": caveats}
    )


def _caveats(result: Result, recipe: Recipe) -> tuple[str, ...]:
    source, found = recipe.published, []
    if result.status == "reconstruction":
        found.append("ours is a reconstruction that was not checked against the paper")
    if source.read == "second-hand":
        found.append(f"the published figure is second-hand ({source.source})")
    if "test" in source.selected:
        found.append(f"the published checkpoint was selected on: {source.selected}; ours: {result.select}")
    elif source.selected == "unknown":
        found.append(f"how the published checkpoint was selected is unknown; ours: {result.select}")
    if result.both_empty:
        found.append(f"{result.both_empty:g} cases are empty in truth and prediction; rules for them differ")
    if source.figures[recipe.dataset_name][1] is None:
        found.append("the published figure has no spread; the interval is that of ours alone")
    return (*found, *source.caveats)
