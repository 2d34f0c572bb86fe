"""Each tutorial from top to bottom, as its reader types it, with fewer images and shorter trainings."""

import csv
import functools
import re
import sys

import numpy as np
import pytest
from pages import ROOT, run_page
from PIL import Image

from gazeseg.ablate.job import Job
from gazeseg.data import synthetic
from gazeseg.data.dataset import Dataset
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.methods import available

TUTORIALS = ROOT / "docs" / "tutorials"
pytestmark = pytest.mark.slow


class Ended:
    """A run of a grid that ended well."""

    def poll(self) -> int:
        return 0


def run_here(job: Job) -> Ended:
    """Run a cell of a grid in this process, where torch is loaded already."""
    job.run()
    return Ended()


@pytest.fixture
def walk(tmp_path, monkeypatch, capsys):
    """Run a tutorial in an empty folder; return the folder, the commands and what they printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    few = functools.partial(make_demo_dataset, cases=12, size=(48, 48))
    monkeypatch.setattr(synthetic, "make_demo_dataset", few)
    monkeypatch.setattr(Job, "start", run_here)

    def run(name: str):
        done = run_page(TUTORIALS / name, tmp_path, case="mr-04_1")
        return tmp_path, done, capsys.readouterr().out

    return run


def lay_out_kvasir(folder):
    """Generated images under the names that Kvasir-SEG and GazeMedSeg use."""
    made = make_demo_dataset(folder / "generated", cases=12, size=(48, 48))
    for name in ("images", "masks", "lists"):
        (folder / name).mkdir()
    rows = []
    for case in made.cases:
        Image.open(case.image).save(folder / "images" / f"{case.case_id}.jpg")
        Image.open(case.mask).convert("RGB").save(folder / "masks" / f"{case.case_id}.jpg")
        gaze, (height, width) = made.fixations[case.case_id], case.size
        for index, (x, y, onset, duration) in enumerate(
            zip(gaze.x_px, gaze.y_px, gaze.onset_ms, gaze.duration_ms, strict=True)
        ):
            rows.append([f"{case.case_id}.jpg", index, (x + 0.5) / width, (y + 0.5) / height, duration, onset])
    header = [
        "IMAGE",
        "CURRENT_FIX_INDEX",
        "CURRENT_FIX_X",
        "CURRENT_FIX_Y",
        "CURRENT_FIX_DURATION",
        "CURRENT_FIX_START",
    ]
    with (folder / "kvasir_fixation.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    for split, wanted in (("train", ("train", "val")), ("test", ("test",))):
        ids = [case.case_id for case in made.cases if case.split in wanted]
        (folder / "lists" / f"{split}.txt").write_text("\n".join(ids), encoding="utf-8")
    (folder / "configs").symlink_to(ROOT / "configs")


def test_researcher(walk, tmp_path):
    lay_out_kvasir(tmp_path)
    folder, done, printed = walk("researcher.md")
    assert len(done) > 15
    assert re.search(r"gaze_unet .*\| baseline", printed)
    assert "p: paired Wilcoxon on the Dice of the same cases" in printed
    assert "gaze_partial" in (folder / "report.html").read_text(encoding="utf-8")
    table = (folder / "grid" / "table.md").read_text(encoding="utf-8")
    assert "gaze_unet" in table
    assert "gaze_partial" in table
    assert (folder / "kvasir_runs" / "gms_0" / "evaluation" / "test" / "summary.json").is_file()


def test_clinical_lab(walk, monkeypatch):
    pytest.importorskip("highdicom", reason='pip install "gazeseg[medical]"')
    nibabel = pytest.importorskip("nibabel", reason='pip install "gazeseg[medical]"')
    server = pytest.importorskip("gazeseg.record.server", reason='pip install "gazeseg[web]"')
    pydicom = pytest.importorskip("pydicom", reason='pip install "gazeseg[medical]"')
    served = []
    monkeypatch.setattr(server, "serve", lambda app, *, port=0: served.append(app))  # nobody is there to stop it
    folder, _, _ = walk("clinical-lab.md")
    assert len(served) == 2
    clinic = Dataset.load(folder / "clinic")
    assert all(case.mask is None for case in clinic.cases)
    assert (folder / "clinic" / "gaze" / "quality.html").is_file()
    assert len(list((folder / "new_masks").glob("*.png"))) == len(clinic.cases)
    rows = (folder / "new_masks" / "review.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + len(clinic.cases)
    [mask] = (folder / "hospital_masks").rglob("*.nii.gz")
    [seg] = (folder / "hospital_masks").rglob("*.dcm")
    source = nibabel.load(folder / "hospital" / "slice.nii.gz")
    assert nibabel.load(mask).shape == source.shape
    np.testing.assert_array_equal(nibabel.load(mask).affine, source.affine)
    picture, found = pydicom.dcmread(folder / "hospital" / "picture.dcm"), pydicom.dcmread(seg)
    assert found.SOPClassUID.name == "Segmentation Storage"
    assert found.StudyInstanceUID == picture.StudyInstanceUID
    assert (found.Rows, found.Columns) == (picture.Rows, picture.Columns)


def test_engineer(walk, monkeypatch):
    monkeypatch.delitem(sys.modules, "gaze_heat", raising=False)
    assert "gaze_heat" not in available()
    folder, _, printed = walk("engineer.md")
    assert available()["gaze_heat"].__module__ == "gaze_heat"
    assert "--method.gamma" in printed
    assert (folder / "runs" / "heat" / "explain" / "mr-04_1.png").is_file()
    assert re.search(r"gaze_heat .*\| ours", printed)
