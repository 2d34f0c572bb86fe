"""Volumes of several classes, from the data set folder to the report: what is scored, in which unit, what is shown."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots, write_dataset
from gazeseg.data.images import read_mask, safe_name
from gazeseg.errors import DataError
from gazeseg.evaluate.compare import compare_runs
from gazeseg.evaluate.evaluate import describe, evaluate_run
from gazeseg.evaluate.results import read_cases, read_summary
from gazeseg.report.report import write_report
from gazeseg.report.runs import Run
from gazeseg.report.volumes import worst_slice

from .test_evaluate import make_run

CLASSES = ("background", "outer", "inner")


def make_volumes(root, *, between: float | None = 8.0, gap: bool = False) -> Dataset:
    """Two test volumes of four slices; the inner class is in the middle two alone."""
    rng = np.random.default_rng(0)
    (root / "files").mkdir(parents=True)
    cases = []
    for patient in range(2):
        for k in range(4):
            name = f"p{patient}_slice_{k}"
            labels = np.zeros((40, 36), np.uint8)
            labels[8 + k : 30, 6:28] = 1
            if k in (1, 2):
                labels[14:20, 12 + k : 20] = 2
            for ending, values in (("", rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)), ("_mask", labels)):
                Image.fromarray(values).save(root / "files" / f"{name}{ending}.png")
            image, mask = (root / "files" / f"{name}{ending}.png" for ending in ("", "_mask"))
            case = Case(
                name, f"p{patient}", "test", image, mask, 40, 36, (1.5, 1.25), f"v{patient}", k + (gap and k > 1)
            )
            cases.append(replace(case, spacing_z_mm=between))
    roots = Roots(images=root / "files", masks=root / "files")
    return write_dataset(
        root / "DS", DatasetInfo(name="made", classes=CLASSES, mask_encoding="index", roots=roots), cases, []
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    dataset = make_volumes(root)
    run = make_run(root, dataset, classes=CLASSES, evaluate={"bootstrap": 200, "by": "volume", "resize": "label"})
    return dataset, run, evaluate_run(run.path, "test"), evaluate_run(run.path, "test", legacy=True)


def stacked(dataset, folder, volume_id):
    cases = [case for case in dataset.cases if case.volume_id == volume_id]
    files = [folder / "predictions" / f"{safe_name(case.case_id)}.png" for case in cases]
    predicted = [read_mask(f, c.size, 3, c.case_id, "index") for f, c in zip(files, cases, strict=True)]
    return np.stack(predicted), np.stack([dataset.mask(case) for case in cases])


def plainly(prediction, truth, spacing):
    """medpy's definitions on the whole volume: dc, jc, pooled hd95, one-directional asd."""
    cross = ndimage.generate_binary_structure(3, 1)

    def directed(a, b):
        a_border, b_border = a ^ ndimage.binary_erosion(a, cross), b ^ ndimage.binary_erosion(b, cross)
        return ndimage.distance_transform_edt(~b_border, sampling=spacing)[a_border]

    there, back = directed(prediction, truth), directed(truth, prediction)
    both = (prediction & truth).sum()
    return (
        2 * both / (prediction.sum() + truth.sum()), both / (prediction | truth).sum(),
        np.percentile(np.concatenate([there, back]), 95), there.mean(),
    )  # fmt: skip


def test_volumes_are_scored_in_mm_and_under_legacy_in_voxels(evaluated):
    dataset, _, strict, legacy = evaluated
    assert (strict.name, legacy.name) == ("test-volume", "test-volume-legacy")
    for folder, spacing, unit in ((strict, (8.0, 1.5, 1.25), "mm"), (legacy, (1, 1, 1), "px")):
        scores = read_cases(folder)
        assert [(score.case_id, score.class_index) for score in scores] == [("v0", 1), ("v0", 2), ("v1", 1), ("v1", 2)]
        for score in scores:
            predicted, truth = (part == score.class_index for part in stacked(dataset, folder, score.case_id))
            assert score.unit == unit
            if predicted.any():
                found = (score.dice, score.iou, score.hd95, score.asd)
                np.testing.assert_allclose(found, plainly(predicted, truth, spacing), atol=1e-6)
            else:
                assert score.dice == 0
                assert score.hd95 == 0 if folder is legacy else np.isnan(score.hd95)
    summary = read_summary(strict)
    assert set(summary["classes"]) == {"outer", "inner"}
    assert summary["by"] == "volume"


@pytest.mark.parametrize(("band", "place"), [([0.0, 1.0], "inside"), ([0.999, 1.0], "OUTSIDE")])
def test_a_run_of_the_protocol_is_told_whether_it_lies_in_its_band(evaluated, tmp_path, band, place):
    legacy = evaluated[-1]
    assert read_summary(legacy)["acceptance_band"] is None
    copied = shutil.copytree(legacy, tmp_path / legacy.name)
    summary = copied / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"acceptance_band": band}))
    assert f"{place} our acceptance band" in describe(copied)


def test_without_a_slice_distance_the_unit_is_voxels_and_said(tmp_path, capsys):
    dataset = make_volumes(tmp_path, between=None)
    run = make_run(tmp_path, dataset, classes=CLASSES)
    assert read_cases(evaluate_run(run.path, "test", by="volume"))[0].unit == "px"
    assert "distances are in voxels, not in mm" in " ".join(capsys.readouterr().err.split())
    assert read_cases(evaluate_run(run.path, "test", by="volume", slice_spacing_mm=8.0))[0].unit == "mm"


def test_volumes_with_gaps_or_slices_of_two_sizes_are_refused(tmp_path):
    dataset = make_volumes(tmp_path / "gap", gap=True)
    run = make_run(tmp_path / "gap", dataset, classes=CLASSES)
    with pytest.raises(DataError, match=r"volume 'v0': slices \[0, 1, 3, 4\] are not consecutive"):
        evaluate_run(run.path, "test", by="volume")


def test_the_comparison_has_each_class(evaluated):
    _, run, strict, _ = evaluated
    comparison = compare_runs([run.path], "test-volume")
    [row] = comparison.rows
    by_class = {name: np.mean([s.dice for s in read_cases(strict) if s.class_index == k])
                for k, name in enumerate(CLASSES) if k}  # fmt: skip
    assert {name: cell.mean for name, cell in row.classes.items()} == pytest.approx(by_class)
    assert row.cells["dice"].mean == pytest.approx(np.mean(list(by_class.values())))
    text = comparison.to_text()
    assert "| Dice [95 % CI]" in text
    assert "outer" in text


def test_the_report_shows_the_worst_slice_of_a_volume(evaluated, tmp_path):
    dataset, run, strict, _ = evaluated
    loaded = Run.load(run.path, "test-volume")
    case_id, dice = worst_slice(loaded, dataset, "v1")
    predicted, truth = stacked(dataset, strict, "v1")
    slices = []
    for ours, theirs in zip(predicted, truth, strict=True):
        classes = [k for k in (1, 2) if (ours == k).any() or (theirs == k).any()]
        hits = [2 * ((ours == k) & (theirs == k)).sum() / ((ours == k).sum() + (theirs == k).sum()) for k in classes]
        slices.append(float(np.mean(hits)))
    assert (case_id, dice) == (f"p1_slice_{np.argmin(slices)}", pytest.approx(min(slices)))
    run.metrics_file.write_text("")
    run.environment_file.write_text("{}")
    page = write_report([run.path], tmp_path / "report.html", "test-volume").read_text(encoding="utf-8")
    assert "its worst slice" in page
    assert case_id in page
    assert "Dice of each class" in page
    with pytest.raises(DataError, match="no volume 'v9'"):
        worst_slice(loaded, dataset, "v9")
