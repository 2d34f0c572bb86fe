import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gazeseg.data.images import (
    find_images,
    read_image,
    read_image_size,
    read_indexed,
    read_map,
    read_mask,
    safe_name,
    write_image,
    write_indexed,
    write_map,
)
from gazeseg.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def blob(height: int = 40, width: int = 50) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - 20) ** 2 + (x - 25) ** 2 < 100).astype(np.uint8)


# ---- images


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_8_bit_images_come_through_untouched(tmp_path, suffix):
    assert np.array_equal(read_image(save(tmp_path / f"c.{suffix}", COLOUR)), COLOUR)
    assert np.array_equal(read_image(save(tmp_path / f"g.{suffix}", GREY)), GREY[:, :, None])


def test_channels_can_be_asked_for(tmp_path):
    grey, colour = save(tmp_path / "g.png", GREY), save(tmp_path / "c.png", COLOUR)
    assert np.array_equal(read_image(grey, 3), np.repeat(GREY[:, :, None], 3, axis=2))
    luma = COLOUR @ [0.299, 0.587, 0.114]  # ITU-R 601-2
    assert np.abs(read_image(colour, 1)[..., 0] - luma).max() <= 1
    assert read_image(colour, 1).shape == (6, 9, 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_pixels_and_size(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", COLOUR, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_image(path), expected)
    assert read_image_size(path) == expected.shape[:2] == ((9, 6) if orientation >= 5 else (6, 9))


def test_transparent_images_are_laid_on_black(tmp_path):
    rgba = np.dstack([COLOUR, np.full((6, 9), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    rgba[0, 1, 3] = 51  # a fifth
    pixels = read_image(save(tmp_path / "a.png", rgba))
    assert np.array_equal(pixels[1:], COLOUR[1:])
    assert (pixels[0, 0] == 0).all()
    assert np.abs(pixels[0, 1] - COLOUR[0, 1] / 5).max() <= 1


def test_a_palette_becomes_colour_and_a_grey_palette_grey(tmp_path):
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9, 1, 2, 3, 4, 5, 6])
    image.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png")[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    image.putpalette([v for v in (200, 7, 3, 4, 5, 6) for _ in range(3)])
    image.save(tmp_path / "g.png")
    assert read_image(tmp_path / "g.png")[..., 0].tolist() == [[200, 7, 3], [4, 5, 6]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_is_stretched_from_its_minimum_to_its_maximum(tmp_path, suffix):
    deep = np.array([[1000, 1500], [2000, 3000]], np.uint16)
    assert read_image(save(tmp_path / f"a.{suffix}", deep))[..., 0].tolist() == [[0, 64], [128, 255]]
    flat = save(tmp_path / f"b.{suffix}", np.full((2, 2), 777, np.uint16))
    assert read_image(flat)[..., 0].tolist() == [[0, 0], [0, 0]]


def test_float_tiff_with_nan(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[np.nan, -1.0], [0.0, 1.0]], np.float32))
    assert read_image(path)[..., 0].tolist() == [[0, 0], [128, 255]]


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "a.jpg")[4, 4]
    assert red > 200
    assert max(green, blue) < 60


def test_a_truncated_jpeg_names_file_and_case(tmp_path):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "a.jpg", noise)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"a\.jpg \(case 'c7'\): broken image .*truncated.*replace the file"):
        read_image(path, case_id="c7")
    assert read_image_size(path) == (64, 64)  # the header is whole
    path.write_bytes(b"")
    for read in (read_image, read_image_size):
        with pytest.raises(DataError, match="not an image, or cut off in its header"):
            read(path)


def test_missing_files_and_several_pages(tmp_path):
    with pytest.raises(DataError, match=r"no\.png: no such file"):
        read_image(tmp_path / "no.png")
    page = Image.fromarray(GREY)
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page])
    with pytest.raises(DataError, match=r"holds 2 pages; export one image a file"):
        read_image(tmp_path / "stack.tif")


def test_the_size_is_read_without_decoding(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert read_image_size(path) == (6, 9)


# ---- masks


def test_every_spelling_of_a_binary_mask_reads_the_same(tmp_path):
    truth = blob()
    palette = Image.fromarray(1 - truth)
    palette.putpalette([255, 255, 255, 0, 0, 0])  # white comes first
    palette.save(tmp_path / "white_first.png")
    red = Image.fromarray(truth)
    red.putpalette([0, 0, 0, 128, 0, 0])  # the colour of class 1 in many label tools
    red.save(tmp_path / "red.png")
    paths = [
        tmp_path / "white_first.png",
        tmp_path / "red.png",
        save(tmp_path / "01.png", truth),
        save(tmp_path / "255.png", truth * 255),
        save(tmp_path / "rgb.png", np.repeat(truth[:, :, None] * 255, 3, axis=2)),
        save(tmp_path / "rgba.png", np.dstack([truth * 255] * 3 + [np.full_like(truth, 255)])),
        save(tmp_path / "alpha.png", np.dstack([np.full_like(truth, 255)] * 3 + [truth * 255])),
        save(tmp_path / "deep.png", truth.astype(np.uint16) * 65535),
        save(tmp_path / "bool.png", truth.astype(bool)),
        save(tmp_path / "soft.jpg", np.repeat(truth[:, :, None] * 255, 3, axis=2), quality=90),
    ]
    assert len(np.unique(np.asarray(Image.open(paths[-1])))) > 2  # the JPEG has soft edges
    for path in paths:
        mask = read_mask(path, (40, 50), 2)
        assert mask.dtype == np.uint8, path
        assert np.array_equal(mask, truth), path


def test_an_empty_mask_is_no_error(tmp_path):
    for suffix in ("png", "jpg"):
        assert not read_mask(save(tmp_path / f"a.{suffix}", np.zeros((4, 5), np.uint8)), (4, 5), 2).any()


def test_a_mask_of_another_size_names_both_sizes(tmp_path):
    path = save(tmp_path / "a.png", blob())
    with pytest.raises(DataError, match=r"a\.png \(case 'k'\): the mask is 40 x 50 \(H x W\) but its image is 50 x 40"):
        read_mask(path, (50, 40), 2, "k")


def test_class_indices_and_ignore(tmp_path):
    labels = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    path = save(tmp_path / "a.png", labels)
    assert np.array_equal(read_mask(path, (2, 3), 3), labels)
    with pytest.raises(DataError, match=r"values 2 are outside the declared classes 0\.\.1"):
        read_mask(path, (2, 3), 2, encoding="index")
    ignoring = save(tmp_path / "b.png", np.array([[0, 1, 255]], np.uint8))
    assert read_mask(ignoring, (1, 3), 2).tolist() == [[0, 1, 255]]
    assert read_mask(ignoring, (1, 3), 2, encoding="binary").tolist() == [[0, 0, 1]]


def test_palette_indices_are_classes_even_with_a_transparent_background(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_mask(tmp_path / "a.png", (1, 3), 3).tolist() == [[0, 1, 2]]


def test_masks_that_mean_something_else_are_refused(tmp_path):
    three = save(tmp_path / "three.png", np.array([[0, 1, 2]], np.uint8))
    with pytest.raises(DataError, match="values 0, 1, 2 are neither 0/1 nor 0/255; store 0/1, or set mask_encoding"):
        read_mask(three, (1, 3), 2)
    colour = save(tmp_path / "colour.png", np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    with pytest.raises(DataError, match=r"a colour mask; store class indices 0\.\.2"):
        read_mask(colour, (1, 2), 3)
    dim = save(tmp_path / "dim.png", np.array([[0, 90]], np.uint8))
    assert read_mask(dim, (1, 2), 2, encoding="binary").tolist() == [[0, 0]]


# ---- writing


def test_a_map_survives_the_disk_to_half_a_step_and_then_exactly(tmp_path):
    values = RNG.random((31, 17)).astype(np.float32)
    values[0, :2] = 0, 1
    write_map(tmp_path / "deep" / "a.png", values)
    once = read_map(tmp_path / "deep" / "a.png")
    assert once.dtype == np.float32
    assert np.abs(once - values).max() <= 0.51 / 65535
    assert once[0, 0] == 0
    assert once[0, 1] == 1
    write_map(tmp_path / "b.png", once)
    assert np.array_equal(read_map(tmp_path / "b.png"), once)
    with pytest.raises(DataError, match=r"values in \[0, 1\], got nan"):
        write_map(tmp_path / "c.png", np.full((2, 2), np.nan))
    with pytest.raises(DataError, match="not a 16-bit soft map"):
        read_map(save(tmp_path / "d.png", GREY))


def test_indexed_images_keep_values_and_show_colours(tmp_path):
    labels = np.array([[0, 1, 255]], np.uint8)
    write_indexed(tmp_path / "a.png", labels, {1: (10, 20, 30)})
    assert np.array_equal(read_indexed(tmp_path / "a.png"), labels)
    assert np.array_equal(read_mask(tmp_path / "a.png", (1, 3), 2), labels)
    assert read_image(tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [10, 20, 30], [255, 255, 255]]
    with pytest.raises(DataError, match="not an indexed image"):
        read_indexed(save(tmp_path / "b.png", COLOUR))


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_nothing_and_keeps_the_old_file(tmp_path, monkeypatch, reason):
    path = tmp_path / "a.png"
    write_image(path, COLOUR)
    before = path.read_bytes()

    def fail(self: Path, content: bytes) -> int:
        with io.FileIO(self, "w") as stream:
            stream.write(content[:10])
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DataError, match=rf"a\.png: cannot be written \({os.strerror(reason)}\); choose another"):
        write_image(path, 255 - COLOUR)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# ---- names


@given(st.text(max_size=12), st.text(max_size=12))
def test_safe_names_are_safe_and_never_shared(a, b):
    for name in (safe_name(a), safe_name(b)):
        assert name.isascii()
        assert 0 < len(name) <= 200
        assert not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>| ')
    assert (safe_name(a) == safe_name(b)) == (a == b)


def test_long_and_odd_ids():
    long = ["x" * 300, "x" * 301, "é" * 90]
    names = [safe_name(name) for name in (*long, ".", "..", "%2E", "", "%")]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 200
    assert safe_name("cju0qkwl35piu0993l0dewei2") == "cju0qkwl35piu0993l0dewei2"
    assert safe_name("Prostate3T-01-0001_1") == "Prostate3T-01-0001_1"


def test_a_folder_of_images_by_stem(tmp_path):
    deep = tmp_path / "Bild ü" / "sub"
    deep.mkdir(parents=True)
    save(tmp_path / "Bild ü" / "b.PNG", GREY)
    save(tmp_path / "Bild ü" / "a.jpeg", GREY)
    save(deep / "a.tif", GREY)
    (tmp_path / "Bild ü" / ".hidden.png").write_bytes(b"")
    (tmp_path / "Bild ü" / "notes.txt").write_text("x")
    assert list(find_images(tmp_path / "Bild ü")) == ["a", "b"]
    assert list(find_images(tmp_path / "Bild ü", recursive=True)) == ["a", "b", "sub/a"]
    save(tmp_path / "Bild ü" / "a.png", GREY)
    with pytest.raises(DataError, match=r"'a\.jpeg' has the same name but for its ending"):
        find_images(tmp_path / "Bild ü")
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in it"):
        find_images(tmp_path / "empty")
