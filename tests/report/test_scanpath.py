"""The scanpath figure: as many circles, lines and bars as the table has rows, and numbers that do not overlap."""

import itertools

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from PIL import Image

from gazeseg.gaze.scanpath import end_ms
from gazeseg.report import scanpath
from gazeseg.report.overlays import fixation_radii
from gazeseg.report.reading import load_reading


@pytest.fixture
def reading(world):
    return load_reading(world.dataset, "case 03")


def test_every_fixation_is_a_circle_at_its_place_and_every_saccade_a_line(reading):
    axes = Figure().add_subplot()
    written = scanpath.draw_scanpath(axes, reading, points_per_px=5)
    fix = reading.fixations
    [circles] = [item for item in axes.collections if isinstance(item, EllipseCollection)]
    np.testing.assert_array_equal(circles.get_offsets(), np.stack([fix.x_px, fix.y_px], axis=1))
    np.testing.assert_allclose(circles.get_widths() / 2, fixation_radii(fix, 96))
    lines = [item for item in axes.collections if isinstance(item, LineCollection)]
    assert [len(item.get_segments()) for item in lines] == [len(fix) - 1] * 2  # a halo and the line
    assert written == len(axes.texts) == len(fix)  # there is room for all
    assert [text.get_text() for text in axes.texts] == [str(k + 1) for k in range(len(fix))]


@pytest.mark.parametrize("count", [1, 5, 60])
def test_labels_never_overlap_and_the_ends_come_first(count):
    rng = np.random.default_rng(count)
    points, radii = rng.uniform(20, 80, (count, 2)), rng.uniform(1, 4, count)
    places = scanpath.place_labels(points, radii, np.full(count, 4.0), 3.0, bounds=(100, 100))
    found = np.array([place for place in places if place is not None])
    assert places[0] == tuple(points[0])
    assert places[-1] is not None
    apart = np.abs(found[:, None] - found[None])
    overlap = (apart[..., 0] < 4 - 1e-9) & (apart[..., 1] < 3 - 1e-9)
    assert not (overlap & ~np.eye(len(found), dtype=bool)).any()
    assert len(found) >= min(count, 45)


def test_time_axis_has_a_bar_a_fixation_in_the_lane_of_its_place(reading):
    axes = Figure().add_subplot()
    scanpath._time_axis(axes, reading)
    fix = reading.fixations
    assert len(axes.patches) == len(fix)
    widths = [bar.get_width() for bar in axes.patches]
    lefts = [bar.get_x() for bar in axes.patches]
    np.testing.assert_allclose(widths, fix.duration_ms / 1000)
    np.testing.assert_allclose(lefts, (fix.onset_ms - fix.onset_ms[0]) / 1000)
    upper = [bar.get_y() > 0.5 for bar in axes.patches]
    assert upper == reading.inside.tolist()


def test_heat_grows_to_its_maximum_at_the_end(reading):
    found = scanpath.growing(reading)
    assert [count for _, count, _ in found] == sorted(count for _, count, _ in found)
    assert found[-1][1] == len(reading.fixations)
    span = (end_ms(reading.fixations) - reading.fixations.onset_ms[0]) / 1000
    assert [seconds for seconds, _, _ in found] == pytest.approx([share * span for share in (0.25, 0.5, 0.75, 1)])
    assert found[-1][2].max() == pytest.approx(1)
    assert all((b >= a).all() for (_, _, a), (_, _, b) in itertools.pairwise(found))


def test_colour_runs_from_light_to_dark():
    colours = scanpath.TIME_MAP(np.linspace(0, 1, 50))[:, :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < 0).all()


@pytest.mark.parametrize("options", [{}, {"masks": False}])
def test_figure_is_written_whole(make_world, tmp_path, options):
    made = make_world(tmp_path, train=3, test=1, **options)
    path = scanpath.scanpath_figure(load_reading(made.dataset, "case 00"), tmp_path / "new" / "a.png")
    picture = Image.open(path)
    picture.load()
    assert min(picture.size) > 600
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]
