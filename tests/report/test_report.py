"""The page as a whole: self-contained, escaped, and complete whatever is missing."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gazeseg.errors import ConfigError, DataError
from gazeseg.report.report import write_report
from gazeseg.train.runfolder import RunFolder

RESOURCES = {"src", "href", "xlink:href", "srcset", "poster", "data", "action", "background"}
VOID = {"meta", "input", "br", "img", "hr", "link", "source", "circle", "line", "rect", "path", "polyline"}


class Page(HTMLParser):
    """Collects tags, attributes, visible text, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(runs: list[Path], out: Path, split: str = "test") -> tuple[str, Page]:
    """Write a report and parse it."""
    html = write_report(runs, out, split).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    return html, page


@pytest.fixture(scope="module")
def shared(make_world, tmp_path_factory) -> tuple[str, Page]:
    """The report of several methods and seeds."""
    world = make_world(tmp_path_factory.mktemp("world"))
    runs = [
        world.run("full_s0", method="full", error=0.6, supervised=True, status="baseline"),
        world.run("gms_s0", error=2),
        world.run("gms_s1", error=2, seed=1, missed=1),
        world.run("track_s0", method="gradtrack", error=4, status="reconstruction"),
    ]
    return report(runs, world.root / "out" / "report.html")


def test_asks_the_network_for_nothing(shared):
    html, page = shared
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        for name in RESOURCES & attributes.keys():
            value = attributes[name] or ""
            plain_link = tag == "a" and value.startswith("https://")
            assert value.startswith(("#", "data:")) or plain_link, (tag, name, value[:60])
        assert not any(name.startswith("on") for name in attributes)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style
    assert "url(" not in html
    assert not re.findall(r"https?://", style)
    assert len(html.encode()) < 6_000_000


def test_text_from_data_is_escaped(shared):
    html, page = shared
    assert "<script" not in html
    assert "<script>alert('x')</script> & Søn 01" in page.text
    assert "Phantom <polyps>" in page.text
    assert "<polyps>" not in html


def test_holds_every_section_and_every_link_has_a_target(shared):
    _, page = shared
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for _, a in page.tags if (a.get("href") or "").startswith("#")}
    assert targets <= set(ids)
    wanted = {"results", "cases", "failures", "data", "gaze", "pseudo", "training", "configuration", "environment"}
    assert wanted <= set(ids)


def test_headline_names_the_best_method_its_interval_and_the_bound(shared):
    _, page = shared
    assert re.search(
        r"gazemedseg reaches Dice 0\.\d{3} on 5 test cases, \d+ % of the fully supervised bound", page.text
    )
    assert re.search(r"95 % CI 0\.\d{3}–0\.\d{3} over cases", page.text)
    assert "Best of 2 methods that see no mask" in page.text


def test_shows_status_seeds_missed_cases_and_protocol(shared):
    html, page = shared
    assert '<span class="badge warn">reconstruction</span>' in html
    assert "Protocol: gazeseg" in page.text
    assert "HD95 (pooled)" in page.text
    assert "missed: nothing predicted" in page.text
    assert "1 of 2" in page.text  # one of the two seeds missed the case
    assert page.text.count("Wilcoxon p") == 1


def test_shows_best_median_and_worst_with_every_layer(shared):
    html, _ = shared
    for rank in ("best", "median", "worst"):
        assert html.count(f"<b>{rank}</b>") == 4  # three methods and the pseudo-masks
    for layer in ("truth", "prediction", "pseudo", "gaze"):
        assert f'class="layer {layer}"' in html


def test_each_image_is_stored_once(shared):
    html, page = shared
    symbols = [a["id"] for tag, a in page.tags if tag == "symbol"]
    uses = [a["href"] for tag, a in page.tags if tag == "use"]
    assert len(uses) > 3 * len(symbols)
    assert html.count("data:image/jpeg") == len(symbols)


def test_configuration_and_environment_are_there(shared):
    _, page = shared
    assert "momentum: 0.99" in page.text
    assert "python: 3.11.9" in page.text
    assert "full_s0, gms_s0, gms_s1, track_s0" in page.text  # one environment for all


def test_simulated_gaze_is_marked_wherever_it_counts(make_world, tmp_path):
    world = make_world(tmp_path, gaze="simulated", train=3, test=3)
    html, page = report([world.run()], tmp_path / "r.html")
    assert page.text.count("simulated gaze (uses ground truth)") >= 4  # head, headline, data, gaze, pseudo-masks
    assert '<span class="badge warn">simulated gaze (uses ground truth)</span>' in html


def test_what_simulated_gaze_gives_away_stands_beside_a_method_that_saw_masks_too(make_world, tmp_path):
    world = make_world(tmp_path, gaze="simulated", train=3, test=3)
    folder = RunFolder(world.run("semi", method="hg_dtgl", supervised=True, labelled=0.5))
    leak = "heatmap Dice with the truth 0.64 / 0.71 at 0.2 / 0.5"
    folder.write_task(dataclasses.replace(folder.task(), gaze_leak=leak))
    plain = world.run("plain", method="bcp", supervised=True, labelled=0.5, gaze="none", error=4.0)
    html, page = report([folder.path, plain], tmp_path / "r.html")
    assert html.count(f'<span class="badge warn">simulated gaze (uses ground truth); {leak}</span>') == 1
    assert "Learned from masks and simulated gaze (uses ground truth)." in page.text
    assert page.text.count("masks and simulated gaze (uses ground truth)") == 2  # headline and training


def test_one_run_has_no_test_and_no_spread(world):
    _, page = report([world.run()], world.root / "r.html")
    assert "Wilcoxon p" not in page.text
    assert "bound" not in page.text.split("Results")[0]


def test_run_without_evaluation_says_how_to_make_one(world):
    run = world.run(split=None)
    _, page = report([run], world.root / "r.html")
    assert "not evaluated yet" in page.text
    assert f"gazeseg evaluate {run} --split test" in page.text
    assert "Share of fixations inside the true mask" in page.text


def test_mixed_runs_keep_the_evaluated_ones(world):
    done, waiting = world.run("done"), world.run("waiting", split=None, seed=1)
    _, page = report([done, waiting], world.root / "r.html")
    assert "gazemedseg reaches Dice" in page.text
    assert f"Not evaluated on 'test', so without results: waiting. Run: gazeseg evaluate {waiting}" in page.text


def test_data_set_that_is_gone_leaves_results_standing(world):
    run = world.run()
    shutil.rmtree(world.dataset.root)
    html, page = report([run], world.root / "r.html")
    assert "gazemedseg reaches Dice" in page.text
    assert "The data set cannot be read, so images and gaze are not shown" in page.text
    assert "Training loss" in page.text
    assert "data:image" not in html


def test_images_that_moved_leave_results_standing(world):
    run = world.run()
    (world.root / "source").rename(world.root / "elsewhere")
    _, page = report([run], world.root / "r.html")
    assert "the folder of images" in page.text
    assert "gazemedseg reaches Dice" in page.text


def test_data_set_without_masks_has_no_truth(make_world, tmp_path):
    world = make_world(tmp_path, masks=False, train=3, test=3)
    html, page = report([world.run(split=None)], tmp_path / "r.html")
    assert "no masks, so it cannot be said where the gaze falls" in page.text
    assert "quality of its pseudo-masks is unknown" in page.text
    assert 'class="layer truth"' not in html


def test_pseudo_masks_that_are_gone_are_said(world):
    run = world.run()
    shutil.rmtree(world.dataset.root / "pseudo")
    html, page = report([run], world.root / "r.html")
    assert "make them with: gazeseg masks" in page.text
    assert 'class="layer prediction"' in html


def test_legacy_protocol_is_labelled(world):
    run = world.run(split="test-legacy")
    _, page = report([run], world.root / "r.html", "test-legacy")
    assert "Protocol: legacy (empty masks scored as in released code" in page.text
    _, page = report([world.run("plain", split=None)], world.root / "r.html", "test-legacy")
    assert "--split test --legacy" in page.text


def test_recorded_and_simulated_gaze_never_share_a_table(world):
    runs = [
        world.run("rec"),
        world.run("sim", seed=1, gaze="simulated", method="gaze_unet"),
        world.run("bound", method="full", gaze="none", supervised=True),
    ]
    html, page = report(runs, world.root / "r.html")
    assert html.count('<table class="results">') == 2
    assert "recorded gaze" in page.text
    assert page.text.count("Configuration") == 2  # the link and the heading
    assert html.count("<details>") == 3 + 1  # each run's configuration once, and one environment


def test_runs_that_cannot_be_compared_stand_alone_with_a_note(world):
    first, second = world.run("a"), world.run("b")  # the same configuration and seed twice
    html, page = report([first, second], world.root / "r.html")
    assert "Not compared:" in page.text
    assert html.count('<table class="results">') == 2


def test_several_classes_have_contours_of_their_own(make_world, tmp_path):
    world = make_world(tmp_path, classes=3, train=2, test=2)
    html, page = report([world.run(missed=1)], tmp_path / "r.html")
    assert "<title>truth rim</title>" in html
    assert "<title>prediction core</title>" in html
    assert "Class" in page.text


def test_a_method_that_saw_some_masks_is_no_bound(world):
    runs = [world.run(), world.run("semi", method="semi", error=0.5, supervised=True, labelled=0.5)]
    _, page = report(runs, world.root / "r.html")
    assert "fully supervised bound" not in page.text
    assert "saw masks" in page.text


def test_same_run_twice_is_one(world):
    run = world.run()
    _, page = report([run, run], world.root / "r.html")
    assert "Not compared" not in page.text


def test_errors_are_the_users_and_leave_no_page(world):
    with pytest.raises(ConfigError, match="no run given"):
        write_report([], world.root / "r.html")
    with pytest.raises(DataError, match="no run folder"):
        write_report([world.root], world.root / "r.html")
    run = world.run()
    blocked = world.root / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report([run], blocked / "r.html")
    (run / "evaluation/test/summary.json").write_text("{")
    with pytest.raises(DataError, match="broken JSON"):
        write_report([run], world.root / "r.html")
    assert not list(world.root.glob("*r.html*"))


def test_never_loads_torch():
    code = (
        "import sys, gazeseg.report.report, gazeseg.report.overlays, gazeseg.report.sheets\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
