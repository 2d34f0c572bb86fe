import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg import methods
from gazeseg.config import RunConfig, write_yaml
from gazeseg.data.dataset import Case, DatasetInfo, write_dataset
from gazeseg.data.images import safe_name
from gazeseg.data.schema import Roots
from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate.evaluate import describe, evaluate_folders, evaluate_run
from gazeseg.evaluate.metrics import score_case
from gazeseg.evaluate.results import read_cases, read_summary
from gazeseg.predict.predictor import Predictor
from gazeseg.train import checkpoint
from gazeseg.train.runfolder import RunFolder, Task

CLASSES = ("background", "spot")


def disc(height, width, y, x, radius):
    rows, columns = np.mgrid[:height, :width]
    return ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).astype(np.uint8)


def make_dataset(root, *, spacing=None, masked=True, volume=False):
    """Six cases of several sizes with odd names; the last two are for training."""
    rng = np.random.default_rng(0)
    images, masks = root / "raw" / "images", root / "raw" / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    cases = []
    for i in range(6):
        height, width = (40, 44) if volume else (40 + i, 50 - i)
        case_id, name = f"case/{i} é", f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(images / name)
        Image.fromarray(255 * disc(height, width, 18 + i, 20, 8)).save(masks / name)
        cases.append(
            Case(
                case_id=case_id,
                patient_id=f"p{i}",
                split="test" if i < 4 else "train",
                image=images / name,
                mask=masks / name if masked or i else None,
                height=height,
                width=width,
                spacing_mm=spacing,
                volume_id=f"v{i // 2}" if volume else "",
                slice_index=i,
            )
        )
    info = DatasetInfo(name="made", classes=CLASSES, channels=3, roots=Roots(images=images, masks=masks))
    return write_dataset(root / "ds", info, cases, [])


def make_run(root, dataset, *, method="full", classes=CLASSES, gaze="recorded", **sections):
    config = RunConfig.model_validate(
        {
            "method": {"name": method},
            "data": {"path": str(dataset.root), "size": (32, 32)},
            "network": {"name": "small_unet"},
            "evaluate": {"bootstrap": 200},
            **sections,
        }
    )
    folder = RunFolder(root / "run")
    folder.path.mkdir()
    write_yaml(folder.config_file, config)
    folder.write_task(Task("made", classes, 3, 1, (0.5,), gaze=gaze, mask_supervised=True, train_cases=2, parameters=1))
    built = methods.create(
        config.method, network=config.network, in_channels=3, num_classes=len(classes), levels=1, seed=0
    )
    with torch.no_grad():  # lift the logits apart, so that both classes occur
        for name, parameter in built.named_parameters():
            if name.endswith("head.weight"):
                parameter.mul_(8)
    checkpoint.save(folder, 7, built.state_dict(), {"step": 7}, best_step=None)
    return folder


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path)


def test_a_run_is_scored_at_native_size(tmp_path, dataset):
    folder = make_run(tmp_path, dataset)
    out = evaluate_run(folder.path, "test")
    assert out == folder.evaluation("test")
    scores = read_cases(out)
    cases = dataset.split("test")
    assert [s.case_id for s in scores] == [c.case_id for c in cases]
    predicted = Predictor.load(folder.path).masks([dataset.image(case) for case in cases])
    for case, score, mask in zip(cases, scores, predicted, strict=True):
        stored = np.asarray(Image.open(out / "predictions" / f"{safe_name(case.case_id)}.png"))
        np.testing.assert_array_equal(stored, mask)
        [expected] = score_case(mask, dataset.mask(case), num_classes=2)
        assert score.dice == expected.dice
        assert score.patient_id == case.patient_id
        assert 0 < mask.mean() < 1


def test_the_summary_says_what_was_done(tmp_path, dataset):
    folder = make_run(tmp_path, dataset, train={"seed": 3})
    summary = read_summary(evaluate_run(folder.path, "test"))
    expected = {
        "protocol": "gazeseg",
        "dataset": "made",
        "split": "test",
        "by": "case",
        "method": "full",
        "status": "baseline",
        "gaze": "none",  # the data set has gaze, but this method looks at masks alone
        "seed": 3,
        "select": "last",
        "checkpoint": "step-000007",
        "resize": "logit",
        "cases": 4,
        "unit": "px",
        "headline_hd95": "hd95",
    }
    assert {key: summary[key] for key in expected} == expected
    assert set(summary["classes"]) == {"spot"}
    assert {"dice", "hd95", "hd95_max", "assd", "empty", "ignore"} <= set(summary["definitions"])


def test_simulated_gaze_is_never_left_unsaid(tmp_path, dataset):
    folder = make_run(tmp_path, dataset, method="gaze_unet", gaze="simulated")
    out = evaluate_run(folder.path, "test")
    assert read_summary(out)["gaze"] == "simulated (uses ground truth)"
    assert "simulated (uses ground truth)" in describe(out)


def test_a_second_evaluation_takes_the_place_of_the_first(tmp_path, dataset):
    folder = make_run(tmp_path, dataset)
    first = (evaluate_run(folder.path, "test") / "cases.csv").read_bytes()
    out = evaluate_run(folder.path, "test")
    assert (out / "cases.csv").read_bytes() == first
    assert [path.name for path in out.parent.iterdir()] == ["test"]
    assert evaluate_run(folder.path, "train").name == "train"


def test_legacy_is_kept_apart_and_labelled(tmp_path, dataset):
    folder = make_run(tmp_path, dataset)
    out = evaluate_run(folder.path, "test", legacy=True)
    assert out.name == "test-legacy"
    assert read_summary(out)["protocol"] == "legacy"
    assert "protocol legacy" in describe(out)


def test_distances_are_in_mm_where_there_is_a_spacing(tmp_path):
    dataset = make_dataset(tmp_path, spacing=(0.5, 0.5))
    folder = make_run(tmp_path, dataset)
    scores = read_cases(evaluate_run(folder.path, "test"))
    case = dataset.split("test")[0]
    [mask] = Predictor.load(folder.path).masks([dataset.image(case)])
    [expected] = score_case(mask, dataset.mask(case), num_classes=2)
    assert scores[0].unit == "mm"
    assert scores[0].hd95 == pytest.approx(expected.hd95 / 2)


def test_slices_can_be_scored_as_volumes(tmp_path):
    dataset = make_dataset(tmp_path, spacing=(0.5, 0.5), volume=True)
    folder = make_run(tmp_path, dataset)
    cases = dataset.split("test")[:2]
    stack = np.stack(Predictor.load(folder.path).masks([dataset.image(case) for case in cases]))
    truth = np.stack([dataset.mask(case) for case in cases])
    for thickness, spacing in ((None, None), (3.0, (3.0, 0.5, 0.5))):
        out = evaluate_run(folder.path, "test", by="volume", slice_spacing_mm=thickness)
        score = read_cases(out)[0]
        [expected] = score_case(stack, truth, num_classes=2, spacing_mm=spacing)
        assert (score.case_id, score.dice, score.unit) == ("v0", expected.dice, expected.unit)
        assert score.hd95 == pytest.approx(expected.hd95)
    assert read_summary(out)["cases"] == 2
    assert "volumes" in describe(out)


def test_volumes_need_neighbouring_slices(tmp_path, dataset):
    folder = make_run(tmp_path, dataset)
    with pytest.raises(DataError, match="no volume_id"):
        evaluate_run(folder.path, "test", by="volume")
    assert not folder.evaluation("test-volume").exists()


def test_runs_that_cannot_be_scored_say_why(tmp_path, dataset):
    folder = make_run(tmp_path, dataset)
    with pytest.raises(DataError, match="no case in split 'none'; there are: test 4, train 2"):
        evaluate_run(folder.path, "none")
    with pytest.raises(ConfigError, match=r"has no split 'val', and .* was trained on all of 'train'"):
        evaluate_run(folder.path, "val")
    with pytest.raises(DataError, match="did you mean 'test'"):
        evaluate_run(folder.path, "tets")
    with pytest.raises(DataError, match=r"set data\.path"):
        evaluate_run(folder.path, "test", data=tmp_path / "gone")
    assert not (folder.path / "evaluation").exists()


def test_a_case_without_a_mask_is_refused_before_any_work(tmp_path):
    folder = make_run(tmp_path, make_dataset(tmp_path, masked=False))
    with pytest.raises(DataError, match="1 of 4 cases in split 'test' have no mask"):
        evaluate_run(folder.path, "test")


def test_other_classes_are_refused(tmp_path, dataset):
    folder = make_run(tmp_path, dataset, classes=("background", "lesion"))
    with pytest.raises(DataError, match="trained on the classes background, lesion"):
        evaluate_run(folder.path, "test")


def test_a_broken_mask_leaves_nothing_behind(tmp_path, dataset):
    folder = make_run(tmp_path, dataset)
    dataset.split("test")[2].mask.write_text("broken")
    with pytest.raises(DataError, match=r"2\.png"):
        evaluate_run(folder.path, "test")
    assert list((folder.path / "evaluation").iterdir()) == []


def write_masks(folder, masks):
    folder.mkdir()
    for name, mask in masks.items():
        Image.fromarray(np.asarray(mask, np.uint8)).save(folder / name)


def test_folders_are_matched_by_name(tmp_path):
    truth = {f"{name}.png": 255 * disc(30, 34, 14, 15 + i, 7) for i, name in enumerate(("a", "b é", "c"))}
    write_masks(tmp_path / "truth", truth)
    predicted = {f"{safe_name('b é')}.png": disc(30, 34, 14, 15, 7), "a.tif": disc(30, 34, 14, 15, 7)}
    write_masks(tmp_path / "pred", {**predicted, "c.png": np.zeros((30, 34))})
    out = evaluate_folders(tmp_path / "pred", tmp_path / "truth", tmp_path / "out", spacing_mm=(2.0, 2.0))
    scores = {score.case_id: score for score in read_cases(out)}
    assert list(scores) == ["a", "b é", "c"]
    assert scores["a"].dice == 1.0
    [expected] = score_case(disc(30, 34, 14, 15, 7), disc(30, 34, 14, 16, 7), num_classes=2, spacing_mm=(2.0, 2.0))
    assert (scores["b é"].dice, scores["b é"].hd95) == (expected.dice, expected.hd95)
    assert scores["c"].empty == "prediction"
    summary = read_summary(out)
    assert (summary["mean"]["missed"], summary["unit"]) == (1, "mm")
    text = describe(out)
    assert text.startswith("truth, 3 cases, method pred, protocol gazeseg\n")
    assert "missed 1" in text
    assert f"{math.hypot(60, 68):.1f}" not in text  # the penalised mean, not the diagonal itself


def test_legacy_folders_score_a_missed_case_zero(tmp_path):
    write_masks(tmp_path / "truth", {"a.png": disc(20, 20, 9, 9, 5), "b.png": np.zeros((20, 20))})
    write_masks(tmp_path / "pred", {"a.png": np.zeros((20, 20)), "b.png": np.zeros((20, 20))})
    strict = read_cases(evaluate_folders(tmp_path / "pred", tmp_path / "truth", tmp_path / "strict"))
    legacy = read_cases(evaluate_folders(tmp_path / "pred", tmp_path / "truth", tmp_path / "legacy", legacy=True))
    assert [s.dice for s in strict] == [0.0, 1.0]
    assert all(math.isnan(s.hd95) for s in strict)
    assert [(s.dice, s.hd95) for s in legacy] == [(0.0, 0.0), (0.0, 0.0)]
    assert json.loads((tmp_path / "legacy" / "summary.json").read_text())["protocol"] == "legacy"


def test_a_truth_without_a_prediction_names_the_nearest(tmp_path, capsys):
    mask = disc(20, 20, 9, 9, 5)
    write_masks(tmp_path / "truth", {"patient_01.png": mask, "patient_02.png": mask})
    write_masks(tmp_path / "pred", {"patient_01.png": mask, "patiemt_02.png": mask})
    with pytest.raises(DataError, match="1 of 2 true masks, the first 'patient_02'; did you mean 'patiemt_02'"):
        evaluate_folders(tmp_path / "pred", tmp_path / "truth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "truth" / "patient_02.png").unlink()
    evaluate_folders(tmp_path / "pred", tmp_path / "truth", tmp_path / "out")
    assert "1 predictions have no truth" in capsys.readouterr().err


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_masks(tmp_path / "truth", {"a.png": disc(20, 20, 9, 9, 5)})
    write_masks(tmp_path / "pred", {"a.png": disc(20, 24, 9, 9, 5)})
    with pytest.raises(DataError, match="20 x 24"):
        evaluate_folders(tmp_path / "pred", tmp_path / "truth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
