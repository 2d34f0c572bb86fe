import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.cli import main
from gazeseg.data.check import check_dataset, describe
from gazeseg.data.dataset import Dataset
from gazeseg.data.importers import isic
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.errors import ConfigError, DataError

SIZE = (48, 64)
MARK = "simulated gaze (uses ground truth)"


def unpack(root: Path, year: str, counts: dict[str, int], *, nested: bool = False) -> Path:
    """Make the folders of a challenge as its archives unpack, with images of this many cases a split."""
    number = 0
    for part in isic.PARTS[year]:
        images, masks = root / part.images, root / part.masks
        if nested:
            images, masks = images / part.images, root / "truth" / part.masks
        for _ in range(counts.get(part.split, 0)):
            draw(images / f"ISIC_{number:07d}.jpg", masks / f"ISIC_{number:07d}{ending(year)}", number)
            if year == "2017":
                Image.fromarray(np.zeros(SIZE, np.uint8)).save(images / f"ISIC_{number:07d}_superpixels.png")
            number += 1
        if counts.get(part.split):
            (images / "ATTRIBUTION.txt").write_text("names the owners")
    return root


def ending(year: str) -> str:
    return "_Segmentation.png" if year == "2016" else "_segmentation.png"


def draw(image: Path, mask: Path, seed: int) -> None:
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    y, x = np.indices(SIZE)
    lesion = np.hypot(y - rng.uniform(18, 30), x - rng.uniform(24, 40)) < rng.uniform(8, 14)
    pixels = rng.integers(150, 220, (*SIZE, 3))
    pixels[lesion] -= 90
    Image.fromarray(pixels.astype(np.uint8)).save(image)
    Image.fromarray(lesion.astype(np.uint8) * 255).save(mask)


def splits(data: Dataset) -> dict[str, int]:
    return {name: len(data.split(name)) for name in ("train", "val", "test", "none")}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("year", ["2016", "2017", "2018"])
def test_each_layout_as_it_unpacks(tmp_path, year, nested, capsys):
    wanted = {"train": 4, "test": 2} | ({"val": 1} if year != "2016" else {})
    root = unpack(tmp_path / "raw", year, wanted, nested=nested)
    data = isic.run(tmp_path / "DS", root=root)
    assert splits(data) == {"val": 0, "none": 0} | wanted
    assert data.info.name == f"ISIC {year}"
    assert data.info.gaze.kind == "none"
    assert data.info.split_note.startswith(f"the splits of ISIC {year} (4 train")
    assert "no patient ids are published" in data.info.split_note
    assert all(case.mask is not None for case in data.cases)
    case = data.case("ISIC_0000000")  # no _superpixels among them
    assert data.image(case).shape == (*SIZE, 3)
    assert 100 < data.mask(case).sum() < 700
    published = {"2016": "900 train", "2017": "2,000 train", "2018": "2,594 train"}[year]
    assert f"ISIC {year} has {published}" in capsys.readouterr().err


def test_of_a_training_part_alone_a_share_is_held_out(tmp_path):
    data = isic.run(tmp_path / "DS", root=unpack(tmp_path / "raw", "2018", {"train": 10}))
    assert splits(data) == {"train": 8, "val": 0, "test": 2, "none": 0}
    assert "2 of 10 held out for test" in data.info.split_note


@pytest.fixture
def prepared(tmp_path):
    root = tmp_path / "small"
    for number in range(5):
        draw(root / f"images/ISIC_{number:07d}.jpg", root / f"masks/ISIC_{number:07d}.png", number)
    (root / "train.txt").write_text("ISIC_0000000\nISIC_0000001\nISIC_0000002\n")
    (root / "val.txt").write_text("ISIC_0000003\nISIC_0000004\n")
    return root


def test_the_prepared_layout(tmp_path, prepared):
    data = isic.run(tmp_path / "DS", root=prepared)
    assert splits(data) == {"train": 3, "val": 2, "test": 0, "none": 0}
    assert data.info.split_note.startswith("own lists (3 train, 2 val)")


def test_an_image_in_two_splits_leaves_the_training_split(tmp_path, prepared, capsys):
    images = prepared / "images"
    (images / "ISIC_0000003.jpg").write_bytes((images / "ISIC_0000001.jpg").read_bytes())
    data = isic.run(tmp_path / "DS", root=prepared)
    told = "ISIC_0000001 out of train, the same image as ISIC_0000003 in val"
    assert splits(data) == {"train": 2, "val": 2, "test": 0, "none": 1}
    assert told in data.info.split_note
    assert told in " ".join(capsys.readouterr().err.split())
    assert check_dataset(data)["shared_images"] == []

    kept = isic.run(tmp_path / "kept", root=prepared, keep_twins=True)
    assert splits(kept) == {"train": 3, "val": 2, "test": 0, "none": 0}
    found = check_dataset(kept)
    assert found["shared_images"] == [[["ISIC_0000001", "train"], ["ISIC_0000003", "val"]]]
    assert "ONE IMAGE IN TWO SPLITS: ISIC_0000001 (train) = ISIC_0000003 (val)" in describe(found)


# ---- what is missing


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], r"no ISIC layout.*ISBI2016_ISIC_Part1_Training_Data and .*ISIC-2017_Training_Part1_GroundTruth.*2018"),
        (
            ["ISIC-2017_Training_Part1_GroundTruth"],
            r"ISIC-2017_Training_Part1_GroundTruth is there but the training images are not; unpack ISIC-2017",
        ),
        (["ISIC2018_Task1-2_Test_Input"], r"unpack ISIC2018_Task1-2_Training_Input \(and ISIC2018_Task1_Training_Gr"),
        (["ISIC-2017_Training_Data"], r"ISIC-2017_Training_Data: no image"),
        (
            ["ISIC-2017_Training_Data", "ISIC2018_Task1-2_Training_Input"],
            r"holds ISIC 2017 and 2018; say which one with --layout 2018",
        ),
    ],
)
def test_a_folder_that_is_not_whole_names_what_is_missing(tmp_path, folders, message):
    for name in folders:
        (tmp_path / "raw" / name).mkdir(parents=True)
    (tmp_path / "raw").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message) as caught:
        isic.run(tmp_path / "DS", root=tmp_path / "raw")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "DS").exists()


def test_a_layout_that_is_asked_for_must_be_there(tmp_path):
    root = unpack(tmp_path / "raw", "2016", {"train": 2})
    with pytest.raises(DataError, match="no training images of ISIC 2018; unpack ISIC2018_Task1-2_Training_Input"):
        isic.run(tmp_path / "DS", root=root, layout="2018")
    with pytest.raises(DataError, match="no such folder"):
        isic.run(tmp_path / "DS", root=tmp_path / "nowhere")


def test_without_the_ground_truth_there_are_no_masks_and_no_simulated_gaze(tmp_path, capsys):
    root = unpack(tmp_path / "raw", "2017", {"train": 3, "val": 1})
    (root / "ISIC-2017_Training_Part1_GroundTruth").rename(root / "elsewhere")
    data = isic.run(tmp_path / "DS", root=root)
    assert "ISIC-2017_Training_Part1_GroundTruth is not there" in " ".join(capsys.readouterr().err.split())
    assert [case.mask is None for case in data.split("train")] == [True] * 3
    with pytest.raises(DataError, match="drawn from the masks of training cases, and none has one"):
        isic.run(tmp_path / "gaze", root=root, simulate_gaze=True)
    assert not (tmp_path / "gaze").exists()


def test_recorded_and_simulated_gaze_are_not_mixed(tmp_path, prepared):
    with pytest.raises(ConfigError, match="never mixed"):
        isic.run(tmp_path / "DS", root=prepared, gaze=prepared / "gaze.csv", simulate_gaze=True)


# ---- simulated gaze


def test_simulated_gaze_is_of_training_cases_alone_and_depends_on_the_seed(tmp_path, prepared):
    data = isic.run(tmp_path / "a", root=prepared, simulate_gaze=True)
    gazed = {name for name, fix in data.fixations.items() if len(fix)}
    assert gazed == {case.case_id for case in data.split("train")}
    again, other = (isic.run(tmp_path / f"b{seed}", root=prepared, simulate_gaze=True, seed=seed) for seed in (0, 1))
    assert again.fixations["ISIC_0000000"].x_px.tolist() == data.fixations["ISIC_0000000"].x_px.tolist()
    assert other.fixations["ISIC_0000000"].x_px.tolist() != data.fixations["ISIC_0000000"].x_px.tolist()


def test_simulated_gaze_does_not_read_masks_that_are_held_out(tmp_path, prepared):
    (prepared / "masks/ISIC_0000004.png").unlink()
    blind = isic.run(tmp_path / "blind", root=prepared, simulate_gaze=True)
    draw(prepared / "images/ISIC_0000004.jpg", prepared / "masks/ISIC_0000004.png", 99)
    seeing = isic.run(tmp_path / "seeing", root=prepared, simulate_gaze=True)
    for case in blind.split("train"):
        assert blind.fixations[case.case_id].x_px.tolist() == seeing.fixations[case.case_id].x_px.tolist()


def test_simulated_gaze_is_marked_from_the_import_to_the_masks(tmp_path, prepared, capsys):
    out = tmp_path / "DS"
    assert main(["import", "isic", "--root", str(prepared), "--simulate-gaze", "--out", str(out)]) == 0
    assert MARK in capsys.readouterr().out
    data = Dataset.load(out)
    assert (data.info.gaze.kind, data.info.gaze.note) == ("simulated", MARK)
    assert "seed 0" in data.info.gaze.source
    assert main(["check", str(out), "--out", str(tmp_path / "check.json")]) == 0
    assert MARK in capsys.readouterr().out
    result = json.loads((tmp_path / "check.json").read_text())
    assert result["gaze_kind"] == "simulated"
    assert result["without_gaze"] == []  # a validation case has no use for gaze
    folder = make_masks(data, out / "pseudo", resolve_config(data, {"crf": {"mode": "off"}}))
    assert MARK in folder.describe()
    lines = (out / "pseudo/quality.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3  # validation cases have no gaze, so there is nothing to score
    assert all(line.endswith(f",{MARK}") for line in lines[1:])
