"""Charts as inline SVG: they follow the page's light and dark colours, print sharply and need no image file.

Every function returns :class:`markupsafe.Markup`, built as an element tree, so text from data is always escaped.
Colours are CSS classes (``c-gaze``, ``c-pseudo``, ``m0`` .. ``m7`` for methods), defined in ``templates/style.css``.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from gazeseg.types import FloatArray

MAX_POINTS = 400  # dots a row of a strip plot: more only blacken the row and swell the file


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: x and y (N,), drawn in CSS class ``colour``; ``faint`` for raw values under a smoothed curve."""

    label: str
    x: FloatArray
    y: FloatArray
    colour: str
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of a strip plot: values (N,) with a name each, their mean and its confidence interval."""

    label: str
    values: FloatArray
    names: Sequence[str]
    colour: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart: a mean in [0, 1] as the bar and a median as a tick."""

    label: str
    mean: float
    median: float
    colour: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plotting area inside an SVG of (width, height), and the data ranges that fill it."""

    root: ET.Element
    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.top + self.height * (high - value) / (high - low)


def _n(value: float) -> str:
    """A coordinate with one decimal: enough for a screen, half the bytes."""
    return f"{value:.1f}".removesuffix(".0")


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str | float) -> ET.Element:
    named = {k.rstrip("_").replace("_", "-"): v if isinstance(v, str) else _n(v) for k, v in attributes.items()}
    element = ET.SubElement(parent, tag, named)
    if text:
        element.text = text
    return element


def _svg(width: float, height: float, label: str, css: str = "chart") -> ET.Element:
    return ET.Element(
        "svg", {"viewBox": f"0 0 {_n(width)} {_n(height)}", "class": css, "role": "img", "aria-label": label}
    )


def render(root: ET.Element) -> Markup:
    """Serialise an element tree for use inside HTML."""
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree has escaped every text in it


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that divide ``low..high`` into about ``count`` parts.

    Examples:
        >>> ticks(0, 1)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> ticks(0, 900)
        [0.0, 200.0, 400.0, 600.0, 800.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _tick_text(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _axes(frame: _Frame, x_label: str, y_label: str = "", *, log_y: bool = False, y_ticks: bool = True) -> None:
    root, right, bottom = frame.root, frame.left + frame.width, frame.top + frame.height
    group = _add(root, "g", class_="axes")
    for value in ticks(*frame.x_range):
        x = frame.x(value)
        _add(group, "line", x1=x, x2=x, y1=frame.top, y2=bottom, class_="grid")
        _add(group, "text", _tick_text(value), x=x, y=bottom + 15, text_anchor="middle")
    if y_ticks:
        low, high = frame.y_range
        values = [float(p) for p in range(math.ceil(low), math.floor(high) + 1)] if log_y else ticks(low, high, 4)
        if log_y and len(values) < 2:  # less than a decade: label round values inside it instead
            values = [math.log10(v) for v in ticks(10**low, 10**high, 4) if v > 0]
        for value in values:
            y = frame.y(value)
            _add(group, "line", x1=frame.left, x2=right, y1=y, y2=y, class_="grid")
            text = f"{10**value:.3g}" if log_y else _tick_text(value)
            _add(group, "text", text, x=frame.left - 7, y=y + 4, text_anchor="end")
    _add(group, "line", x1=frame.left, x2=right, y1=bottom, y2=bottom, class_="rule")
    _add(group, "text", x_label, x=frame.left + frame.width / 2, y=bottom + 33, text_anchor="middle", class_="name")
    if y_label:
        _add(group, "text", y_label, x=2, y=11, text_anchor="start", class_="name")


def _points(frame: _Frame, x: FloatArray, y: FloatArray) -> str:
    return " ".join(f"{_n(frame.x(float(a)))},{_n(frame.y(float(b)))}" for a, b in zip(x, y, strict=True))


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, log_y: bool = False, label: str = "") -> Markup:
    """Draw curves over one x axis.

    Args:
        lines: At least one curve with a finite value.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        log_y: Logarithmic y; values that are not positive are left out.
        label: Description for a screen reader.
    """
    root = _svg(480, 262, label or f"{y_label} over {x_label}")
    shown: list[tuple[Line, FloatArray, FloatArray]] = []
    for line in lines:
        keep = np.isfinite(line.y) & ((line.y > 0) if log_y else True)
        if keep.any():
            y = np.log10(line.y[keep]) if log_y else line.y[keep]
            shown.append((line, line.x[keep], y))
    if not shown:
        return Markup("")
    x_all, y_all = np.concatenate([x for _, x, _ in shown]), np.concatenate([y for _, _, y in shown])
    low, high = float(y_all.min()), float(y_all.max())
    pad = 0.06 * (high - low) or 0.5
    x_high = float(x_all.max())
    frame = _Frame(root, 48, 22, 412, 196, (0.0, x_high if x_high > 0 else 1.0), (low - pad, high + pad))
    _axes(frame, x_label, y_label, log_y=log_y)
    for line, x, y in shown:
        css = f"line {line.colour}" + (" faint" if line.faint else "")
        if len(x) > 300:  # a curve has fewer pixels than a long log has lines
            pick = np.linspace(0, len(x) - 1, 300).round().astype(int)
            x, y = x[pick], y[pick]
        if len(x) == 1:
            _add(root, "circle", cx=frame.x(float(x[0])), cy=frame.y(float(y[0])), r=3, class_=f"dot {line.colour}")
            continue
        curve = _add(root, "polyline", points=_points(frame, x, y), class_=css)
        _add(curve, "title", line.label)
    return render(root)


def histogram(
    values: FloatArray,
    *,
    x_label: str,
    colour: str,
    x_range: tuple[float, float] = (0.0, 1.0),
    bins: int = 25,
    count: str = "cases",
) -> Markup:
    """Draw a histogram with its mean (solid) and median (dashed) marked.

    Args:
        values: (N,) values; those beyond ``x_range`` fall into the outermost bars.
        x_label: Name of the value.
        colour: CSS class of the bars.
        x_range: Lowest and highest value shown.
        bins: Number of bars.
        count: What is counted, the name of the y axis.
    """
    root = _svg(480, 232, f"Histogram of {x_label}")
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Markup("")
    counts, edges = np.histogram(np.clip(finite, *x_range), bins=bins, range=x_range)
    frame = _Frame(root, 48, 22, 420, 166, x_range, (0.0, float(counts.max()) * 1.08))
    _axes(frame, x_label, count)
    for height, start, stop in zip(counts, edges[:-1], edges[1:], strict=True):
        if height:
            x, y = frame.x(float(start)), frame.y(float(height))
            bar = _add(
                root, "rect", x=x + 0.5, y=y, width=frame.x(float(stop)) - x - 1, height=frame.top + frame.height - y
            )
            bar.set("class", f"bar {colour}")
            _add(bar, "title", f"{start:.3g} to {stop:.3g}: {height} {count}")
    for value, css, name in ((finite.mean(), "mean", "mean"), (float(np.median(finite)), "median", "median")):
        x = frame.x(float(np.clip(value, *x_range)))
        mark = _add(root, "line", x1=x, x2=x, y1=frame.top, y2=frame.top + frame.height, class_=css)
        _add(mark, "title", f"{name} {value:.3g}")
    return render(root)


def bar_chart(bars: Sequence[Bar], *, x_label: str) -> Markup:
    """Draw horizontal bars for means in [0, 1], each with a tick at the median."""
    row = 25.0
    root = _svg(480, 44 + row * len(bars), x_label)
    frame = _Frame(root, 152, 2, 286, row * len(bars), (0.0, 1.0), (0.0, 1.0))
    _axes(frame, x_label, y_ticks=False)
    for index, bar in enumerate(bars):
        middle = frame.top + row * (index + 0.5)
        _add(root, "text", bar.label, x=frame.left - 9, y=middle + 4, text_anchor="end", class_="row")
        if math.isfinite(bar.mean):
            width = max(frame.x(bar.mean) - frame.left, 0.5)
            shape = _add(root, "rect", x=frame.left, y=middle - 7, width=width, height=14, class_=f"bar {bar.colour}")
            _add(shape, "title", f"{bar.label}: mean {bar.mean:.3f}, median {bar.median:.3f}")
            x = frame.x(bar.median)
            _add(root, "line", x1=x, x2=x, y1=middle - 9, y2=middle + 9, class_="median")
        _add(root, "text", f"{bar.mean:.3f}", x=frame.left + frame.width + 30, y=middle + 4, text_anchor="end")
    return render(root)


def strip_plot(strips: Sequence[Strip], *, x_label: str) -> Markup:
    """Draw one row a method: a dot a case, the quartile box with whiskers to 1.5 IQR, and the mean with its interval.

    Values are shown on 0..1. Of more than ``MAX_POINTS`` cases every k-th in rank order is drawn, both ends included.
    """
    row = 66.0
    root = _svg(860, 44 + row * len(strips), f"{x_label} of every case, by method", "chart wide")
    frame = _Frame(root, 178, 2, 664, row * len(strips), (0.0, 1.0), (0.0, 1.0))
    _axes(frame, x_label, y_ticks=False)
    for index, strip in enumerate(strips):
        group = _add(root, "g", class_=strip.colour)
        _strip(group, frame, strip, frame.top + row * (index + 0.5))
    return render(root)


def _strip(group: ET.Element, frame: _Frame, strip: Strip, middle: float) -> None:
    _add(group, "text", _shorten(strip.label, 26), x=frame.left - 14, y=middle + 4, text_anchor="end", class_="row")
    keep = np.flatnonzero(np.isfinite(strip.values))
    if not len(keep):
        _add(group, "text", "no score", x=frame.left + 8, y=middle + 4)
        return
    order = keep[np.argsort(strip.values[keep], kind="stable")]
    values = strip.values[order]
    pick = np.unique(np.linspace(0, len(order) - 1, min(MAX_POINTS, len(order))).round().astype(int))
    for rank in pick:
        # The golden ratio spreads neighbours in rank evenly over the row, and the picture is the same every time.
        jitter = ((rank * 0.618033988749895) % 1 - 0.5) * 26
        dot = _add(group, "circle", cx=frame.x(float(values[rank])), cy=middle - 10 + jitter, r=2.6, class_="dot")
        _add(dot, "title", f"{strip.names[order[rank]]}: {values[rank]:.3f}")
    q1, median, q3 = (float(q) for q in np.percentile(values, [25, 50, 75]))
    low = float(values[values >= q1 - 1.5 * (q3 - q1)].min())
    high = float(values[values <= q3 + 1.5 * (q3 - q1)].max())
    y = middle + 18
    _add(group, "line", x1=frame.x(low), x2=frame.x(high), y1=y, y2=y, class_="whisker")
    _add(group, "rect", x=frame.x(q1), y=y - 6, width=max(frame.x(q3) - frame.x(q1), 1), height=12, class_="box")
    _add(group, "line", x1=frame.x(median), x2=frame.x(median), y1=y - 6, y2=y + 6, class_="middle")
    _interval(group, frame, strip.mean, strip.low, strip.high, y)


def interval_mark(mean: float, low: float, high: float, colour: str, x_range: tuple[float, float]) -> Markup:
    """Draw a mean with its interval as a small figure for a table cell; empty without a finite mean."""
    if not math.isfinite(mean):
        return Markup("")
    root = _svg(120, 18, f"{mean:.3f}, interval {low:.3f} to {high:.3f}", f"mark {colour}")
    frame = _Frame(root, 4, 0, 112, 18, x_range, (0.0, 1.0))
    _add(root, "line", x1=4, x2=116, y1=9, y2=9, class_="grid")
    _interval(root, frame, mean, low, high, 9)
    return render(root)


def _interval(group: ET.Element, frame: _Frame, mean: float, low: float, high: float, y: float) -> None:
    x = frame.x(mean)
    if math.isfinite(low) and math.isfinite(high):
        _add(group, "line", x1=frame.x(low), x2=frame.x(high), y1=y, y2=y, class_="interval")
    points = f"{_n(x - 4.5)},{_n(y)} {_n(x)},{_n(y - 4.5)} {_n(x + 4.5)},{_n(y)} {_n(x)},{_n(y + 4.5)}"
    diamond = _add(group, "polygon", points=points, class_="diamond")
    _add(diamond, "title", f"mean {mean:.3f} (95 % CI {low:.3f} to {high:.3f})")


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
