"""Charts: what is drawn stands where the numbers say."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeseg.report import figures


def elements(svg: str, tag: str, css: str = "") -> list[ET.Element]:
    """Elements of a tag whose class holds ``css``."""
    root = ET.fromstring(svg)  # noqa: S314 - our own output
    return [e for e in root.iter(tag) if css in e.get("class", "").split() or not css]


@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e6))
def test_ticks_are_round_inside_and_evenly_spaced(low, width):
    high = low + width
    values = figures.ticks(low, high)
    assert all(low - 1e-6 * width <= v <= high + 1e-6 * width for v in values)
    assert len(values) <= 12
    steps = np.diff(values)
    assert np.allclose(steps, steps[0], rtol=1e-3) if len(steps) else True


def test_bars_of_a_histogram_are_proportional_to_counts():
    svg = figures.histogram(np.array([0.1] * 4 + [0.9] * 2), x_label="x", colour="c-gaze", bins=10)
    first, second = elements(svg, "rect", "bar")
    assert float(first.get("height")) == pytest.approx(2 * float(second.get("height")), abs=0.2)
    assert first.get("class") == "bar c-gaze"


def test_histogram_marks_mean_and_median_at_their_place():
    values = np.array([0.0, 0.0, 0.0, 1.0])
    svg = figures.histogram(values, x_label="x", colour="c-gaze")
    bars = elements(svg, "line", "mean") + elements(svg, "line", "median")
    mean, median = (float(line.get("x1")) for line in bars)
    axis = elements(svg, "line", "rule")[0]
    left, right = float(axis.get("x1")), float(axis.get("x2"))
    assert (mean - left) / (right - left) == pytest.approx(0.25, abs=0.001)
    assert median == left


def test_values_beyond_the_range_fall_into_the_last_bar():
    svg = figures.histogram(np.array([0.5, 7.0]), x_label="x", colour="c-gaze", bins=2)
    assert len(elements(svg, "rect", "bar")) == 1


def test_nothing_finite_draws_nothing():
    none = np.array([math.nan])
    assert figures.histogram(none, x_label="x", colour="m0") == ""
    assert figures.line_chart([figures.Line("a", none, none, "m0")], x_label="x", y_label="y") == ""
    assert figures.interval_mark(math.nan, 0, 1, "m0", (0, 1)) == ""


def test_strip_plot_places_box_mean_and_interval():
    values = np.linspace(0, 1, 101)
    names = [f"case {k}" for k in range(101)]
    svg = figures.strip_plot([figures.Strip("a <b>", values, names, "m1", 0.5, 0.4, 0.6)], x_label="Dice")
    axis = elements(svg, "line", "rule")[0]
    left, width = float(axis.get("x1")), float(axis.get("x2")) - float(axis.get("x1"))
    box = elements(svg, "rect", "box")[0]
    assert (float(box.get("x")) - left) / width == pytest.approx(0.25, abs=1e-3)
    assert float(box.get("width")) / width == pytest.approx(0.5, abs=1e-3)
    interval = elements(svg, "line", "interval")[0]
    assert (float(interval.get("x1")) - left) / width == pytest.approx(0.4, abs=1e-3)
    dots = elements(svg, "circle", "dot")
    assert len(dots) == 101
    assert dots[0].find("title").text == "case 0: 0.000"
    assert "a &lt;b&gt;" in svg


def test_strip_plot_thins_many_cases_but_keeps_the_extremes():
    values = np.random.default_rng(0).uniform(size=5000)
    names = [str(k) for k in range(5000)]
    svg = figures.strip_plot([figures.Strip("a", values, names, "m1", 0.5, 0.4, 0.6)], x_label="Dice")
    dots = elements(svg, "circle", "dot")
    assert len(dots) == figures.MAX_POINTS
    titles = {dot.find("title").text for dot in dots}
    assert f"{values.argmin()}: {values.min():.3f}" in titles
    assert f"{values.argmax()}: {values.max():.3f}" in titles


def test_strip_without_scores_says_so():
    svg = figures.strip_plot([figures.Strip("a", np.array([math.nan]), ["x"], "m1", math.nan, 0, 0)], x_label="Dice")
    assert "no score" in svg


def test_log_axis_leaves_out_what_has_no_logarithm():
    line = figures.Line("run", np.arange(4.0), np.array([1.0, 0.0, -1.0, 10.0]), "m0")
    svg = figures.line_chart([line], x_label="iteration", y_label="loss", log_y=True)
    points = elements(svg, "polyline", "line")[0].get("points").split()
    assert len(points) == 2
    first, last = (float(point.split(",")[1]) for point in points)
    assert first > last  # 10 stands above 1


def test_long_curves_are_thinned_and_single_points_are_dots():
    x = np.arange(20_000.0)
    lines = [figures.Line("long", x, np.sqrt(x), "m0"), figures.Line("one", x[:1], x[:1], "m1")]
    svg = figures.line_chart(lines, x_label="iteration", y_label="y")
    assert len(elements(svg, "polyline", "line")[0].get("points").split()) == 300
    assert len(elements(svg, "circle", "dot")) == 1


def test_bar_chart_writes_every_mean():
    bars = [figures.Bar("true", 0.85, 0.9, "c-gaze"), figures.Bar("none", math.nan, math.nan, "c-muted")]
    svg = figures.bar_chart(bars, x_label="share")
    assert "0.850" in svg
    assert len(elements(svg, "rect", "bar")) == 1


def test_interval_mark_uses_its_range():
    svg = figures.interval_mark(0.75, 0.7, 0.8, "m0", (0.5, 1.0))
    line = elements(svg, "line", "interval")[0]
    assert float(line.get("x1")) == pytest.approx(4 + 112 * 0.4, abs=0.1)
