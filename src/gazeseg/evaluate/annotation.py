"""The annotation time of a run's supervision: gaze as measured, masks as published, and what neither tells.

Gaze costs the time at the screen where ``gazeseg record`` measured it for every training case; elsewhere the sum of the
fixation durations, which is less: saccades, the first search and the review of the result add to it. Instructions,
calibration and pauses are in neither. Masks cost what somebody published for the data set, in proportion to
the masks that the loss saw; where nobody did, nothing is made up. Loads no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gazeseg.train.runfolder import Annotation, Task

UNKNOWN: Final = "unknown"
NOT_PUBLISHED: Final = "not published"


@dataclass(frozen=True, slots=True)
class Published:
    """Time that drawing the masks of a data set took."""

    hours: float
    masks: int
    source: str


MASKS: Final[Mapping[str, Published]] = {
    "Kvasir-SEG": Published(
        18.7,
        900,
        # which of its two data sets the row is about is not said; gaze of NCI-ISBI's 789 slices sums to 1.7 h
        "GNAN (MICCAI 2025, Table 1), which names no data set: taken for the 900 training images of Kvasir-SEG because "
        "the 2.2 h of gaze beside it are nearest to the 2.26 h measured there",
    )
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Annotation time in hours; a part is None where it is not known, 0 where there was nothing to annotate."""

    gaze_h: float | None
    masks_h: float | None
    text: str  # for a table
    notes: tuple[str, ...]  # where the figures come from

    @property
    def hours(self) -> float | None:
        """Everything together, None where a part is not known."""
        return None if self.gaze_h is None or self.masks_h is None else self.gaze_h + self.masks_h


def annotation_cost(tasks: Sequence[Task]) -> Cost:
    """Return the cost of the supervision of runs that differ in the seed alone; figures are means over them.

    Args:
        tasks: One a run, all of one data set and method.
    """
    task = tasks[0]
    kept = [entry.annotation for entry in tasks if entry.annotation is not None]
    if len(kept) < len(tasks):
        return Cost(None, None, UNKNOWN, ("unknown: trained by a version that did not keep it in task.json",))
    mean = _mean(kept)
    timed = mean.gaze_cases > 0 and mean.timed_cases == mean.gaze_cases
    gaze_h, masks_h = (mean.timed_s if timed else mean.fixation_s) / 3600, _masks_h(task.dataset, mean.masks)
    text, notes = "none", []
    if mean.gaze_cases:
        text = f"{gaze_h:.2f}"
        notes.append(_gaze_note(mean, timed=timed))
    if mean.masks:
        drawn = task.gaze == "simulated"
        known = NOT_PUBLISHED if masks_h is None else f"{masks_h:.1f}"
        text = f"masks, {known}" if drawn else known
        if mean.gaze_cases:
            text = f"{gaze_h:.2f} + masks, {known}" if masks_h is None else f"{gaze_h + masks_h:.1f}"
        notes.append(_masks_note(task.dataset, mean.masks))
        if drawn:
            notes.append("simulated gaze has no annotation time of its own: it uses the masks")
    if task.text != "none":
        notes.append(f"text: by {task.text}, no reader's time")
    return Cost(gaze_h, masks_h, text, tuple(notes))


def distinct_notes(costs: Iterable[Cost]) -> tuple[str, ...]:
    """Return the notes of several costs, each once, in order."""
    return tuple(dict.fromkeys(note for cost in costs for note in cost.notes))


def cost_sentence(cost: Cost, bound: Cost | None = None) -> str:
    """Say what the supervision cost, beside that of the fully supervised bound; empty where nothing is known.

    Args:
        cost: Of the method in question.
        bound: Of the fully supervised one, where there is one.
    """
    if cost.hours is None or not cost.hours:
        return ""
    against = f", against {bound.hours:.1f} h for the masks of the bound" if bound is not None and bound.hours else ""
    return f"Annotation of its training cases took {cost.hours:.3g} h{against}."


def _mean(kept: Sequence[Annotation]) -> Annotation:
    names = [field.name for field in dataclasses.fields(Annotation)]
    return Annotation(**{name: sum(getattr(entry, name) for entry in kept) / len(kept) for name in names})


def _gaze_note(mean: Annotation, *, timed: bool) -> str:
    cases = mean.gaze_cases
    fixated = f"the sum of the fixation durations of {cases:g} training cases, {mean.fixation_s / cases:.1f} s a case"
    if timed:
        return (
            f"gaze: measured by the recorder, the time at the screen of {cases:g} training cases, "
            f"{mean.timed_s / cases:.1f} s a case to locate, scan and review, viewings that were redone left out; "
            f"{fixated}"
        )
    note = f"gaze: measured, {fixated}; with the time between them {mean.viewing_s / cases:.1f} s"
    if mean.timed_cases:
        at_screen = f"{mean.timed_s / mean.timed_cases:.1f} s a case"
        note += f"; {mean.timed_cases:g} of them were timed by the recorder, {at_screen} at the screen"
    return note


def _masks_h(dataset: str, masks: float) -> float | None:
    if not masks:
        return 0.0
    known = MASKS.get(dataset)
    return None if known is None else known.hours * masks / known.masks


def _masks_note(dataset: str, masks: float) -> str:
    known = MASKS.get(dataset)
    if known is None:
        return f"masks: nobody published what those of {dataset} took"
    share = "" if masks == known.masks else f", in proportion for {masks:g}"
    return f"masks: published, {known.hours:g} h for {known.masks}{share}; {known.source}"
