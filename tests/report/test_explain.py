"""The figure of an explanation: a panel a map in its row, scales by kind, and its place in the report."""

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gazeseg.errors import DataError
from gazeseg.predict.explanation import Explanation, Map
from gazeseg.report import explain
from gazeseg.report.reading import load_reading
from gazeseg.report.report import write_report

RNG = np.random.default_rng(0)


def layer(kind="attention", row="stage 0", title="a map", values=None) -> Map:
    values = RNG.uniform(-1 if kind == "difference" else 0, 1, (6, 8)) if values is None else values
    return Map(row, title, values.astype(np.float32), kind)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(explain, "DPI", 50)  # what is looked at does not depend on it, and the tests are faster


@pytest.fixture
def reading(world):
    return load_reading(world.dataset, "case 00")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are made, for a look inside."""
    figures = []

    class Kept(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if "figsize" in kwargs:
                figures.append(self)

    monkeypatch.setattr(explain, "Figure", Kept)
    return figures


def ladder(stages=3) -> tuple[Map, ...]:
    kinds = ("attention", "target", "difference")
    return tuple(layer(kind, f"stage {k}", f"{kind} {k}") for k in range(stages) for kind in kinds)


def test_every_map_is_one_panel_in_the_line_of_its_row(reading, drawn):
    maps = (layer("probability", "prediction", "probability"), *ladder())
    explain.explanation_figure(reading, Explanation("case 00", "gradtrack", "reconstruction", maps))
    [figure] = drawn
    titled = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}
    assert {m.title for m in maps} <= set(titled)
    for stage in range(3):
        line = [titled[f"{kind} {stage}"].get_position() for kind in ("attention", "target", "difference")]
        assert len({round(place.y0, 6) for place in line}) == 1
        assert line[0].x0 < line[1].x0 < line[2].x0
    tops = [titled[f"attention {k}"].get_position().y1 for k in range(3)]
    assert tops == sorted(tops, reverse=True)
    words = [text.get_text() for text in figure.texts]
    assert "method gradtrack (reconstruction)" in words
    assert [word for word in words if word.startswith("stage")] == ["stage 0", "stage 1", "stage 2"]
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)


def test_a_long_line_goes_on_below_and_the_row_is_named_once(reading, drawn):
    maps = tuple(layer(title=f"field {k}") for k in range(8))
    explain.explanation_figure(reading, Explanation("case 00", "fgi", "paper", maps))
    places = [a.get_position() for a in drawn[0].axes if a.get_title(loc="left").startswith("field")]
    assert len({round(place.y0, 6) for place in places}) == 2
    assert sum(text.get_text() == "stage 0" for text in drawn[0].texts) == 1


def test_colours_say_nothing_where_the_map_is_zero_and_differences_have_two():
    for kind in ("attention", "target", "probability", "difference", "mask"):
        assert explain.colours(layer(kind, values=np.zeros((2, 2))), (0, 1))[..., 3].max() == 0
    both = explain.colours(layer("difference", values=np.array([[-0.7, 0.7]])), (-1, 1))
    assert both[0, 0, 2] > both[0, 0, 0]  # blue below
    assert both[0, 1, 0] > both[0, 1, 2]  # orange above
    assert both[0, 0, 3] == both[0, 1, 3]


def test_attention_and_target_look_alike_where_they_are_equal():
    values = RNG.random((4, 4))
    scales = explain.scales_of([layer("attention", values=values), layer("target", values=values)])
    assert scales["attention"] == scales["target"] == (0, 1)
    seen = [explain.colours(layer(kind, values=values), scales[kind]) for kind in ("attention", "target")]
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize(
    ("values", "scale"), [([0.13, 0.23], (0.1, 0.3)), ([0.0, 0.9], (0, 0.9)), ([0.0312, 0.0338], (0.031, 0.034))]
)
def test_attention_without_a_target_is_stretched_to_a_stated_range(values, scale):
    found = explain.scales_of([layer(values=np.array([values]))])
    assert found["attention"] == pytest.approx(scale)
    assert found["probability"] == (0, 1)
    assert found["difference"] == (-1, 1)


def test_constant_attention_has_a_scale_too():
    assert explain.scales_of([layer(values=np.full((2, 2), 0.2))])["attention"] == (0, 1)


@pytest.mark.parametrize(
    ("row", "title", "colour"),
    [
        ("gaze masks", "narrow mask", "#56b4e9"),
        ("targets", "Pseudo-mask 0.5", "#56b4e9"),
        ("networks", "prediction", "#f0e442"),
        ("networks", "hidden by DARM", explain.MASKED),
    ],
)
def test_a_mask_takes_the_colour_of_its_role(row, title, colour):
    assert explain.mask_colour(layer("mask", row, title)) == colour


def test_a_long_title_goes_on_in_a_second_line(reading, drawn):
    maps = tuple(layer(title=f"narrow mask, for the teacher {k}") for k in range(6))
    explain.explanation_figure(reading, Explanation("case 00", "fgi", "paper", maps))
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert {" ".join(title.split()) for title in titles} >= {layer.title for layer in maps}
    assert all("\n" in title for title in titles if title.startswith("narrow"))


def test_text_notes_and_a_case_without_gaze_or_mask(make_world, tmp_path, drawn):
    made = make_world(tmp_path, masks=False, train=3, test=1)
    reading = load_reading(made.dataset, "case 00")
    text = "Location: centre. Boundary: smooth and sharp. Remarks: $\\x$ none."
    found = Explanation("case 00", "fgi", "paper", ladder(1), text, ("trained under a gaze control",))
    picture = Image.open(io.BytesIO(explain.explanation_figure(reading, found)))
    words = " ".join(text.get_text().replace("\n", " ") for text in drawn[0].texts)
    assert "Boundary: smooth and sharp" in words
    assert "trained under a gaze control" in words
    assert "truth" not in words
    assert min(picture.size) > 200


def test_webp_is_smaller_and_of_the_same_size(reading):
    found = Explanation("case 00", "fgi", "paper", ladder(1))
    png, webp = explain.explanation_figure(reading, found), explain.explanation_figure(reading, found, "webp")
    assert len(webp) < len(png) / 2
    assert Image.open(io.BytesIO(webp)).size == Image.open(io.BytesIO(png)).size


def test_report_shows_best_median_and_worst_of_methods_that_explain(world):
    runs = [world.run("full_s0", method="full", supervised=True), world.run("track_s0", method="gradtrack")]
    asked = []

    def show(run, case_id):
        if run.name != "track_s0":
            return None
        asked.append(case_id)
        return Explanation(case_id, "gradtrack", "reconstruction", ladder(1))

    html = write_report(runs, world.root / "report.html", explain=show).read_text(encoding="utf-8")
    assert len(asked) == len(set(asked)) == 3
    assert len(re.findall(r'<img src="data:image/webp;base64,', html)) == 3


def test_a_run_that_cannot_be_explained_is_noted_and_the_report_goes_on(world):
    def fails(run, case_id):
        raise DataError("pseudo: no pseudo-masks there")

    html = write_report([world.run()], world.root / "report.html", explain=fails).read_text(encoding="utf-8")
    assert "gms_s0 is not explained: pseudo: no pseudo-masks there" in html
    assert "<svg" in html
