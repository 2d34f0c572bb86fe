"""SCR on JSRT: raw big-endian films and PNG conversions, structures painted over each other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.data.importers import scr
from gazeseg.errors import DataError

BOXES = {
    "left lung": (slice(1, 7), slice(8, 14)),
    "right lung": (slice(1, 7), slice(1, 6)),
    "heart": (slice(4, 8), slice(5, 10)),
    "left clavicle": (slice(1, 2), slice(8, 14)),
    "right clavicle": (slice(1, 2), slice(1, 6)),
}
SIZE = (8, 16)
MANY = [f"JPCLN{k:03d}" for k in range(1, 11)]


def make(root: Path, names=MANY, *, size=SIZE, scale: int = 1) -> Path:
    (root / "images").mkdir(parents=True)
    for name in names:
        pixels = np.random.default_rng(list(name.encode())).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(np.kron(pixels, np.ones((scale, scale), np.uint8))).save(root / "images" / f"{name}.png")
        for structure, box in BOXES.items():
            mask = np.zeros(size, np.uint8)
            mask[box] = 255
            folder = root / "scr" / "fold1" / "masks" / structure
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / f"{name}.gif")
    return root


def test_structures_lie_over_each_other_by_priority(tmp_path):
    dataset = scr.run(tmp_path / "DS", root=make(tmp_path / "SCR"), merge_sides=False)
    assert dataset.info.classes == ("background", *scr.PAINTED)
    mask = dataset.mask(dataset.cases[0])
    expected = np.zeros(SIZE, int)
    for index, structure in enumerate(scr.PAINTED, 1):
        expected[BOXES[structure]] = index
    np.testing.assert_array_equal(mask, expected)
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [6, 1, 3]
    assert dataset.info.labelled_order == tuple(MANY[:6])
    merged = scr.run(tmp_path / "DS3", root=tmp_path / "SCR")
    assert merged.info.classes == ("background", "lungs", "heart", "clavicles")
    classes = np.array([0, 1, 1, 2, 3, 3])
    np.testing.assert_array_equal(merged.mask(merged.cases[0]), classes[expected])


def test_a_raw_film_is_big_endian_and_inverted(tmp_path, monkeypatch):
    monkeypatch.setattr(scr, "SIDE", 32)
    root = make(tmp_path / "SCR", MANY[:1], size=(16, 16))
    (root / "images" / f"{MANY[0]}.png").unlink()
    film = np.random.default_rng(0).integers(0, 4096, (32, 32))
    (root / "images" / f"{MANY[0]}.IMG").write_bytes(film.astype(">u2").tobytes())
    dataset = scr.run(tmp_path / "DS", root=root)
    [case] = dataset.cases
    means = (4095 - film).reshape(16, 2, 16, 2).mean(axis=(1, 3))
    expected = np.rint(255 * (means - means.min()) / np.ptp(means))
    np.testing.assert_array_equal(dataset.image(case)[..., 0], expected)
    assert case.spacing_mm == pytest.approx((0.35, 0.35))


def test_larger_images_are_averaged_to_the_size_of_the_masks(tmp_path):
    dataset = scr.run(tmp_path / "DS", root=make(tmp_path / "SCR", MANY[:2], scale=4))
    assert {case.size for case in dataset.cases} == {SIZE}
    pixels = np.random.default_rng(list(MANY[0].encode())).integers(0, 256, SIZE, dtype=np.uint8)
    np.testing.assert_array_equal(dataset.image(dataset.case(MANY[0]))[..., 0], pixels)
    assert dataset.cases[0].spacing_mm is None


def _no_heart(root: Path) -> None:
    (root / "scr" / "fold1" / "masks" / "heart" / "JPCLN004.gif").unlink()


def _short(root: Path) -> None:
    (root / "images" / "JPCLN002.png").unlink()
    (root / "images" / "JPCLN002.IMG").write_bytes(b"0" * 100)


def _twice(root: Path) -> None:
    (root / "images" / "JPCLN002.IMG").write_bytes(b"0" * 100)


def _other_size(root: Path) -> None:
    Image.fromarray(np.zeros((9, 16), np.uint8)).save(root / "images" / "JPCLN003.png")


def _no_image(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.unlink()


def _broken(root: Path) -> None:
    (root / "scr" / "fold1" / "masks" / "heart" / "JPCLN004.gif").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_heart, r"no mask of the heart of 'JPCLN004'; expected <root>"),
        (_short, r"JPCLN002.IMG: 100 bytes, expected 8388608 of a raw 2048 x 2048 image"),
        (_twice, r"'JPCLN002' is there already as .*; keep one of the two"),
        (_other_size, r"the image is 9 x 16 but its masks are 8 x 16"),
        (_no_image, r"no image of SCR below it; expected"),
        (_broken, r"JPCLN004.gif: cannot be read"),
    ],
)
def test_bad_folders_are_one_line_and_write_nothing(tmp_path, spoil, message):
    root = make(tmp_path / "SCR")
    spoil(root)
    with pytest.raises(DataError, match=message) as caught:
        scr.run(tmp_path / "DS", root=root)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "DS").exists()
