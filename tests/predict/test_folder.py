import unicodedata

import nibabel as nib
import numpy as np
import pydicom
import pytest
from clinical import BrightIsForeground, bright_box, write_cine, write_colour, write_enhanced, write_series
from PIL import Image

from gazeseg.data.images import read_map
from gazeseg.errors import ConfigError, DataError
from gazeseg.predict.folder import Doubt, predict_folder
from gazeseg.predict.uncertainty import Uncertain

RNG = np.random.default_rng(0)


PREDICTOR = BrightIsForeground()


def save(path, height=20, width=30, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def written(out):
    """Names of the files, less the record of how they were made."""
    records = (out / "predict.json", out / "outputs.jsonl", out / "review.csv")
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and path not in records)


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
    assert written(source) == ["a.png", "masks/a.png", "masks/outputs.jsonl", "masks/predict.json"]


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


def test_every_kind_of_file_goes_in_and_comes_out_as_itself(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "photo.jpg")
    write_series(source / "anna" / "T2")
    write_enhanced(source / "bert.dcm")
    write_colour(source / "endo.dcm")
    write_cine(source / "loop.dcm")
    affine = np.diag([-2.0, -2.0, 5.0, 1.0])
    nib.save(nib.Nifti1Image(np.where(bright_box().T, 900, 100).astype(np.int16), affine), source / "ct.nii.gz")
    assert predict_folder(PREDICTOR, source, out) == {}
    expected = ["anna/T2.dcm", "bert.dcm", "ct.nii.gz", "endo.dcm", *(f"loop/000{k}.png" for k in (1, 2, 3))]
    assert written(out) == [*expected, "photo.png"]
    np.testing.assert_array_equal(np.asarray(nib.load(out / "ct.nii.gz").dataobj), bright_box().T)
    assert pydicom.dcmread(out / "bert.dcm").pixel_array.sum() == bright_box().sum()


def test_a_format_can_be_chosen_and_must_fit(tmp_path):
    source = tmp_path / "in"
    write_series(source / "anna" / "T2", skip=(2,))
    write_series(source / "bert")
    predict_folder(PREDICTOR, source, tmp_path / "png", format="png")
    assert len(written(tmp_path / "png")) == 9
    mask = np.asarray(Image.open(tmp_path / "png" / "bert" / "im10.png"))
    np.testing.assert_array_equal(mask, bright_box()[3])
    failures = predict_folder(PREDICTOR, source, tmp_path / "nifti", format="nifti")
    assert written(tmp_path / "nifti") == ["bert.nii.gz"]
    [reason] = failures.values()
    assert "a slice is missing" in reason
    assert reason.endswith("so it cannot be written as nifti; use --format png")
    save(source / "photo.jpg")
    with pytest.raises(ConfigError, match=r"photo.jpg: cannot be written as dicom-seg: .* choose --format png"):
        predict_folder(PREDICTOR, source, tmp_path / "seg", format="dicom-seg")
    with pytest.raises(ConfigError, match="unknown format 'nifty'; did you mean 'nifti'"):
        predict_folder(PREDICTOR, source, tmp_path / "seg", format="nifty")
    assert not (tmp_path / "seg").exists()


def test_probabilities_of_a_volume_are_a_volume(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    values = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 2.0, 1.0])), source / "a.nii")
    predict_folder(PREDICTOR, source, out, probabilities=True)
    maps = nib.load(out / "probabilities" / "bright%20spot" / "a.nii.gz")
    np.testing.assert_allclose(maps.get_fdata(), values / 255, atol=1e-6)
    np.testing.assert_array_equal(maps.affine, nib.load(source / "a.nii").affine)


def test_what_is_done_is_not_done_again(tmp_path):
    source, out, predictor = tmp_path / "in", tmp_path / "out", BrightIsForeground()
    for name in ("a.png", "b.png", "c.png"):
        save(source / name)
    predict_folder(predictor, source, out)
    assert predictor.seen == 3
    (out / "a.png").unlink()  # lost: done again
    save(source / "b.png")  # replaced: done again
    save(source / "d.png")  # new
    predict_folder(predictor, source, out)
    assert predictor.seen == 6
    with (out / "outputs.jsonl").open("a") as stream:
        stream.write('{"source": "cut sho')  # a kill in the middle of a line
    predict_folder(predictor, source, out)
    assert predictor.seen == 6


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    for k in range(40):
        save(source / f"{k:02}.png")

    class Interrupted(BrightIsForeground):
        def masks(self, images):
            if self.seen >= 20:
                raise KeyboardInterrupt
            return super().masks(images)

    with pytest.raises(KeyboardInterrupt):
        predict_folder(Interrupted(), source, out)
    assert not list(out.rglob(".*"))
    predictor = BrightIsForeground()
    predict_folder(predictor, source, out)
    assert predictor.seen == 20
    assert len(written(out)) == 40


def test_masks_of_another_model_or_of_nobody_are_not_mixed_with(tmp_path):
    save(tmp_path / "in" / "a.png")
    predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError, match=r"holds masks made with another weights \(w1, now w2\)"):
        predict_folder(BrightIsForeground("w2"), tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError, match="holds masks made with another probabilities"):
        predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out", probabilities=True)
    save(tmp_path / "other" / "x.png")
    with pytest.raises(DataError, match=r"is not empty and holds no predict.json"):
        predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "other")
    (tmp_path / "out" / "predict.json").write_text("{")
    with pytest.raises(DataError, match=r"predict.json: broken JSON"):
        predict_folder(PREDICTOR, tmp_path / "in", tmp_path / "out")


class Doubting(BrightIsForeground):
    """Expects the Dice that the first pixel shows, and finds its entropy in the green channel."""

    def uncertain(self, images, *, temperature, others):
        assert (temperature, others) == (2.0, ())
        masks = self.masks(images)
        maps = [image[:, :, -1].astype(np.float32) / 255 for image in images]
        return [
            Uncertain(mask, np.stack([1 - m, m]), m, 1 - m, float(image[0, 0, 0]) / 255)
            for mask, m, image in zip(masks, maps, images, strict=True)
        ]


def test_the_review_list_starts_with_the_lowest_expected_dice(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, first in (("a", 200), ("b", 20), ("c", 90)):
        pixels = np.full((8, 9, 3), 51, np.uint8)
        pixels[0, 0] = first
        Image.fromarray(pixels).save(source / f"{name}.png")
    volume = np.full((6, 5, 2), 51, np.uint8)
    nib.save(nib.Nifti1Image(volume, np.diag([-1.0, -1.0, 2.0, 1.0])), source / "v.nii")
    predictor = Doubting()
    assert predict_folder(predictor, source, out, uncertainty=Doubt(2.0)) == {}
    lines = (out / "review.csv").read_text().splitlines()
    assert lines[0] == "expected_dice,name,frame,source"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["0.0784", "b", "b"],
        ["0.2", "v", "0001"],
        ["0.2", "v", "0002"],
        ["0.3529", "c", "c"],
        ["0.7843", "a", "a"],
    ]
    np.testing.assert_allclose(read_map(out / "uncertainty" / "entropy" / "a.png")[1:], 0.2, atol=1e-4)
    np.testing.assert_allclose(nib.load(out / "uncertainty" / "disagreement" / "v.nii.gz").get_fdata(), 0.8, atol=1e-6)
    seen = predictor.seen
    (out / "review.csv").unlink()
    predict_folder(predictor, source, out, uncertainty=Doubt(2.0))
    assert (out / "review.csv").read_text().splitlines() == lines  # from the record, without the network
    assert predictor.seen == seen
    with pytest.raises(DataError, match=r"made with another uncertainty \(T=2\.0000, now T=1\.0000\)"):
        predict_folder(predictor, source, out, uncertainty=Doubt(1.0))
