import shutil
import sys

import clinical
import numpy as np
import pydicom
import pytest
from clinical import HEIGHT, WIDTH, bright_box, edit, write_cine, write_colour, write_enhanced, write_series
from pydicom.uid import JPEG2000Lossless

from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.predict.sources import find_sources
from gazeseg.predict.sources.dicom import find_dicom, is_dicom

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's frame and DICOM's differ in two signs


def only(folder, out):
    found = find_sources(folder, out / "out")
    assert len(found.sources) == 1, found
    return found.sources[0]


def bright(frames):
    return np.stack([image[:, :, 0] > 127 for image in frames.images])


def test_a_series_is_sorted_by_position_whatever_its_names_and_numbers(tmp_path):
    frames = only(write_series(tmp_path / "in" / "T2 tse"), tmp_path).read()
    np.testing.assert_array_equal(bright(frames), bright_box())
    assert [image.dtype for image in frames.images] == [np.uint8] * 5
    assert frames.names == ("im30", "im00", "im40", "im10", "im20")


def test_the_affine_leads_from_a_voxel_to_the_position_in_the_header(tmp_path):
    frames = only(write_series(tmp_path / "in" / "T2"), tmp_path).read()
    affine = LPS @ frames.grid.affine
    for k in range(5):
        np.testing.assert_allclose((affine @ [0, 0, k, 1])[:3], clinical.place(k), atol=1e-4)
    down = affine @ [0, 1, 0, 0]  # one row down is 0.5 mm along the column direction
    np.testing.assert_allclose(down[:3], 0.5 * clinical.COLUMN, atol=1e-5)
    np.testing.assert_allclose((affine @ [1, 0, 0, 0])[:3], [0.75, 0, 0], atol=1e-5)


def test_an_enhanced_object_is_a_stack_as_a_series_is(tmp_path):
    frames = only(write_enhanced(tmp_path / "in" / "a.dcm"), tmp_path).read()
    series = only(write_series(tmp_path / "series" / "T2"), tmp_path).read()
    np.testing.assert_array_equal(bright(frames), bright_box())
    np.testing.assert_allclose(frames.grid.affine, series.grid.affine, atol=1e-5)
    assert frames.dicom.order == (4, 3, 2, 1, 0)


def test_a_colour_frame_and_a_loop_have_no_place(tmp_path):
    colour = only(write_colour(tmp_path / "in" / "endo.dcm"), tmp_path).read()
    assert colour.images[0].shape == (HEIGHT, WIDTH, 3)
    assert colour.images[0][3, 4].tolist() == [250, 240, 200]
    assert colour.grid is None
    loop = only(write_cine(tmp_path / "us" / "loop.dcm"), tmp_path).read()
    np.testing.assert_array_equal(bright(loop), bright_box(3))
    assert loop.images[0].max() == 220  # 8 bits are kept as they are
    assert loop.names == ("0001", "0002", "0003")


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"RescaleSlope": "2.5", "RescaleIntercept": "-1024"}, True),
        ({"RescaleSlope": "-1", "RescaleIntercept": "4095"}, False),
        ({"PhotometricInterpretation": "MONOCHROME1"}, False),
        ({"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "-1", "RescaleIntercept": "4095"}, True),
    ],
)
def test_bright_is_high_whatever_the_header_says_about_values(tmp_path, changes, same):
    folder = write_series(tmp_path / "in" / "T2", **changes)
    found = bright(only(folder, tmp_path).read())
    np.testing.assert_array_equal(found, bright_box() if same else ~bright_box())


def test_eight_bits_of_monochrome1_are_inverted(tmp_path):
    path = write_cine(tmp_path / "in" / "loop.dcm")
    edit(path, PhotometricInterpretation="MONOCHROME1")
    frames = only(path.parent, tmp_path).read()
    assert sorted(np.unique(frames.images[0]).tolist()) == [35, 235]


def test_a_missing_slice_is_said_and_leaves_no_regular_grid(tmp_path):
    frames = only(write_series(tmp_path / "in" / "T2", skip=(2,)), tmp_path).read()
    assert frames.grid is None
    assert frames.notes == ("a slice is missing: 6.00 mm between 'im00.dcm' and 'im10.dcm', elsewhere 3.00 mm",)
    np.testing.assert_array_equal(bright(frames), np.delete(bright_box(), 2, axis=0))


def test_two_slices_at_one_place_are_refused(tmp_path):
    folder = write_series(tmp_path / "in" / "T2")
    shutil.copy(folder / "im00.dcm", folder / "copy.dcm")
    with pytest.raises(DataError, match=r"'im00.dcm' is at the same place as 'copy.dcm'; keep one"):
        only(folder, tmp_path).read()


def test_mixed_orientations_are_refused(tmp_path):
    folder = write_series(tmp_path / "in" / "T2")
    edit(folder / "im40.dcm", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    with pytest.raises(DataError, match=r"1 of 5 slices have another orientation than .* e\.g\. 'im40.dcm'"):
        only(folder, tmp_path).read()


def test_another_spacing_in_a_series_is_refused(tmp_path):
    folder = write_series(tmp_path / "in" / "T2")
    edit(folder / "im40.dcm", PixelSpacing=[1, 1])
    with pytest.raises(DataError, match=r"'im40.dcm' has another size or pixel spacing"):
        only(folder, tmp_path).read()


def test_a_missing_decoder_is_named(tmp_path):
    folder = write_series(tmp_path / "in" / "T2")
    for path in folder.iterdir():
        item = pydicom.dcmread(path)
        item.file_meta.TransferSyntaxUID = JPEG2000Lossless
        item.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60])
        item["PixelData"].is_undefined_length = True
        item.save_as(path)
    decoder = pydicom.pixels.get_decoder(JPEG2000Lossless)  # as where none of its decoders is installed
    kept = dict(decoder._available)
    decoder._available.clear()
    try:
        with pytest.raises(DataError, match=r"compressed as JPEG 2000 .*; its decoder is missing: install .*pylibjpeg"):
            only(folder, tmp_path).read()
    finally:
        decoder._available.update(kept)


def test_damaged_pixels_are_one_line(tmp_path):
    folder = write_series(tmp_path / "in" / "T2")
    path = folder / "im40.dcm"
    path.write_bytes(path.read_bytes()[:-200])
    source = only(folder, tmp_path)
    with pytest.raises(DataError, match=r"im40.dcm: its pixels cannot be decoded") as error:
        source.read()
    assert "\n" not in str(error.value)


def test_files_are_grouped_named_and_told_apart(tmp_path):
    base = tmp_path / "in"
    write_series(base / "anna" / "T2")
    write_series(base / "bert", series="1.2.3")
    write_series(base / "bert", series="1.2.4", depth=2)  # file names overlap: slices 0 and 1 of the first are gone
    write_colour(base / "endo.dcm")
    (base / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x01\x02")
    (base / "other.dcm").write_text("no DICOM at all")
    (base / "notes.txt").write_text("x")
    shutil.copy(base / "endo.dcm", base / "no_ending")
    edit(base / "anna" / "T2" / "im00.dcm", Modality="SR")
    found = find_sources(base, tmp_path / "out")
    names = [str(source.name) for source in found.sources]
    assert names == ["anna/T2", "bert/1.2.3", "bert/1.2.4", "endo", "no_ending"]
    assert [path.name for path in found.failures] == ["broken.dcm", "other.dcm"]
    assert sorted(path.name for path in found.others) == ["im00.dcm", "notes.txt"]
    assert is_dicom(base / "no_ending")
    assert not is_dicom(base / "notes.txt")


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = write_colour(tmp_path / "endo.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingDependencyError, match=r"gazeseg\[medical\]"):
        find_dicom([path], tmp_path)
