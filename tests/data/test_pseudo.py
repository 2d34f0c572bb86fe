"""The pseudo-mask folder: what it holds, what is redone, and that test cases stay out."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.pseudo import PseudoFolder, make_masks, resolve_config
from gazeseg.errors import ConfigError, DataError
from gazeseg.supervision import quality
from gazeseg.types import Fixations


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Five 48 x 64 images with a bright square, looked at in its middle; the last one is a test case."""
    rng = np.random.default_rng(0)
    cases, gaze = [], []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for k in range(5):
        name = f"case {k}"
        mask = np.zeros((48, 64), np.uint8)
        mask[12:36, 16 + k : 40 + k] = 255
        pixels = rng.integers(30, 60, (48, 64, 3)) + (mask[..., None] > 0) * 120
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
        split = "test" if k == 4 else "train"
        images, masks = tmp_path / "images" / f"{name}.png", tmp_path / "masks" / f"{name}.png"
        cases.append(Case(name, name, split, images, masks, 48, 64))
        x = 28.0 + k + np.array([-6.0, 0.0, 6.0])
        gaze.append(Fixations(x, np.array([20.0, 24.0, 28.0]), np.arange(3) * 300.0, np.full(3, 250.0), (48, 64), name))
    info = DatasetInfo(
        name="squares",
        roots=Roots(images=tmp_path / "images", masks=tmp_path / "masks"),
        gaze=GazeInfo(kind="recorded"),
    )
    return write_dataset(tmp_path / "ds", info, cases, gaze)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_levels_are_the_stored_map_cut_at_the_thresholds(dataset):
    folder = make_masks(
        dataset, dataset.root / "pseudo", resolve_config(dataset, {"pseudo": {"thresholds": [0.3, 0.6]}})
    )
    soft = folder.crf("case 1")
    expected = np.stack([soft >= 0.3, soft >= 0.6])
    assert (folder.levels("case 1") != expected).mean() < 1e-3  # 16-bit rounding at a threshold
    assert folder.levels("case 1")[0].sum() > folder.levels("case 1")[1].sum() > 0
    heat = folder.heatmap("case 1")
    ternary = folder.ternary("case 1")
    assert ((ternary == 1) == (heat >= 0.6)).mean() > 0.999
    assert ((ternary == 0) == (heat <= 0.3)).mean() > 0.999
    assert set(np.unique(ternary)) == {0, 1, 255}


def test_the_test_split_gets_no_pseudo_mask(dataset):
    folder = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {}))
    assert {row["case_id"] for row in _rows(folder.path / "index.csv")} == {f"case {k}" for k in range(4)}
    with pytest.raises(DataError, match="case 4"):
        folder.crf("case 4")


def test_quality_is_that_of_the_written_levels(dataset):
    folder = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {}))
    rows = _rows(folder.path / "quality.csv")
    assert list(rows[0]) == ["case_id", "threshold", "dice", "precision", "recall", "gaze"]
    assert len(rows) == 4 * 2
    for row in rows:
        level = folder.levels(row["case_id"])[folder.thresholds.index(float(row["threshold"]))].astype(bool)
        truth = dataset.mask(dataset.case(row["case_id"])) > 0
        dice = 2 * (level & truth).sum() / (level.sum() + truth.sum())
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-6)


def test_a_second_run_recomputes_nothing_and_a_changed_key_everything(dataset, monkeypatch):
    config = resolve_config(dataset, {})
    folder = make_masks(dataset, dataset.root / "pseudo", config)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.png")}
    quality_before = (folder.path / "quality.csv").read_bytes()
    make_masks(dataset, folder.path, config)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.png")} == before
    assert (folder.path / "quality.csv").read_bytes() == quality_before
    make_masks(dataset, folder.path, resolve_config(dataset, {"maps": {"sigma": 40}}))
    after = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.png")}
    assert all(after[path] != before[path] for path in before)
    assert len(_rows(folder.path / "quality.csv")) == 8


def test_one_lost_file_is_made_again_alone(dataset):
    folder = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {}))
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.png")}
    folder.file("crf", "case 2").unlink()
    make_masks(dataset, folder.path, folder.config)
    changed = {path.stem for path in folder.path.rglob("*.png") if path.stat().st_mtime_ns != before[path]}
    assert changed == {folder.file("crf", "case 2").stem}
    assert len(_rows(folder.path / "quality.csv")) == 8


def test_without_the_crf_no_image_is_needed(dataset):
    for image in (dataset.root.parent / "images").iterdir():
        image.write_bytes(b"")
    folder = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {"crf": {"mode": "off"}}))
    assert not (folder.path / "crf").exists()
    assert folder.levels("case 0").any()


def test_a_data_set_recommends_and_the_command_line_decides(dataset):
    dataset.info.supervision.update({"maps": {"sigma": 50}, "pseudo": {"thresholds": [0.2, 0.4]}})
    config = resolve_config(dataset, {"pseudo": {"thresholds": [0.25]}})
    assert config.maps.sigma == 50
    assert config.pseudo.thresholds == (0.25,)
    with pytest.raises(ConfigError, match="did you mean 'sigma'"):
        resolve_config(dataset, {"maps": {"sigmaa": 3}})


def test_a_folder_without_masks_says_how_to_make_them(dataset):
    with pytest.raises(DataError, match="gazeseg masks"):
        PseudoFolder.load(dataset.root / "pseudo")


def test_quality_treats_an_empty_pseudo_mask_as_the_worst():
    truth = np.ones((3, 3), bool)
    assert quality.mask_quality(~truth, truth)["dice"] == 0
