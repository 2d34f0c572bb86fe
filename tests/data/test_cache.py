"""The decoded arrays: their content against Pillow and torch, when they are made, and what happens to broken ones."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg.config import MasksConfig, write_yaml
from gazeseg.data.cache import Store, open_store, resize_image, resize_labels, resize_map
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots, write_dataset
from gazeseg.data.images import safe_name, write_map
from gazeseg.errors import DataError
from gazeseg.types import Fixations

NATIVE = (60, 81)
SIZE = (24, 32)
IDS = ("a", "b é", "c/d", "e")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Four colour images with masks, gaze and a finished pseudo-mask folder."""
    return make_dataset(tmp_path / "data set")


def make_dataset(folder: Path, *, crf: str = "compatible") -> Dataset:
    rng = np.random.default_rng(0)
    cases, gaze = [], []
    for i, case_id in enumerate(IDS):
        image, mask = folder / "images" / f"{i}.png", folder / "masks" / f"{i}.png"
        for path, pixels in (
            (image, rng.integers(0, 256, (*NATIVE, 3), dtype=np.uint8)),
            (mask, rng.integers(0, 2, NATIVE, dtype=np.uint8) * 255),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        cases.append(Case(case_id, case_id, "train", image, mask, *NATIVE))
        gaze.append(
            Fixations(np.array([5.0]), np.array([6.0]), np.array([0.0]), np.array([200.0 + i]), NATIVE, case_id)
        )
    info = DatasetInfo(name="drawn", roots=Roots(images=folder / "images", masks=folder / "masks"))
    made = write_dataset(folder / "DS", info, cases, gaze)
    config = MasksConfig.model_validate({"pseudo": {"thresholds": (0.5, 0.3)}, "crf": {"mode": crf}})
    pseudo = made.root / "pseudo"
    for case_id in IDS:
        for kind in ("heatmap", "crf"):
            write_map(pseudo / kind / f"{safe_name(case_id)}.png", rng.random(NATIVE))
    write_yaml(pseudo / "config.yaml", config)
    (pseudo / "index.csv").write_text("case_id,key\n", encoding="utf-8")
    return made


def make_store(dataset: Dataset, fields=("mask", "heatmap", "crf", "levels"), **changes) -> Store:
    arguments = {"size": SIZE, "pseudo": dataset.root / "pseudo", "cache_dir": dataset.root / ".cache"} | changes
    return open_store(dataset, dataset.cases, fields=fields, **arguments)


def forbid_decoding(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    for name in names or ("image", "mask"):
        monkeypatch.setattr(Dataset, name, refuse)


def cache_files(dataset: Dataset, pattern: str = "*") -> list[Path]:
    return sorted((dataset.root / ".cache").glob(pattern))


# --- content


def test_the_arrays_hold_the_resized_files(dataset):
    store = make_store(dataset)
    assert store.ids == IDS
    assert (store.channels, store.num_classes, len(store)) == (3, 2, 4)
    assert [f.duration_ms[0] for f in store.fixations] == [200, 201, 202, 203]
    pseudo = dataset.root / "pseudo"
    for i, case in enumerate(dataset.cases):
        picture = Image.open(case.image).resize((32, 24), Image.Resampling.BILINEAR)
        assert np.array_equal(store.image[i], np.asarray(picture))
        truth = Image.open(case.mask).resize((32, 24), Image.Resampling.NEAREST)
        assert np.array_equal(store.mask[i], np.asarray(truth) // 255)
        for kind in ("heatmap", "crf"):
            values = np.asarray(Image.open(pseudo / kind / f"{safe_name(case.case_id)}.png")) / 65535
            small = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], SIZE, mode="bilinear")
            assert np.abs(getattr(store, kind)[i] / 255 - small[0, 0].numpy()).max() <= 0.5 / 255 + 1e-6
            if kind == "crf":
                for level, threshold in enumerate((0.5, 0.3)):
                    cut = Image.fromarray((values >= threshold).astype(np.uint8)).resize((32, 24), 0)
                    assert np.array_equal(store.levels[i, level], np.asarray(cut))


def test_levels_follow_thresholds_and_source(dataset):
    three = make_store(dataset, ("levels",), thresholds=(0.2, 0.4, 0.9))
    assert three.levels.shape == (4, 3, *SIZE)
    assert (three.levels[:, 0] >= three.levels[:, 1]).all()
    other = make_store(dataset, ("levels",), thresholds=(0.2, 0.4, 0.9), source="heatmap")
    assert not np.array_equal(three.levels, other.levels)


def test_grey_images_have_one_channel(dataset):
    grey = Dataset(dataset.root, dataset.info.model_copy(update={"channels": 1}), dataset.cases)
    assert make_store(grey, ()).image.shape == (4, *SIZE, 1)
    assert make_store(dataset, ()).image.shape == (4, *SIZE, 3)  # under another name: both can be there


@pytest.mark.parametrize("size", [(17, 90), (60, 81), (31, 40), (200, 7)])
def test_maps_are_resized_as_torch_does(size):
    values = np.random.default_rng(0).random(NATIVE, dtype=np.float32)
    exact = torch.from_numpy(values).double()[None, None]  # torch rounds positions to the type of the values
    expected = torch.nn.functional.interpolate(exact, size, mode="bilinear")
    np.testing.assert_allclose(resize_map(values, size), expected[0, 0].numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [(17, 90), (60, 81), (31, 40), (200, 7)])
def test_labels_are_resized_as_pillow_does(size):
    labels = np.random.default_rng(0).integers(0, 5, NATIVE, dtype=np.uint8)
    expected = np.asarray(Image.fromarray(labels).resize((size[1], size[0]), Image.Resampling.NEAREST))
    assert np.array_equal(resize_labels(labels, size), expected)


def test_large_images_are_reduced_without_a_visible_difference():
    y, x = np.mgrid[:1000, :1200]
    image = np.stack([128 + 100 * np.sin(x / 40), 128 + 100 * np.cos(y / 30), x / 5], axis=2).astype(np.uint8)
    plain = np.asarray(Image.fromarray(image).resize((80, 64), Image.Resampling.BILINEAR))
    assert np.abs(resize_image(image, (64, 80)).astype(int) - plain).max() <= 2


# --- made once, and only what is needed


def test_a_second_opening_decodes_nothing(dataset, monkeypatch):
    first = make_store(dataset)
    forbid_decoding(monkeypatch)
    shutil.copytree(dataset.root / "pseudo", dataset.root / "other")  # copies keep their times
    for pseudo in (dataset.root / "pseudo", dataset.root / "other"):
        again = make_store(dataset, pseudo=pseudo)
        for field in ("image", "mask", "heatmap", "crf", "levels"):
            assert np.array_equal(getattr(first, field), getattr(again, field))


def test_methods_share_the_decoded_images(dataset, monkeypatch):
    make_store(dataset, ("heatmap",))
    forbid_decoding(monkeypatch, "image")
    assert make_store(dataset, ("mask",)).mask is not None
    assert len(cache_files(dataset, "image-*")) == 1


def test_without_a_need_for_masks_no_mask_is_touched(dataset):
    expected = make_store(dataset, ("crf",))
    shutil.rmtree(dataset.root / ".cache")
    for case in dataset.cases[:2]:
        case.mask.unlink()
    for case in dataset.cases[2:]:
        case.mask.write_bytes(b"garbage")
    store = make_store(dataset, ("crf",))
    assert store.mask is None
    assert np.array_equal(store.image, expected.image)
    assert np.array_equal(store.crf, expected.crf)
    with pytest.raises(DataError, match="mask of case 'a' cannot be read"):
        make_store(dataset, ("mask",))


def test_some_cases_may_have_no_mask(dataset):
    cases = [Case(**{k: getattr(c, k) for k in c.__slots__} | {"mask": None}) for c in dataset.cases[:2]]
    store = open_store(
        dataset, [*cases, *dataset.cases[2:]], size=SIZE, fields=("mask",), cache_dir=dataset.root / ".cache"
    )
    assert (store.mask[:2] == 255).all()
    assert set(np.unique(store.mask[2:])) == {0, 1}
    with pytest.raises(DataError, match=r"no case has one.*--masks DIR"):
        open_store(dataset, cases, size=SIZE, fields=("mask",), cache_dir=dataset.root / ".cache")


def test_a_changed_file_is_decoded_again(dataset):
    before = make_store(dataset, ()).image[1].copy()
    Image.new("RGB", NATIVE[::-1], (9, 9, 9)).save(dataset.cases[1].image)
    after = make_store(dataset, ())
    assert (after.image[1] == 9).all()
    assert (before != 9).any()


def test_size_and_order_have_files_of_their_own(dataset):
    make_store(dataset, ())
    assert make_store(dataset, (), size=(8, 8)).image.shape == (4, 8, 8, 3)
    turned = open_store(dataset, dataset.cases[::-1], size=SIZE, cache_dir=dataset.root / ".cache")
    assert np.array_equal(turned.image[::-1], make_store(dataset, ()).image)
    assert len(cache_files(dataset)) == 3


def test_a_changed_crf_makes_new_maps_but_keeps_the_rest(dataset):
    make_store(dataset, ("heatmap", "crf"))
    config = MasksConfig.model_validate({"pseudo": {"thresholds": (0.5, 0.3)}, "crf": {"sxy": 20}})
    write_yaml(dataset.root / "pseudo" / "config.yaml", config)
    make_store(dataset, ("heatmap", "crf"))
    assert [len(cache_files(dataset, f"{field}-*")) for field in ("image", "heatmap", "crf")] == [1, 1, 2]


# --- broken caches


@pytest.mark.parametrize("damage", ["cut", "flip", "zeros", "empty", "checksum", "longer"])
def test_a_damaged_array_is_made_again(dataset, damage):
    expected = make_store(dataset, ()).image.copy()
    (file,) = cache_files(dataset)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "zeros":  # what a power cut leaves of a file that was never flushed
        content[1000:] = bytes(len(content) - 1000)
    elif damage == "checksum":
        content = content[:-1]
    elif damage == "longer":
        content += b"x"
    else:
        content = bytearray()
    file.unlink()  # a file in use is replaced, never written over
    file.write_bytes(content)
    assert np.array_equal(make_store(dataset, ()).image, expected)
    assert len(cache_files(dataset)) == 1


def test_the_file_opens_with_numpy_alone_and_cannot_be_written_through(dataset):
    store = make_store(dataset, ())
    (file,) = cache_files(dataset)
    assert np.array_equal(np.load(file), store.image)
    with pytest.raises(ValueError, match="read-only"):
        store.image[0] = 0


def test_a_broken_image_leaves_nothing_behind(dataset):
    dataset.cases[2].image.write_bytes(dataset.cases[2].image.read_bytes()[:500])
    with pytest.raises(DataError, match="case 'c/d'"):
        make_store(dataset)
    assert os.listdir(dataset.root / ".cache") == []


def test_a_disk_that_fills_up_leaves_nothing_behind(dataset, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"\.cache: the cache cannot be written \(No space left.*--data\.cache DIR"):
        make_store(dataset)
    assert os.listdir(dataset.root / ".cache") == []


def test_a_folder_that_cannot_be_written_names_the_way_out(dataset):
    blocker = dataset.root / "file"
    blocker.write_text("")
    with pytest.raises(DataError, match=r"file/cache: the cache cannot be written .*--data\.cache DIR"):
        make_store(dataset, cache_dir=blocker / "cache")
    assert make_store(dataset, cache_dir=dataset.root / "elsewhere").image.shape == (4, *SIZE, 3)


def test_leftovers_of_a_killed_run_go_after_a_day(dataset):
    folder = dataset.root / ".cache"
    folder.mkdir()
    old, young = folder / ".image-old.tmp", folder / ".image-young.tmp"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    make_store(dataset, ())
    assert not old.exists()
    assert young.exists()  # another run may be writing it


# --- bad requests


def test_requests_that_cannot_be_met(dataset):
    with pytest.raises(DataError, match=r"no field 'heatmaps'.*did you mean 'heatmap'"):
        make_store(dataset, ("heatmaps",))
    with pytest.raises(DataError, match="gazeseg masks"):
        make_store(dataset, ("crf",), pseudo=None)
    with pytest.raises(DataError, match="gazeseg masks"):
        make_store(dataset, ("crf",), pseudo=dataset.root / "nowhere")
    with pytest.raises(DataError, match="no case to read"):
        open_store(dataset, [], size=SIZE, cache_dir=dataset.root / ".cache")
    (dataset.root / "pseudo" / "crf" / f"{safe_name('c/d')}.png").unlink()
    with pytest.raises(DataError, match="crf of case 'c/d'"):
        make_store(dataset, ("crf",))


def test_crf_maps_are_missed_by_name_when_they_were_switched_off(tmp_path):
    dataset = make_dataset(tmp_path, crf="off")
    with pytest.raises(DataError, match=r"crf\.mode off.*--pseudo\.source heatmap"):
        make_store(dataset, ("crf",))
    assert make_store(dataset, ("levels",), source="heatmap").levels is not None
