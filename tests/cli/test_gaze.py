import json

import numpy as np
import pytest
from PIL import Image

from gazeseg.cli import main
from gazeseg.data.dataset import Dataset
from gazeseg.gaze.signals import Tracker, simulate_recording

PPD = 40.0


@pytest.fixture
def dataset(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for case in ("one", "two"):
        Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(pictures / f"{case}.png")
    assert main(["import", "folder", "--images", str(pictures), "--out", str(tmp_path / "ds")]) == 0
    return tmp_path / "ds"


def asc(path, cases=("one", "two"), seed=0):
    """Two images fitted to 1200 x 800: four screen px to an image px."""
    lines = ["** CONVERTED FROM a.edf", "MSG\t1 DISPLAY_COORDS 0 0 1199 799"]
    clock = 1000
    for case in cases:
        x, y = np.array([200.0, 600, 1000]), np.array([200.0, 600, 300])
        recording, _ = simulate_recording(
            x, y, np.full(3, 300.0), Tracker(250, 0.5), PPD, np.random.default_rng(seed), start_ms=clock
        )
        lines += [f"MSG\t{clock - 5} TRIALID {case}.png", f"START\t{clock - 4}\tLEFT\tSAMPLES\tEVENTS"]
        samples = zip(recording.time_ms, recording.x_px, recording.y_px, strict=True)
        lines += [f"{t:.0f}\t{a:.1f}\t{b:.1f}\t900.0\t..." for t, a, b in samples]
        clock = round(float(recording.time_ms[-1])) + 100
        lines += [f"END\t{clock - 90}\tSAMPLES\tEVENTS"]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_recording_becomes_fixations_and_a_page(tmp_path, dataset, capsys):
    file = asc(tmp_path / "anna.asc")
    status, out, err = run(
        capsys, "gaze", "import", file, "--data", dataset, "--screen-cm", "36x24", "--distance-cm", "60"
    )
    assert status == 0, err
    assert "6 fixations on 2 cases" in out
    assert "eyelink, 2 viewings" in err
    assert "fit, on 1200 x 800 px (the file does not say)" in err
    data = Dataset.load(dataset)
    assert data.info.gaze.kind == "recorded"
    fix = data.fixations["two"]
    assert fix.reader_id == "anna"
    np.testing.assert_allclose(fix.x_px, (np.array([200, 600, 1000]) + 0.5) / 4 - 0.5, atol=0.25)
    np.testing.assert_allclose(fix.y_px, (np.array([200, 600, 300]) + 0.5) / 4 - 0.5, atol=0.25)
    report = json.loads((dataset / "gaze" / "quality.json").read_text())
    assert [row["case_id"] for row in report["readings"]] == ["one", "two"]
    assert report["readings"][0]["warnings"] == []
    assert report["readings"][0]["loss"] == 0
    page = (dataset / "gaze" / "quality.html").read_text()
    assert "anna.asc" in page
    assert "EyeLink 1000 (user manual" in page
    assert "http" not in page.replace('http-equiv="', "")  # nothing is loaded from elsewhere


def test_the_gaze_of_another_folder_comes_back_bit_for_bit(tmp_path, dataset, capsys):
    assert run(capsys, "gaze", "import", asc(tmp_path / "anna.asc"), "--data", dataset)[0] == 0
    before = (dataset / "gaze" / "fixations.csv").read_bytes()
    (tmp_path / "kept.csv").write_bytes(before)
    status, _, err = run(capsys, "gaze", "import", tmp_path / "kept.csv", "--data", dataset, "--conflict", "replace")
    assert status == 0, err
    assert "fixations in px of the image" in err
    assert (dataset / "gaze" / "fixations.csv").read_bytes() == before


def test_a_second_reader_needs_a_decision(tmp_path, dataset, capsys):
    files = asc(tmp_path / "anna.asc"), asc(tmp_path / "ben.asc", seed=1)
    assert run(capsys, "gaze", "import", files[0], "--data", dataset)[0] == 0
    status, _, err = run(capsys, "gaze", "import", files[1], "--data", dataset)
    assert status == 2
    assert "case 'one' has gaze of reader 'anna' already" in err
    assert len(Dataset.load(dataset).fixations["one"]) == 3
    assert run(capsys, "gaze", "import", files[1], "--data", dataset, "--conflict", "keep")[0] == 0
    assert Dataset.load(dataset).fixations["one"].reader_id == "anna"
    assert run(capsys, "gaze", "import", files[1], "--data", dataset, "--conflict", "merge")[0] == 0
    merged = Dataset.load(dataset).fixations["one"]
    assert (merged.reader_id, len(merged)) == ("anna+ben", 6)
    assert run(capsys, "gaze", "import", files[1], "--data", dataset, "--conflict", "replace")[0] == 0
    assert Dataset.load(dataset).fixations["one"].reader_id == "ben"
    report = json.loads((dataset / "gaze" / "quality.json").read_text())
    assert [row["file"] for row in report["files"]] == ["ben.asc"]
    one = asc(tmp_path / "cleo.asc", cases=("one",))
    assert run(capsys, "gaze", "import", one, "--data", dataset, "--conflict", "replace")[0] == 0
    report = json.loads((dataset / "gaze" / "quality.json").read_text())
    assert [(row["case_id"], row["file"]) for row in report["readings"]] == [("two", "ben.asc"), ("one", "cleo.asc")]
    status, _, err = run(capsys, "gaze", "import", *files, "--data", dataset, "--conflict", "replace")
    assert status == 2
    assert "'anna' (anna.asc) and 'ben' (ben.asc)" in err


def test_a_table_that_the_recorder_writes_is_not_touched(tmp_path, dataset, capsys):
    (dataset / "record").mkdir()
    status, _, err = run(capsys, "gaze", "import", asc(tmp_path / "anna.asc"), "--data", dataset)
    assert status == 2
    assert "recorded by gazeseg" in err
    assert not len(Dataset.load(dataset).fixations.get("one", ()))


def test_what_is_wrong_is_said_in_one_line(tmp_path, dataset, capsys):
    other = asc(tmp_path / "anna.asc", cases=("x", "y"))
    for arguments, expected in (
        ((), "no file"),
        ((other,), "no message names a case of the data set"),
        ((other, "--image", "three"), "no case 'three'"),
        ((other, "--screen", "wide"), "give WIDTHxHEIGHT"),
    ):
        status, _, err = run(capsys, "gaze", "import", *arguments, "--data", dataset)
        assert status == 2
        assert expected in err
        assert len(err.strip().splitlines()) == 1
    assert not (dataset / "gaze" / "quality.json").exists()


def test_bids_goes_out_and_comes_back(tmp_path, dataset, capsys):
    file = asc(tmp_path / "anna.asc")
    out = tmp_path / "bids"
    status, text, err = run(capsys, "gaze", "bids", file, "--data", dataset, "--out", out)
    assert status == 0, err
    assert "1 recordings" in text
    assert run(capsys, "gaze", "import", file, "--data", dataset)[0] == 0
    first = Dataset.load(dataset).fixations
    physio = next(out.rglob("*_physio.tsv.gz"))
    assert run(capsys, "gaze", "import", physio, "--data", dataset, "--conflict", "replace")[0] == 0
    back = Dataset.load(dataset).fixations
    for case in ("one", "two"):
        np.testing.assert_allclose(back[case].x_px, first[case].x_px)
        assert back[case].onset_ms.tolist() == first[case].onset_ms.tolist()


def test_a_table_of_views_names_the_images(tmp_path, dataset, capsys):
    file = asc(tmp_path / "anna.asc", cases=("x",))
    views = tmp_path / "views.csv"
    views.write_text("time_ms,image,left_px,top_px,width_px,height_px\n0,one,0,0,1200,800\n9000,,,,,\n")
    status, _, err = run(capsys, "gaze", "import", file, "--data", dataset, "--views", views)
    assert status == 0, err
    assert "images and their places from views.csv" in err
    np.testing.assert_allclose(
        Dataset.load(dataset).fixations["one"].x_px, (np.array([200, 600, 1000]) + 0.5) / 4 - 0.5, atol=0.25
    )
