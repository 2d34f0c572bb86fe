"""ISIC 2017 and the annotation time of Kvasir-SEG, on the real files."""

import pytest

from gazeseg.cli import main
from gazeseg.data.check import check_dataset
from gazeseg.data.dataset import Dataset
from gazeseg.evaluate.annotation import annotation_cost
from gazeseg.train.annotation import measure
from gazeseg.train.runfolder import Task

pytestmark = pytest.mark.real


def import_isic(source, out, *options):
    assert main(["import", "isic", "--root", str(source), "--out", str(out), *options]) == 0
    return Dataset.load(out)


@pytest.mark.slow
def test_isic_2017_with_simulated_gaze(real_data, tmp_path):
    data = import_isic(real_data / "isic2017", tmp_path / "DS", "--simulate-gaze")
    assert [len(data.split(name)) for name in ("train", "val", "test", "none")] == [1999, 150, 0, 1]
    assert "ISIC_0012970 out of train, the same image as ISIC_0012127 in val" in data.info.split_note
    found = check_dataset(data)
    assert found["shared_images"] == []
    assert (found["cases_with_gaze"], found["without_gaze"]) == (1999, [])
    gaze = found["gaze"]  # as recorded on Kvasir-SEG: .900 and .041
    assert gaze["in_mask_share"]["median"] == pytest.approx(0.90, abs=0.03)
    assert gaze["centroid_offset"]["mean"] == pytest.approx(0.041, abs=0.006)


def test_the_twin_is_found_where_it_is_kept(real_data, tmp_path):
    data = import_isic(real_data / "isic2017", tmp_path / "DS", "--keep-twins")
    assert [len(data.split(name)) for name in ("train", "val")] == [2000, 150]
    assert check_dataset(data)["shared_images"] == [[["ISIC_0012127", "val"], ["ISIC_0012970", "train"]]]


def test_gaze_on_kvasir_took_nine_seconds_an_image(real_data, tmp_path):
    source, gaze = real_data / "kvasir-seg", real_data / "gazemedseg" / "kvasir_fixation.csv"
    out = tmp_path / "DS"
    files = ["--images", str(source / "images"), "--gaze", str(gaze), "--splits", str(source)]
    assert main(["import", "kvasir-seg", *files, "--out", str(out)]) == 0
    data = Dataset.load(out)
    whole = measure(data, data.cases, gaze=True, masks=0)
    assert (whole.gaze_cases, whole.fixation_s / 1000) == (1000, pytest.approx(9.0, abs=0.05))
    assert whole.viewing_s / 1000 == pytest.approx(10.0, abs=0.1)
    train = measure(data, data.split("train"), gaze=True, masks=0)
    task = Task(data.info.name, data.info.classes, 3, 2, (0.5, 0.3), "recorded", False, 900, 1, annotation=train)
    assert annotation_cost([task]).text == "2.26"
