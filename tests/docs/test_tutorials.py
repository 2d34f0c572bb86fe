"""Each tutorial from top to bottom, as its reader types it, with fewer images and shorter trainings."""

import functools
import re
import sys

import numpy as np
import pytest
from pages import ROOT, Ended, lay_out_kvasir, run_page

from gazeseg.ablate.job import Job
from gazeseg.data import synthetic
from gazeseg.data.dataset import Dataset
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.methods import available

TUTORIALS = ROOT / "docs" / "tutorials"
pytestmark = pytest.mark.slow


@pytest.fixture
def walk(tmp_path, monkeypatch, capsys):
    """Run a tutorial in an empty folder; return the folder, the commands and what they printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    few = functools.partial(make_demo_dataset, cases=12, size=(48, 48))
    monkeypatch.setattr(synthetic, "make_demo_dataset", few)
    monkeypatch.setattr(Job, "start", lambda job: Ended(job.run()))  # torch is loaded here already

    def run(name: str):
        done = run_page(TUTORIALS / name, tmp_path, case="mr-04_1")
        return tmp_path, done, capsys.readouterr().out

    return run


def test_researcher(walk, tmp_path):
    lay_out_kvasir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
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
