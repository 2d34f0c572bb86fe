"""Which image was on the screen from when to when, from the messages that an experiment writes into a recording."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from gazeseg.errors import DataError
from gazeseg.gaze.io.trial import ReadOptions

_TRIAL: Final = re.compile(r"TRIAL_?ID\b", re.IGNORECASE)
_OVER: Final = re.compile(
    r"(TRIAL[_ ]?(RESULT|OK|END)|END_?TRIAL|(IMAGE|STIM\w*|DISPLAY)[_ ]?(OFF\w*|END|STOP))\b", re.I
)
_SHOWN: Final = re.compile(r"\b(SYNCTIME|(IMAGE|STIM\w*|DISPLAY|PICTURE)[_ ]?(ON|ONSET|START))\b", re.IGNORECASE)
_LOAD: Final = re.compile(r"!V\s+IMGLOAD\s+(TOP_LEFT|CENTER|FILL)\s+(.*)", re.IGNORECASE)
_TOKENS: Final = re.compile(r"[^\s\"'<>|;,=()\[\]]+")


@dataclass(frozen=True, slots=True)
class Message:
    """A text and when it was sent."""

    time_ms: float
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """An image from ``start_ms`` to before ``stop_ms``; the box is left, top, width, height in screen px if stated."""

    image: str
    start_ms: float
    stop_ms: float
    box_px: tuple[float, float, float, float] | None = None


def find_trials(
    path: Path, messages: list[Message], starts: list[float], ends: list[float], options: ReadOptions
) -> tuple[list[Span], list[str]]:
    """Find the images of a recording.

    Args:
        path: for errors.
        messages: of the recording.
        starts: when it began, each time.
        ends: when it paused.
        options: ``image``, ``start``, ``end`` and ``resolve``.

    Returns:
        The spans in temporal order, and how they were found.

    Raises:
        DataError: if no message names an image, or an expression matches nothing.
    """
    messages = sorted(messages, key=lambda message: message.time_ms)
    first = min([*starts, *(m.time_ms for m in messages)], default=0.0)
    if options.start is not None:
        return _by_expression(path, messages, ends, options)
    if options.image is not None:
        return [Span(options.image, min(starts, default=first), math.inf)], [f"the whole file is of '{options.image}'"]
    marks = [m.time_ms for m in messages if _TRIAL.match(m.text)]
    edges = sorted(marks or starts or [first])
    spans: list[Span] = []
    for start, stop in pairwise([*edges, math.inf]):
        inside = [m for m in messages if start <= m.time_ms < stop]
        spans += _of_block(inside, start, stop, ends, options)
    if not spans:
        shown = "; ".join(repr(m.text[:60]) for m in messages[:200] if not m.text.startswith("!"))[:200]
        raise DataError(
            f"{path}: no message names a case of the data set (messages: {shown or 'none'}); it belongs to other "
            "images, or say which messages with --start 'REGEX(?P<image>...)' or which case with --image"
        )
    how = "TRIALID" if marks else "START"
    return spans, [f"images found by the names in the messages of each block after {how}; {len(spans)} viewings"]


def _by_expression(
    path: Path, messages: list[Message], ends: list[float], options: ReadOptions
) -> tuple[list[Span], list[str]]:
    start, end = _compile(options.start or ""), _compile(options.end) if options.end is not None else None
    spans: list[Span] = []
    for message in messages:
        hit = start.search(message.text)
        if hit:
            named = hit.groupdict().get("image") or _mentioned(message.text, options)
            name = named or options.image or message.text
            if spans and math.isinf(spans[-1].stop_ms):
                spans[-1] = replace(spans[-1], stop_ms=message.time_ms)
            spans.append(Span(name, message.time_ms, math.inf))
        elif end is not None and end.search(message.text) and spans and math.isinf(spans[-1].stop_ms):
            spans[-1] = replace(spans[-1], stop_ms=message.time_ms)
    if not spans:
        examples = "; ".join(repr(m.text[:60]) for m in messages[:3])
        raise DataError(
            f"{path}: --start '{options.start}' matches none of {len(messages)} messages (such as {examples})"
        )
    spans = [_ended(span, ends) for span in spans]
    told = f"an image from '{options.start}' to " + (f"'{options.end}'" if options.end else "the next, or the end")
    return spans, [told]


def _of_block(
    messages: list[Message], start_ms: float, stop_ms: float, ends: list[float], options: ReadOptions
) -> list[Span]:
    """The viewings between two trial marks: one for each case mentioned, in the order of their first mention."""
    over = next((m.time_ms for m in messages if _OVER.match(m.text)), stop_ms)
    named: list[tuple[float, str, tuple[float, float, float, float] | None]] = []
    for message in messages:
        case = _mentioned(message.text, options)
        if case is None:
            continue
        known = next((i for i, (_, name, _) in enumerate(named) if name == case), None)
        box = _box(message.text)
        if known is None:
            named.append((message.time_ms, case, box))
        elif box is not None:
            named[known] = (named[known][0], case, box)
    if not named:
        return []
    if len(named) == 1:
        shown = next((m.time_ms for m in messages if _SHOWN.search(m.text) and m.time_ms < over), None)
        at = named[0][0] if named[0][0] < over else start_ms  # a trial variable is often written after the trial
        return [_ended(Span(named[0][1], at if shown is None else shown, over, named[0][2]), ends)]
    stops = [*(time for time, _, _ in named[1:]), over if over > named[-1][0] else stop_ms]
    return [_ended(Span(case, time, stop, box), ends) for (time, case, box), stop in zip(named, stops, strict=True)]


def _ended(span: Span, ends: list[float]) -> Span:
    """Cut a span at the first pause of the recording after its start."""
    return replace(span, stop_ms=min([span.stop_ms, *(end + 1 for end in ends if end > span.start_ms)]))


def _mentioned(text: str, options: ReadOptions) -> str | None:
    """The first case that a word of the message stands for."""
    for token in _TOKENS.findall(text):
        case = options.resolve(token.replace("\\", "/").rpartition("/")[2])
        if case is not None:
            return case
    return None


def _box(text: str) -> tuple[float, float, float, float] | None:
    """Where ``!V IMGLOAD`` puts an image, if it states the size: TOP_LEFT or CENTER name x y width height."""
    load = _LOAD.match(text)
    if not load or load[1].upper() == "FILL":
        return None
    numbers = re.findall(r"(?<=\s)-?\d+(?:\.\d+)?(?=\s|$)", load[2])[-4:]
    if len(numbers) < 4:
        return None
    x, y, width, height = map(float, numbers)
    if width <= 0 or height <= 0:
        return None
    return (x - width / 2, y - height / 2, width, height) if load[1].upper() == "CENTER" else (x, y, width, height)


def _compile(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise DataError(f"'{expression}' is no regular expression ({error}); correct --start or --end") from None
