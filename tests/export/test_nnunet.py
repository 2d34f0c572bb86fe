"""The raw format as nnU-Net v2 documents it (dataset_format.md, ignore_label.md), read by another library."""

import json

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.pseudo import PseudoFolder, make_masks, resolve_config
from gazeseg.errors import ConfigError, DataError
from gazeseg.export.nnunet import agreed, export_nnunet
from gazeseg.types import IGNORE, Fixations

RNG = np.random.default_rng(0)


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Twelve cases of six patients, the last two for testing; case 1 was not looked at, case 2 has no mask."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    cases, gaze = [], []
    for k in range(12):
        image, mask = images / f"c {k}.png", masks / f"c {k}.png"
        Image.fromarray(RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(image)
        truth = np.zeros((40, 48), np.uint8)
        truth[10:30, 12:30] = 1
        Image.fromarray(truth).save(mask)
        split = "test" if k >= 10 else "train"
        cases.append(
            Case(f"c {k}", f"p{k // 2}", split, image, None if k == 2 else mask, 40, 48, None, f"p{k // 2}", 0)
        )
        if k != 1:
            x, t = np.array([18.0, 22.0, 20.0]), np.array([0.0, 300.0, 600.0])
            gaze.append(Fixations(x, x, t, np.full(3, 250.0), (40, 48), f"c {k}"))
    info = DatasetInfo(
        name="Small set-1",
        classes=("background", "disc"),
        channels=3,
        modality="photo",
        mask_encoding="index",
        roots=Roots(images=images, masks=masks),
        gaze=GazeInfo(kind="recorded"),
        supervision={"maps": {"sigma": 60}},
        citation="somebody, 2020",
    )
    return write_dataset(tmp_path / "ds", info, cases, gaze)


def check_raw_format(folder, *, channels):
    """What nnU-Net checks before it plans: returns dataset.json."""
    document = json.loads((folder / "dataset.json").read_text())
    ending = document["file_ending"]
    labels = document["labels"]
    assert labels["background"] == 0
    assert sorted(labels.values()) == list(range(len(labels)))  # consecutive
    if "ignore" in labels:
        assert labels["ignore"] == max(labels.values())
    assert sorted(document["channel_names"]) == [str(k) for k in range(channels)]
    assert document["numTraining"] == len(list((folder / "labelsTr").glob(f"*{ending}")))
    seen = set()
    for path in sorted((folder / "labelsTr").iterdir()):
        image = SimpleITK.ReadImage(folder / "imagesTr" / f"{path.name.removesuffix(ending)}_0000{ending}")
        label = SimpleITK.ReadImage(path)
        assert label.GetSize() == image.GetSize()
        assert (label.GetNumberOfComponentsPerPixel(), image.GetNumberOfComponentsPerPixel()) == (1, channels)
        seen |= set(np.unique(SimpleITK.GetArrayFromImage(label)).tolist())
    assert seen <= set(labels.values())
    assert len(list((folder / "imagesTr").iterdir())) == document["numTraining"]
    return document


def test_true_masks_come_through_without_loss(dataset, tmp_path):
    folder = export_nnunet(dataset, tmp_path / "raw", number=7)
    assert folder.name == "Dataset007_Smallset1"
    document = check_raw_format(folder, channels=3)
    assert document["labels"] == {"background": 0, "disc": 1}
    assert document["numTraining"] == 9
    assert "1 training cases without a label left out" in document["description"]
    for case in dataset.cases:
        part = "Ts" if case.split == "test" else "Tr"
        name = case.case_id.replace(" ", "%20")
        if case.mask is not None:
            stored = SimpleITK.ReadImage(folder / f"images{part}" / f"{name}_0000.png")
            np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(stored), dataset.image(case))
            label = SimpleITK.ReadImage(folder / f"labels{part}" / f"{name}.png")
            np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(label), dataset.mask(case))


def test_what_gaze_leaves_open_is_the_ignore_label(dataset, tmp_path):
    make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {"crf": {"mode": "off"}}), jobs=1)
    folder = export_nnunet(dataset, tmp_path / "raw", pseudo=dataset.root / "pseudo")
    document = check_raw_format(folder, channels=3)
    assert document["labels"] == {"background": 0, "disc": 1, "ignore": 2}
    assert list(document["labels"])[-1] == "ignore"
    assert document["numTraining"] == 9  # case 1 was not looked at; case 2 needs no mask here
    assert "pseudo-masks of recorded gaze at the levels 0.5, 0.3" in document["description"]
    teachers = PseudoFolder.load(dataset.root / "pseudo")
    label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(folder / "labelsTr" / "c%202.png"))
    heat = teachers.heatmap("c 2")
    np.testing.assert_array_equal(label == 1, heat >= 0.5)
    np.testing.assert_array_equal(label == 0, heat < 0.3)
    assert (label == 2).any()
    test = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(folder / "labelsTs" / "c%2010.png"))
    np.testing.assert_array_equal(test, dataset.mask(dataset.case("c 10")))  # the truth: nothing is learnt from it


def test_folds_keep_patients_together(dataset, tmp_path):
    folder = export_nnunet(dataset, tmp_path / "raw")
    folds = json.loads((folder / "splits_final.json").read_text())
    patient = {case.case_id.replace(" ", "%20"): case.patient_id for case in dataset.cases}
    assert len(folds) == 5
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(
        path.stem for path in (folder / "labelsTr").iterdir()
    )
    for fold in folds:
        assert not {patient[name] for name in fold["train"]} & {patient[name] for name in fold["val"]}


def test_three_levels_agree_or_are_left_open():
    levels = np.array([[[0, 1, 2, 1]], [[0, 1, 2, 0]], [[0, 1, 2, 0]]], np.uint8)
    assert agreed(levels).tolist() == [[0, 1, 2, IGNORE]]


def test_wrong_calls_are_one_line(dataset, tmp_path):
    with pytest.raises(ConfigError, match="from 1 to 999, got 1000"):
        export_nnunet(dataset, tmp_path / "raw", number=1000)
    with pytest.raises(DataError, match="no pseudo-masks there; make them with: gazeseg masks"):
        export_nnunet(dataset, tmp_path / "raw", pseudo=dataset.root / "pseudo")
    export_nnunet(dataset, tmp_path / "raw")
    with pytest.raises(DataError, match="is there already"):
        export_nnunet(dataset, tmp_path / "raw")
