import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gazeseg.data.images import read_map
from gazeseg.errors import DataError
from gazeseg.predict.folder import predict_folder

RNG = np.random.default_rng(0)


class BrightIsForeground:
    """Stands in for a trained model: the probability of the foreground is the brightness."""

    task = SimpleNamespace(classes=("background", "bright spot"))

    def probabilities(self, images):
        values = [image.astype(np.float32).mean(axis=2) / 255 for image in images]
        return [np.stack([1 - value, value]) for value in values]


PREDICTOR = BrightIsForeground()


def save(path, height=20, width=30, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def written(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_any_name_and_folder_gets_a_mask_at_native_size(tmp_path):
    source, out = tmp_path / "my images é", tmp_path / "masks"
    names = ["plain.png", "with space (2).png", "ward 3/Österreich 三.png", "ward 3/deep/x.tif"]
    pixels = {name: save(source / name, 20 + i, 30 - i) for i, name in enumerate(names)}
    assert predict_folder(PREDICTOR, source, out) == {}
    expected = [name.removesuffix(".tif").removesuffix(".png") + ".png" for name in names]
    # some file systems store é in two signs
    composed = [unicodedata.normalize("NFC", name) for name in written(out)]
    assert composed == sorted(unicodedata.normalize("NFC", name) for name in expected)
    for name, target in zip(names, expected, strict=True):
        mask = np.asarray(Image.open(out / target))
        np.testing.assert_array_equal(mask, pixels[name].astype(np.float32).mean(axis=2) > 127.5)


def test_a_single_file_will_do(tmp_path):
    save(tmp_path / "a.jpg")
    predict_folder(PREDICTOR, tmp_path / "a.jpg", tmp_path / "out")
    assert written(tmp_path / "out") == ["a.png"]


def test_equal_stems_keep_their_endings(tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        save(tmp_path / "in" / name)
    predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out")
    assert written(tmp_path / "out") == ["a.jpg.png", "a.png.png", "b.png"]
    save(tmp_path / "in" / "a.jpg.png")
    predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "all")
    assert written(tmp_path / "all") == ["a.jpg.png", "a.jpg.png.png", "a.png.png", "b.png.png"]


def test_probabilities_are_written_per_class_without_loss(tmp_path):
    pixels = save(tmp_path / "in" / "sub" / "a.png")
    predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out", probabilities=True)
    assert written(tmp_path / "out") == ["probabilities/bright%20spot/sub/a.png", "sub/a.png"]
    values = read_map(tmp_path / "out" / "probabilities" / "bright%20spot" / "sub" / "a.png")
    np.testing.assert_allclose(values, pixels.mean(axis=2) / 255, atol=1e-5)


def test_masks_are_in_the_displayed_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    pixels = save(tmp_path / "in" / "a.png", 20, 30, exif=exif)
    predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out")
    mask = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert mask.shape == (30, 20)
    np.testing.assert_array_equal(mask, np.rot90(pixels.astype(np.float32).mean(axis=2) > 127.5, -1))


def test_a_bad_file_is_named_and_the_rest_goes_on(tmp_path):
    source = tmp_path / "in"
    for i in range(20):
        save(source / f"{i:02}.jpg")
    whole = (source / "05.jpg").read_bytes()
    (source / "05.jpg").write_bytes(whole[: len(whole) // 3])
    (source / "17.png").write_text("no image")
    failures = predict_folder(PREDICTOR, source, tmp_path / "out")
    assert [path.name for path in failures] == ["05.jpg", "17.png"]
    assert all(reason and str(source) not in reason for reason in failures.values())
    assert len(written(tmp_path / "out")) == 19


def test_nothing_is_left_out_in_silence(tmp_path, capsys):
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "notes.txt").write_text("x")
    predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out")
    assert "notes.txt" in capsys.readouterr().err


def test_masks_of_an_earlier_run_are_no_images(tmp_path):
    source = tmp_path / "in"
    save(source / "a.png")
    for _ in range(2):
        predict_folder(PREDICTOR, source, source / "masks")
    assert written(source) == ["a.png", "masks/a.png"]


def test_wrong_places_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        predict_folder(PREDICTOR, tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in it"):
        predict_folder(PREDICTOR, tmp_path / "empty", tmp_path / "out")
    save(tmp_path / "in" / "a.png")
    with pytest.raises(DataError, match="would replace"):
        predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "in")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "file" / "out")
