"""The verbs inspect and explain, from the command line."""

import pytest
from PIL import Image

from gazeseg.cli import main
from gazeseg.report import explain, scanpath

from .test_verbs import BUDGET


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(explain, "DPI", 40)  # nobody looks at these figures
    monkeypatch.setattr(scanpath, "DPI", 40)


@pytest.fixture
def dataset(lab, tmp_path):
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    return tmp_path / "ds"


def test_inspect_writes_figure_replay_and_animation(dataset, tmp_path, capsys):
    assert main(["inspect", str(dataset), "scan 3é", "--out", str(tmp_path / "o"), "--gif"]) == 0
    names = sorted(path.suffix for path in (tmp_path / "o").iterdir())
    assert names == [".gif", ".html", ".png"]
    assert "3 fixations" in capsys.readouterr().out
    assert main(["inspect", str(dataset), "scan 3é"]) == 0
    assert len(list((dataset / "readings").iterdir())) == 2


def test_inspect_names_the_nearest_case_and_says_what_is_missing(lab, refused, tmp_path):
    lab.write_gaze([f"{lab.names[0]},r1,0.5,0.5,0,250"])
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    assert "did you mean 'scan 3é'" in refused(["inspect", str(tmp_path / "ds"), "scan 3e"])
    assert "case 'scan 3é' has no fixation" in refused(["inspect", str(tmp_path / "ds"), "scan 3é"])
    assert not (tmp_path / "ds" / "readings").exists()


def test_inspect_refuses_two_readers_in_one_line(dataset, refused):
    with (dataset / "gaze" / "fixations.csv").open("a", encoding="utf-8") as stream:
        stream.write("scan 3é,r2,9,9,900,200\n")
    line = refused(["inspect", str(dataset), "scan 3é"])
    assert "2 readers" in line
    assert "fixations.csv" in line


def test_explain_draws_a_trained_run(dataset, tmp_path, capsys, refused):
    assert main(["masks", str(dataset), "--crf.mode", "off"]) == 0
    run = tmp_path / "run"
    assert main(["train", "--method", "gradtrack", "--data", str(dataset), "--out", str(run), *BUDGET]) == 0
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()
    assert main(["explain", str(run), "scan 7é"]) == 0
    figure = capsys.readouterr().out.strip().removeprefix("figure: ")
    picture = Image.open(figure)
    assert picture.height > picture.width / 2
    assert [path.name for path in (run / "explain").iterdir()] == [figure.rpartition("/")[2]]
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 2  # the best and the worst of two test cases
    assert "did you mean 'scan 7é'" in refused(["explain", str(run), "scan 7e"])
    assert "no run folder" in refused(["explain", str(dataset), "scan 7é"])
