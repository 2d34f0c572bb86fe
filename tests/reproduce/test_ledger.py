import re

import pytest

from gazeseg.config import merge
from gazeseg.errors import DataError
from gazeseg.evaluate.compare import compare_runs
from gazeseg.reproduce.ledger import gather
from gazeseg.reproduce.page import render, write_ledger
from gazeseg.reproduce.recipe import find_recipe
from gazeseg.reproduce.result import read_result

GAZE = find_recipe("kvasir/gaze_unet").config("cpu-small")
FULL = find_recipe("kvasir/full").config("cpu-small")


@pytest.fixture
def runs(make_run, tmp_path):
    """Two seeds of a recipe, a bound, a simulated run, a control and a run of another data set."""
    folder = tmp_path / "runs"
    for seed in (0, 1):
        make_run(folder / f"gaze{seed}", [0.6 + 0.1 * seed, 0.7], values=GAZE, seed=seed)
    make_run(folder / "full", [0.8, 0.9], values=FULL)
    make_run(folder / "simulated", [0.85, 0.9], values=GAZE, gaze="simulated")
    control = merge(GAZE, {"gaze": {"control": "shuffled_cases"}})
    make_run(folder / "control", [0.2, 0.3], values=control)
    make_run(folder / "other", [0.5, 0.6], values=GAZE, dataset="<b>other</b>")
    return folder


def test_kinds_of_gaze_never_share_a_table(runs):
    ledger = gather([runs])
    kinds = {(board.dataset, board.kind): [line.method for line in board.lines] for board in ledger.boards}
    assert kinds["Kvasir-SEG", "recorded"][:2] == ["full", "gaze_unet"]
    assert kinds["Kvasir-SEG", "simulated"] == ["gaze_unet"]
    assert kinds["Kvasir-SEG", "control"] == ["gaze_unet (gaze shuffled_cases)"]
    assert kinds["<b>other</b>", "recorded"] == ["gaze_unet"]
    assert sorted(len(result.seeds) for result in ledger.results) == [1, 1, 1, 1, 2]


def test_a_seed_and_a_copy_are_counted_once(runs, make_run, tmp_path):
    make_run(tmp_path / "copy" / "gaze0", [0.6, 0.7], values=GAZE, seed=0)
    assert len(gather([runs, tmp_path / "copy"]).results) == 5


def test_masks_of_another_hand_are_a_row_of_their_own_and_come_with_the_caution(make_run, tmp_path):
    values = merge(FULL, {"method": {"name": "gaze_prompt"}, "pseudo": {"source": "prompt"}})
    for folder, drawn_by, dice in (("first", "lite_medsam", 0.7), ("second", "lite_medsam and 2 students", 0.8)):
        there = merge(values, {"data": {"pseudo": str(tmp_path / folder)}})  # a path, which no result file holds
        make_run(tmp_path / "runs" / folder, [dice, dice], values=there, drawn_by=drawn_by)
    ledger = gather([tmp_path / "runs"])
    lines = [line for board in ledger.boards for line in board.lines if line.method == "gaze_prompt"]
    assert [(line.dice, line.learns_from) for line in lines] == [
        (0.8, "recorded gaze, masks by lite_medsam and 2 students"),
        (0.7, "recorded gaze, masks by lite_medsam"),
    ]
    assert all("may have seen public images" in page for page in (ledger.to_text(), render(ledger)))
    write_ledger(ledger, tmp_path / "out")
    assert gather([tmp_path / "out"]).to_text() == ledger.to_text()
    table = compare_runs([tmp_path / "runs" / folder for folder in ("first", "second")]).to_text()
    assert "masks of 'gaze_prompt (data.pseudo first)': by lite_medsam; the promptable model may have seen" in table


def test_what_it_writes_it_reads_again(runs, tmp_path):
    first = gather([runs])
    write_ledger(first, tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.result.json"))
    assert len(files) == 5
    assert {read_result(file).method for file in files} == {"full", "gaze_unet"}
    again = gather([tmp_path / "out"])
    assert sorted(map(repr, again.boards)) == sorted(map(repr, first.boards))


def test_the_page_escapes_and_asks_the_network_for_nothing(runs):
    page = render(gather([runs]))
    assert "<b>other</b>" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert "simulated" in page.lower()


def test_published_rows_stand_beside_the_published_split_only(runs, monkeypatch):
    from gazeseg.data import split
    from gazeseg.reproduce import result

    assert "GNAN" not in gather([runs]).to_text()
    monkeypatch.setattr(result, "split_checksum", lambda ids: find_recipe("kvasir/full").dataset.test.checksum)
    assert split.split_checksum(["a"]) != find_recipe("kvasir/full").dataset.test.checksum
    text = gather([runs]).to_text()
    assert "GazeMedSeg, MICCAI 2024" in text
    recorded, rest = text.split("Simulated gaze: drawn", 1)
    assert "AutoGazeSeg" in recorded
    assert "AutoGazeSeg" not in rest
    assert "not comparable: U-Net, one gaze mask 73.74 +- 0.94; another budget" in recorded


def test_nothing_found_is_said(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        gather([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="no result file"):
        gather([tmp_path])
