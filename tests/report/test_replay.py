"""The replay: the page holds the table's rows exactly, asks for nothing, and cannot be broken by a name."""

import csv
import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gazeseg.report import replay
from gazeseg.report.overlays import data_uri
from gazeseg.report.reading import load_reading

from .conftest import EVIL


class _Page(HTMLParser):
    """Collects attributes, and the text of the script that holds the data."""

    def __init__(self, html):
        super().__init__()
        self.data, self.rows, self.links, self._inside = "", 0, [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self._inside = found.get("id") == "reading"
        self.rows += tag == "tr"
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data):
        if self._inside:
            self.data += data

    def handle_endtag(self, tag):
        self._inside = False


@pytest.fixture
def page(world, tmp_path):
    path = replay.replay_html(load_reading(world.dataset, EVIL), tmp_path / "out" / "replay.html")
    assert [file.name for file in path.parent.iterdir()] == ["replay.html"]
    return path.read_text(encoding="utf-8")


def test_the_fixations_of_the_page_are_the_rows_of_the_table(world, page):
    with (world.dataset.root / "gaze" / "fixations.csv").open(encoding="utf-8") as stream:
        table = [row for row in csv.DictReader(stream) if row["case_id"] == EVIL]
    found = json.loads(_Page(page).data)
    names = ("x_px", "y_px", "onset_ms", "duration_ms")
    assert [[fix[n] for n in names] for fix in found["fixations"]] == [[float(row[n]) for n in names] for row in table]
    assert found["case_id"] == EVIL
    assert _Page(page).rows == len(table) + 1  # and the list beside the picture has a row each, under a header


def test_the_page_asks_the_network_for_nothing(page):
    assert not re.search(r"https?://|//[a-z]|url\((?!data:)|@import|\bfetch\(|XMLHttpRequest|WebSocket", page)
    assert _Page(page).links == []
    assert "default-src 'none'" in page  # and a browser would refuse it
    assert json.loads(_Page(page).data)["image"].startswith("data:image/jpeg;base64,")


def test_a_name_cannot_break_out(page):
    assert "<script>alert" not in page
    assert page.count("</script>") == 2


def test_truth_and_places_are_those_of_the_reading(world, page):
    reading, found = load_reading(world.dataset, EVIL), json.loads(_Page(page).data)
    assert [fix["inside"] for fix in found["fixations"]] == reading.inside.tolist()
    [outline] = found["truth"]
    rows, columns = np.nonzero(reading.truth)
    x, y = np.array(outline).T
    assert [x.min(), x.max(), y.min(), y.max()] == pytest.approx(
        [columns.min() - 0.5, columns.max() + 0.5, rows.min() - 0.5, rows.max() + 0.5]
    )
    assert found["image"] == data_uri(reading.image, replay.SIDE)


def test_without_masks_the_page_says_nothing_of_truth(make_world, tmp_path):
    made = make_world(tmp_path, masks=False, train=3, test=1)
    path = replay.replay_html(load_reading(made.dataset, "case 00"), tmp_path / "replay.html")
    html = path.read_text(encoding="utf-8")
    assert 'id="truth"' not in html
    assert "In mask" not in html
    assert json.loads(_Page(html).data)["truth"] == []


def test_simulated_gaze_carries_its_mark(make_world, tmp_path):
    made = make_world(tmp_path, gaze="simulated", train=3, test=1)
    path = replay.replay_html(load_reading(made.dataset, "case 00"), tmp_path / "replay.html")
    assert "badge warn" in path.read_text(encoding="utf-8")


def test_gif_plays_in_real_time_and_ends_with_the_whole_scanpath(world, tmp_path):
    reading = load_reading(world.dataset, "case 04")
    picture = Image.open(replay.replay_gif(reading, tmp_path / "a.gif"))
    lasts = []
    for index in range(picture.n_frames):
        picture.seek(index)
        lasts.append(picture.info["duration"])
    assert sum(lasts[:-1]) / 1000 == pytest.approx(reading.figures.span_ms / 1000, abs=0.25)
    assert picture.width / picture.height == pytest.approx(96 / 72, rel=0.02)
    changed = []
    for index in range(0, picture.n_frames, 5):
        picture.seek(index)
        changed.append(np.asarray(picture.convert("RGB"), dtype=int))
    assert all(np.abs(b - a).max() > 20 for a, b in itertools.pairwise(changed))
