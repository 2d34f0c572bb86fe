"""Overlays: geometry of contours and fixations, and the PNG sheet."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from gazeseg.report import overlays
from gazeseg.report.overlays import Panel
from gazeseg.types import Fixations


def fixations(x: list[float], y: list[float], ms: list[float], size: tuple[int, int] = (40, 60)) -> Fixations:
    return Fixations(np.array(x), np.array(y), np.arange(len(x)) * 500.0, np.array(ms), size, "case")


def area(polygon: np.ndarray) -> float:
    """Shoelace formula."""
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def test_contour_of_a_square_lies_on_its_edge():
    mask = np.zeros((20, 30), bool)
    mask[5:10, 8:16] = True
    [line] = overlays.contour_lines(mask)
    assert line[:, 0].min() == pytest.approx(7.5)  # pixel centres lie at integers, so 8 begins at 7.5
    assert line[:, 0].max() == pytest.approx(15.5)
    assert line[:, 1].min() == pytest.approx(4.5)
    assert line[:, 1].max() == pytest.approx(9.5)
    assert area(line) == pytest.approx(5 * 8, abs=0.51)  # corners are cut


def test_contours_close_at_the_image_border_and_around_holes():
    mask = np.ones((12, 12), bool)
    mask[4:8, 4:8] = False
    lines = overlays.contour_lines(mask)
    assert len(lines) == 2
    assert sorted(area(line) for line in lines) == pytest.approx([16, 144], abs=0.51)
    assert all(np.allclose(line[0], line[-1]) for line in lines)


def test_no_contour_of_nothing_and_one_of_a_pixel():
    mask = np.zeros((5, 5), bool)
    assert overlays.contour_lines(mask) == []
    mask[2, 3] = True
    [line] = overlays.contour_lines(mask)
    assert line.mean(axis=0) == pytest.approx([3, 2], abs=0.3)


def test_circle_areas_are_proportional_to_duration():
    radii = overlays.fixation_radii(fixations([1, 2, 3], [1, 2, 3], [100, 400, 900]), 500)
    assert radii**2 / radii[0] ** 2 == pytest.approx([1, 4, 9])


def test_roles_keep_their_colours_and_levels_differ():
    styles = overlays.contour_styles(["pseudo 0.5", "pseudo 0.3", "truth", "prediction"])
    assert styles["truth"][0] == overlays.COLOURS["truth"]
    assert styles["prediction"][0] == overlays.COLOURS["prediction"]
    assert styles["pseudo 0.5"] != styles["pseudo 0.3"]


def test_panel_puts_fixations_and_contours_in_one_frame():
    image = np.zeros((40, 60, 1), np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[20, 30] = True
    panel = Panel(image, "gaze", fixations([30, 10], [20, 5], [300, 300]), None, {"truth": mask})
    root = ET.fromstring(overlays.panel_svg("image-0", panel))  # noqa: S314 - our own output
    assert root.get("viewBox") == "0 0 60 40"
    first, second = root.iter("circle")
    assert (float(first.get("cx")), float(first.get("cy"))) == (30.5, 20.5)  # corners as origin: centre + 0.5
    assert first.get("class") == "first"
    assert second.get("class") is None
    outline = next(path.get("d") for path in root.iter("path"))
    points = [tuple(map(float, part.split())) for part in outline.strip("MZ").split("L")]
    assert np.mean(points, axis=0) == pytest.approx([30.5, 20.5], abs=0.3)


def test_panel_escapes_names():
    panel = Panel(np.zeros((9, 9, 1), np.uint8), '"><script>', None, None, {"truth <b>": np.eye(9, dtype=bool)})
    svg = overlays.panel_svg("image-0", panel)
    assert "<script" not in svg
    assert "truth &lt;b&gt;" in svg


@pytest.mark.parametrize("channels", [1, 3])
def test_data_uri_keeps_the_aspect_and_the_size_limit(channels):
    image = np.full((300, 600, channels), 128, np.uint8)
    uri = overlays.data_uri(image, 200)
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert decoded.size == (200, 100)
    assert decoded.mode == "RGB"


def test_heat_is_transparent_where_nobody_looked():
    heat = np.zeros((20, 30), np.float32)
    heat[:, 15:] = 1
    uri = overlays.heat_uri(heat)
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))[..., 3]
    assert alpha[:, 0].max() == 0
    assert alpha[:, -1].min() > 200


@pytest.mark.parametrize("count", [1, 3, 6])
def test_sheet_shows_every_panel_and_one_legend(tmp_path, count):
    rng = np.random.default_rng(0)
    panels = []
    for index in range(count):
        mask = np.zeros((40, 60), bool)
        mask[10:30, 15:40] = True
        image = rng.integers(0, 255, (40, 60, 3 if index % 2 else 1), dtype=np.uint8)
        gaze = fixations([20, 30, 99], [15, 20, 99], [200, 300, 400]) if index else None
        heat = np.clip(rng.random((40, 60)), 0, 1).astype(np.float32) if index == 2 else None
        panels.append(Panel(image, f"case {index}", gaze, heat, {"truth": mask, "pseudo 0.5": mask}))
    path = overlays.overlay_sheet(panels, tmp_path / "new" / "sheet.png", columns=4, title="Phantom")
    picture = Image.open(path)
    picture.load()
    assert picture.width == round(3.3 * min(count, 4) * 120)
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]


def test_sheet_draws_the_truth_in_its_colour(tmp_path):
    mask = np.zeros((60, 60), bool)
    mask[15:45, 15:45] = True
    panel = Panel(np.zeros((60, 60, 1), np.uint8), "", None, None, {"truth": mask})
    pixels = np.asarray(Image.open(overlays.overlay_sheet([panel], tmp_path / "s.png")).convert("RGB")).astype(int)
    wanted = [int(overlays.COLOURS["truth"][k : k + 2], 16) for k in (1, 3, 5)]
    assert (np.abs(pixels - wanted).max(axis=-1) < 12).sum() > 100


def test_dollars_in_names_are_no_formulas(tmp_path):
    panel = Panel(np.zeros((9, 9, 1), np.uint8), "$\\oops$ $", None, None, {"truth $\\x$": np.eye(9, dtype=bool)})
    assert overlays.overlay_sheet([panel], tmp_path / "s.png", title="$\\frac$").is_file()


def test_sheet_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one panel"):
        overlays.overlay_sheet([], tmp_path / "s.png")
