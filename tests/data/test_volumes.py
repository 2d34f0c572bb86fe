"""DICOM series and NRRD volumes whose file names say nothing about the order of the slices."""

from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from gazeseg.data.importers import nci_isbi
from gazeseg.data.importers._volumes import pair, read_labels, read_series
from gazeseg.errors import DataError

DEPTH, HEIGHT, WIDTH = 6, 16, 24
SPACING = (0.5, 0.75)  # y, x: different, so that a swap shows
STEP_MM = 3.0
TILT = np.deg2rad(15)
ROW = np.array([1.0, 0.0, 0.0])
COLUMN = np.array([0.0, np.cos(TILT), -np.sin(TILT)])  # oblique axial, like the real series
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-97.0, -48.0, -51.0])
FILE_NAMES = ("04", "00", "05", "02", "01", "03")  # name of the slice at place 0..5 along the normal


def place(k: int) -> np.ndarray:
    return ORIGIN + k * STEP_MM * NORMAL


def write_series(folder: Path, *, patient="Prostate3T-01-0001", series=None, descending=True, **changes) -> Path:
    """Slice k (from the feet up) holds the value 100 * k + column; instance numbers run downwards, as on scanners."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    for k in range(changes.pop("depth", DEPTH)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        header.PatientID, header.SeriesInstanceUID = patient, series
        header.InstanceNumber = DEPTH - k if descending else k + 1
        header.ImagePositionPatient = [round(float(v), 6) for v in place(k)]
        header.ImageOrientationPatient = [round(float(v), 6) for v in (*ROW, *COLUMN)]
        header.PixelSpacing = list(SPACING)
        header.Rows, header.Columns = HEIGHT, WIDTH
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
        header.PixelData = np.broadcast_to(100 * k + np.arange(WIDTH), (HEIGHT, WIDTH)).astype("<u2").tobytes()
        for name, value in changes.items():
            if value is None:
                delattr(header, name)
            else:
                setattr(header, name, value)
        header.save_as(folder / f"0000{FILE_NAMES[k]}.dcm", enforce_file_format=True)
    return folder


def truth() -> np.ndarray:
    """(Z, H, W), from the feet up: slice k has a bar of k + 1 columns in its upper left; the top one is empty."""
    labels = np.zeros((DEPTH, HEIGHT, WIDTH), np.uint8)
    for k in range(DEPTH - 1):
        labels[k, 2:6, 1 : k + 2] = 1 + k % 2  # two zones
    return labels


def write_labels(file: Path, labels: np.ndarray, *, first=0, step=1, space="left-posterior-superior") -> Path:
    """Store (Z, H, W) as NRRD (X, Y, Z), with its place in space unless ``space`` is None."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {}
    if space is not None:
        flip = np.array([-1.0, -1.0, 1.0]) if space == "right-anterior-superior" else np.ones(3)
        steps = np.stack([ROW * SPACING[1], COLUMN * SPACING[0], step * STEP_MM * NORMAL])
        header = {"space": space, "space origin": place(first) * flip, "space directions": steps * flip}
    nrrd.write(str(file), np.ascontiguousarray(labels.transpose(2, 1, 0)), header)
    return file


def slices(dataset) -> dict[int, tuple[int, int]]:
    """Slice number -> (place k read from the pixels, width of the bar in the mask)."""
    found = {}
    for case in dataset.cases:
        stored = np.asarray(Image.open(case.image))
        mask = dataset.mask(case)
        assert stored.dtype == np.uint16
        assert np.array_equal(stored[3] % 100, np.arange(WIDTH))
        assert set(np.unique(mask)) == {0, 1}
        assert mask[2:6].any(axis=0).nonzero()[0].tolist() == list(range(1, 1 + mask[3].sum()))
        found[case.slice_index + 1] = (int(stored[0, 0]) // 100, int(mask[3].sum()))
    return found


def test_slices_are_sorted_by_position_not_by_name(tmp_path):
    (series,) = read_series(write_series(tmp_path / "dicom"))["Prostate3T-01-0001"]
    assert [path.stem for path in series.files] == [f"0000{name}" for name in FILE_NAMES]
    assert [int(series.pixels(k)[0, 0]) for k in range(DEPTH)] == [100 * k for k in range(DEPTH)]
    assert np.allclose(np.diff(series.depth_mm), STEP_MM)
    assert series.spacing_mm == SPACING
    assert series.size == (HEIGHT, WIDTH)
    assert series.reading_order.tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("space", ["left-posterior-superior", "LPS", "right-anterior-superior"])
@pytest.mark.parametrize("downwards", [False, True])
def test_image_and_mask_meet_at_their_place_in_space(tmp_path, space, downwards):
    write_series(tmp_path / "dicom" / "Prostate3T-01-0001" / "1.2" / "3.4")
    labels = truth()[::-1] if downwards else truth()
    first, step = (DEPTH - 1, -1) if downwards else (0, 1)
    write_labels(tmp_path / "nrrd" / "Prostate3T-01-0001_truth.nrrd", labels, first=first, step=step, space=space)
    data = nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    numbers = range(DEPTH, 1, -1) if downwards else range(1, DEPTH)
    assert slices(data) == {n: (k, k + 1) for k, n in enumerate(numbers)}  # the empty slice is left out
    case = data.cases[0]
    assert case.case_id == f"Prostate3T-01-0001_{case.slice_index + 1}"
    assert case.spacing_mm == SPACING
    assert case.volume_id == case.patient_id == "Prostate3T-01-0001"
    assert data.image(case).shape == (HEIGHT, WIDTH, 1)


def test_labels_stored_backwards_within_the_slice(tmp_path):
    write_series(tmp_path / "dicom")
    file = write_labels(tmp_path / "l.nrrd", truth())
    values, header = nrrd.read(str(file))
    far = header["space origin"] + (WIDTH - 1) * header["space directions"][0]
    header["space directions"][0] *= -1
    nrrd.write(str(file), values[::-1], {**header, "space origin": far})
    (series,) = read_series(tmp_path / "dicom")["Prostate3T-01-0001"]
    _, order, labels = pair([series], read_labels(file))
    assert order == tuple(range(DEPTH))
    assert np.array_equal(labels, truth())


def test_labels_of_a_part_of_the_series(tmp_path):
    write_series(tmp_path / "dicom")
    write_labels(tmp_path / "nrrd" / "Prostate3T-01-0001.nrrd", truth()[2:5], first=2)
    data = nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    assert slices(data) == {1: (2, 3), 2: (3, 4), 3: (4, 5)}


@pytest.mark.parametrize("descending", [True, False])
def test_labels_without_a_place_follow_the_instance_numbers(tmp_path, descending):
    write_series(tmp_path / "dicom", descending=descending)
    labels = truth()[::-1] if descending else truth()
    write_labels(tmp_path / "nrrd" / "Prostate3T-01-0001.nrrd", labels, space=None)
    data = nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    assert sorted(slices(data).values()) == [(k, k + 1) for k in range(DEPTH - 1)]


def test_a_place_far_away_is_told_and_order_taken_instead(tmp_path, capsys):
    write_series(tmp_path / "dicom", descending=False)
    write_labels(tmp_path / "nrrd" / "Prostate3T-01-0001.nrrd", truth(), first=40)
    data = nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    assert slices(data) == {k + 1: (k, k + 1) for k in range(DEPTH - 1)}
    assert "its position does not fit the DICOM series; paired by slice order" in capsys.readouterr().err


def test_the_series_that_the_labels_were_drawn_on_is_found(tmp_path):
    write_series(tmp_path / "dicom" / "t2")
    write_series(tmp_path / "dicom" / "localiser", depth=3, Rows=HEIGHT // 2, PixelData=bytes(HEIGHT * WIDTH))
    write_labels(tmp_path / "nrrd" / "Prostate3T-01-0001.nrrd", truth())
    data = nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    assert len(data.cases) == DEPTH - 1
    write_series(tmp_path / "dicom" / "again")
    with pytest.raises(DataError, match="fits 2 DICOM series of 'Prostate3T-01-0001'; keep the T2 series"):
        nci_isbi.run(tmp_path / "DS2", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    with pytest.raises(DataError, match="3 DICOM series and no labels; keep the T2 series only"):
        nci_isbi.run(tmp_path / "DS2", images=tmp_path / "dicom")
    assert not (tmp_path / "DS2").exists()


def test_a_patient_whose_slices_do_not_match_is_left_out(tmp_path, capsys):
    """ProstateDx-01-0055 of the real set: 23 label slices for 34 image slices."""
    for patient in ("Prostate3T-01-0001", "ProstateDx-01-0055"):
        write_series(tmp_path / "dicom" / patient, patient=patient)
    write_labels(tmp_path / "nrrd" / "Prostate3T-01-0001.nrrd", truth())
    write_labels(tmp_path / "nrrd" / "ProstateDx-01-0055.nrrd", truth()[:4], space=None)
    write_labels(tmp_path / "nrrd" / "ProstateDx-01-0099.nrrd", truth())
    data = nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom", masks=tmp_path / "nrrd")
    assert {case.patient_id for case in data.cases} == {"Prostate3T-01-0001"}
    said = capsys.readouterr().err
    assert "4 x 16 x 24 (slices x H x W) fits no DICOM series of 'ProstateDx-01-0055' (6 x 16 x 24); left out" in said
    assert "ProstateDx-01-0099.nrrd: no DICOM series of this patient; left out" in said


def test_signed_and_inverted_pixels(tmp_path):
    signed = np.full((HEIGHT, WIDTH), -5, "<i2")
    write_series(tmp_path / "signed", PixelRepresentation=1, PixelData=signed.tobytes())
    (series,) = read_series(tmp_path / "signed")["Prostate3T-01-0001"]
    assert (series.pixels(0) == 2048 - 5).all()
    write_series(tmp_path / "inverted", PhotometricInterpretation="MONOCHROME1")
    (series,) = read_series(tmp_path / "inverted")["Prostate3T-01-0001"]
    assert series.pixels(0)[0].tolist() == list(range(WIDTH - 1, -1, -1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImagePositionPatient": None}, "has no position, orientation, spacing or size"),
        ({"ImagePositionPatient": [0, 0, 0]}, r"at the same place as .*; keep one of the two"),
    ],
)
def test_series_that_cannot_be_sorted(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_series(write_series(tmp_path / "dicom", **changes))


def test_broken_files(tmp_path):
    (tmp_path / "dicom").mkdir()
    with pytest.raises(DataError, match=r"no DICOM file \(\*\.dcm\) below it"):
        read_series(tmp_path / "dicom")
    (tmp_path / "dicom" / "x.dcm").write_bytes(b"no dicom")
    with pytest.raises(DataError, match=r"x\.dcm: broken DICOM file"):
        read_series(tmp_path / "dicom")
    write_series(tmp_path / "whole", PixelData=b"\0\0")
    with pytest.raises(DataError, match=r"000003\.dcm: its pixels cannot be decoded"):
        nci_isbi.run(tmp_path / "DS", images=tmp_path / "whole")
    assert not (tmp_path / "DS").exists()
    (tmp_path / "l.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(DataError, match=r"l\.nrrd: broken NRRD file"):
        read_labels(tmp_path / "l.nrrd")
    nrrd.write(str(tmp_path / "flat.nrrd"), np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"flat\.nrrd: uint8 of shape \(4, 4\), expected an integer volume"):
        read_labels(tmp_path / "flat.nrrd")
    write_series(tmp_path / "fine")
    write_labels(tmp_path / "nrrd" / "odd.nrrd", truth())
    with pytest.raises(DataError, match="no NRRD volume bears the name of a patient"):
        nci_isbi.run(tmp_path / "DS", images=tmp_path / "fine", masks=tmp_path / "nrrd")
    with pytest.raises(DataError, match="label volumes need their DICOM series; give --images"):
        nci_isbi.run(tmp_path / "DS", masks=tmp_path / "nrrd")


@pytest.mark.real
def test_the_real_series_are_sorted_by_position(real_data):
    found = read_series(real_data / "nci-isbi" / "dicom")
    assert sorted(found) == ["Prostate3T-03-0004", "Prostate3T-03-0005"]
    for (series,) in found.values():
        assert series.size == (384, 384)
        assert series.spacing_mm == (0.5, 0.5)
        assert np.allclose(np.diff(series.depth_mm), 3.0, atol=0.01)
        numbers = series.instance[series.reading_order]
        assert numbers.tolist() == list(range(1, 20))  # although file 000006 of 0004 is instance 18
        assert [path.stem for path in series.files] != sorted(path.stem for path in series.files)[::-1]
        stored = pydicom.dcmread(series.files[0]).pixel_array
        assert np.array_equal(series.pixels(0), stored)


@pytest.mark.real
def test_the_real_series_become_slices(tmp_path, real_data):
    data = nci_isbi.run(tmp_path / "DS", images=real_data / "nci-isbi" / "dicom", splits=real_data / "nci-isbi")
    assert len(data.cases) == 38
    assert len(data.split("test")) == 20
    assert data.info.split_note.startswith("GazeMedSeg's 789/117 slices")
    image = data.image(data.case("Prostate3T-03-0004_10"))
    assert image.shape == (384, 384, 1)
    assert (image.min(), image.max()) == (0, 255)
