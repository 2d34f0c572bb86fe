"""Pixels of DICOM objects, written here with known values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazeseg.data.dicom import eight_bit_frames, read_object, sixteen_bit_frames, stored_frames
from gazeseg.errors import DataError

pydicom = pytest.importorskip("pydicom")


def write(path: Path, pixels: np.ndarray, **tags) -> Path:
    """Write pixels (H, W), or (H, W, 3) of colours, or (N, H, W) with ``NumberOfFrames`` given."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = SecondaryCaptureImageStorage
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
    colour = pixels.shape[-1] == 3
    item.Rows, item.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    item.SamplesPerPixel = 3 if colour else 1
    if colour:
        item.PlanarConfiguration = 0
    item.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 8 * pixels.dtype.itemsize
    item.HighBit = item.BitsStored - 1
    item.PixelRepresentation = int(pixels.dtype.kind == "i")
    item.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(item, name, value)
    item.save_as(path, enforce_file_format=True)
    return path


def both(path: Path):
    """The only frame, with 8 and with 16 bits."""
    item = read_object(path)
    (eight,), (sixteen,) = eight_bit_frames(path, item), sixteen_bit_frames(path, item)
    return eight, sixteen


RAMP = np.arange(12, dtype=np.int16).reshape(3, 4) * 100 - 300  # signed, -300..800


@pytest.mark.parametrize(
    ("tags", "sixteen"),
    [
        ({}, RAMP + 300),
        ({"RescaleSlope": "2.5", "RescaleIntercept": "-1024"}, RAMP + 300),  # a rising slope keeps every level
        ({"RescaleSlope": "-1", "RescaleIntercept": "0"}, 800 - RAMP),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 800 - RAMP),
        ({"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "-1", "RescaleIntercept": "9"}, RAMP + 300),
    ],
)
def test_every_level_is_there_and_bright_is_high(tmp_path, tags, sixteen):
    found_8, found_16 = both(write(tmp_path / "a.dcm", RAMP, **tags))
    np.testing.assert_array_equal(found_16, sixteen)
    assert found_16.dtype == np.uint16
    np.testing.assert_array_equal(found_8[:, :, 0], np.rint(sixteen / 1100 * 255))


def test_eight_bits_are_kept_as_they_are(tmp_path):
    grey = np.array([[7, 9], [11, 200]], np.uint8)
    found_8, found_16 = both(write(tmp_path / "a.dcm", grey))
    np.testing.assert_array_equal(found_8[:, :, 0], grey)
    np.testing.assert_array_equal(found_16, grey.astype(int) - 7)
    inverted, _ = both(write(tmp_path / "b.dcm", grey, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(inverted[:, :, 0], 255 - grey)


def test_colours_and_palettes_are_rgb(tmp_path):
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for found in both(write(tmp_path / "rgb.dcm", rgb)):
        np.testing.assert_array_equal(found, rgb)
    deep = rgb.astype(np.uint16) << 8
    for found in both(write(tmp_path / "deep.dcm", deep)):
        np.testing.assert_array_equal(found, rgb)  # the upper 8 of 16 bits, not the lower
    table = np.array([0, 85, 170, 255], np.uint16) * 257
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, values in (("Red", table), ("Green", table[::-1]), ("Blue", table)):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = values.tobytes()
    index = np.array([[0, 1], [2, 3]], np.uint8)
    for found in both(write(tmp_path / "palette.dcm", index, **tags)):
        np.testing.assert_array_equal(found[..., 0], index * 85)
        np.testing.assert_array_equal(found[..., 1], 255 - index * 85)


def test_frames_come_apart(tmp_path):
    stack = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    path = write(tmp_path / "a.dcm", stack, NumberOfFrames=2)
    frames = stored_frames(path, read_object(path))
    np.testing.assert_array_equal(frames, stack)
    first, second = sixteen_bit_frames(path, read_object(path))
    np.testing.assert_array_equal(first, second)  # each from its own 0


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"x\.dcm: broken DICOM file"):
        read_object(tmp_path / "x.dcm")
    path = write(tmp_path / "short.dcm", RAMP, PixelData=b"\0\0")
    with pytest.raises(DataError, match=r"short\.dcm: its pixels cannot be decoded") as error:
        stored_frames(path, read_object(path))
    assert "\n" not in str(error.value)
    item = read_object(path)
    del item.PixelData
    with pytest.raises(DataError, match=r"holds no pixels"):
        stored_frames(path, item)
