"""Bad input through the command line: one line that says what, where and the fix; status 2; nothing half-written."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gazeseg.cli import main
from gazeseg.data.dataset import Dataset

GOOD = "scan 0é,r1,0.5,0.5,0,250"


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("case_id,reader_id,x,y,onset_ms,duraton_ms", GOOD, ["duration_ms", "duraton_ms"]),
        (None, "scan 0é,r1,1.5,0.5,0,250", ["x", "1.5", "row 2"]),
        (None, "scan 0é,r1,nan,0.5,0,250", ["x", "nan", "row 2"]),
        (None, "scan 0é,r1,0.5,0.5,0,0", ["duration", "row 2"]),
        (None, "scan 0é,r1,0.5,0.5,0,-3", ["duration", "-3"]),
        (None, "scan 0e,r1,0.5,0.5,0,250", ["scan 0e", "did you mean 'scan 0é'"]),
    ],
    ids=["misspelt column", "off the unit square", "NaN", "zero duration", "negative duration", "unknown image"],
)
def test_a_broken_gaze_table_is_refused(lab, refused, tmp_path, header, row, said):
    lab.write_gaze([row], header or lab.header)
    line = refused(lab.import_arguments(tmp_path / "ds"))
    assert str(lab.gaze) in line
    for word in said:
        assert word.lower() in line.lower()
    assert not (tmp_path / "ds").exists()
    assert [path for path in tmp_path.iterdir() if path != lab.root] == []


def test_an_image_without_gaze_is_kept_listed_and_adds_nothing(lab, tmp_path, capsys):
    lab.write_gaze([f"{name},r1,0.5,0.5,0,250" for name in lab.names[1:]])
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    assert main(["check", str(tmp_path / "ds")]) == 0
    assert "scan 0é" in capsys.readouterr().out
    assert len(Dataset.load(tmp_path / "ds").cases) == 8


def test_one_fixation_makes_a_mask_and_gaze_off_the_image_makes_none(lab, tmp_path):
    rows = [f"{name},r1,23.5,19.5,0,250" for name in lab.names[1:]]
    lab.write_gaze(["scan 0é,r1,-400,19.5,0,250", *rows], "case_id,reader_id,x_px,y_px,onset_ms,duration_ms")
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    assert main(["masks", str(tmp_path / "ds")]) == 0
    from gazeseg.data.pseudo import PseudoFolder

    folder = PseudoFolder.load(tmp_path / "ds" / "pseudo")
    assert folder.levels("scan 0é").max() == 0
    assert folder.levels("scan 1é")[0, 19:21, 23:25].min() == 1


def test_a_truncated_jpeg_is_named(lab, refused, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    victim = lab.images / "scan 3é.png"
    victim.unlink()
    Image.fromarray(noise).save(lab.images / "scan 3é.jpg", quality=95)
    content = (lab.images / "scan 3é.jpg").read_bytes()
    (lab.images / "scan 3é.jpg").write_bytes(content[: len(content) // 2])
    assert main(lab.import_arguments(tmp_path / "ds")) in (0, 2)
    line = refused(
        ["masks", str(tmp_path / "ds")] if (tmp_path / "ds").exists() else lab.import_arguments(tmp_path / "ds")
    )
    assert "scan 3é.jpg" in line


def test_a_mask_of_another_size_is_refused(lab, refused, tmp_path):
    Image.new("L", (20, 10)).save(lab.masks / "scan 2é.png")
    assert main(lab.import_arguments(tmp_path / "ds")) in (0, 2)
    line = refused(
        ["check", str(tmp_path / "ds")] if (tmp_path / "ds").exists() else lab.import_arguments(tmp_path / "ds")
    )
    assert "scan 2é" in line
    assert "10 x 20" in line
    assert "40 x 48" in line


def test_overlapping_splits_are_refused(lab, refused, tmp_path):
    (lab.splits / "test.txt").write_text("\n".join(lab.names[5:]), encoding="utf-8")
    line = refused(lab.import_arguments(tmp_path / "ds"))
    assert "scan 5é" in line
    assert not (tmp_path / "ds").exists()


def test_a_patient_in_two_splits_is_refused(lab, refused, tmp_path):
    patients = lab.root / "patients.csv"
    rows = [f"{name},p{k % 4}" for k, name in enumerate(lab.names)]
    patients.write_text("\n".join(["case_id,patient_id", *rows]), encoding="utf-8")
    arguments = [*lab.import_arguments(tmp_path / "ds"), "--patients", str(patients)]
    line = refused(arguments)
    assert "patient 'p" in line
    assert not (tmp_path / "ds").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "did you mean 'train'"),
        (["import", "kvasir"], "did you mean 'kvasir-seg'"),
        (["train", "--method", "gazemedsge", "--data", "DS", "--out", "RUN"], "did you mean 'gazemedseg'"),
        (["train", "--method", "full", "--data", "DS", "--out", "RUN", "--train.iteration", "3"], "'iterations'"),
        (["train", "--method", "full", "--data", "DS", "--out", "RUN", "--method.lvel", "3"], "lvel"),
        (["train", "--metod", "full", "--out", "RUN"], "did you mean '--method'"),
        (["masks", "DS", "--crf.mod", "fast"], "did you mean 'mode'"),
        (["methods", "ful"], "did you mean 'full'"),
        (["evaluate", "RUN", "--split", "tset"], ""),
    ],
)
def test_unknown_names_bring_the_nearest_known_one(lab, refused, tmp_path, monkeypatch, arguments, said):
    main(lab.import_arguments(tmp_path / "DS"))
    monkeypatch.chdir(tmp_path)
    assert said in refused(arguments)
    assert not (tmp_path / "RUN").exists()


def test_a_moved_data_set_says_which_folder_is_gone(lab, refused, tmp_path):
    main(lab.import_arguments(tmp_path / "ds"))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "ds", tmp_path / "elsewhere" / "ds")
    assert main(["masks", str(tmp_path / "elsewhere" / "ds")]) == 0  # the images are where they were
    shutil.move(lab.images, tmp_path / "moved images")
    line = refused(["masks", str(tmp_path / "elsewhere" / "ds")])
    assert "images" in line
    assert "dataset.yaml" in line


def test_a_data_set_moved_together_with_its_images_works(lab, tmp_path):
    (tmp_path / "a").mkdir()
    shutil.move(lab.root, tmp_path / "a" / "lab")
    moved = type(lab)(tmp_path / "a" / "lab")
    main(moved.import_arguments(tmp_path / "a" / "ds"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert main(["check", str(tmp_path / "b" / "ds")]) == 0


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(lab, tmp_path):
    """A file size limit fails a write as a full disk does, and root has to obey it too."""
    data = _imported(lab, tmp_path)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
    code = f"{limit} import sys; from gazeseg.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "check", str(data), "--out", str(tmp_path / "check.json")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "MPLCONFIGDIR": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "check." in done.stderr.splitlines()[-1]
    assert not (tmp_path / "check.json").exists()
    assert [path.name for path in [*data.iterdir(), *tmp_path.iterdir()] if ".tmp" in path.name] == []


def test_an_output_folder_that_cannot_be_made_is_named(lab, refused, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    line = refused(lab.import_arguments(blocker / "ds"))  # below a file: nobody may write there, root included
    assert str(blocker) in line


def _imported(lab, tmp_path):
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    return tmp_path / "ds"
