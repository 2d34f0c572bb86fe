"""From a folder to a data set; deep images keep their depth, and DICOM loses whose they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from gazeseg.data.dataset import Dataset
from gazeseg.errors import DataError
from gazeseg.gaze.geometry import Viewport
from gazeseg.record.app import record_app
from gazeseg.record.pixels import load_picture
from gazeseg.record.prepare import open_source
from gazeseg.record.session import Session

from .conftest import Recorder, study

NAME, PATIENT, BIRTH = "Rossi^Maria", "PID-4711", "19610203"


def write_dicom(path: Path, pixels: np.ndarray, *, inverted: bool = False, patient: str = PATIENT) -> None:
    """A CT slice that says a lot about its patient."""
    from pydicom.dataset import Dataset as Tags
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    tags = Tags()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID = CTImageStorage
    tags.file_meta.MediaStorageSOPInstanceUID = tags.SOPInstanceUID = generate_uid()
    tags.PatientName, tags.PatientID, tags.PatientBirthDate = NAME, patient, BIRTH
    tags.Rows, tags.Columns = pixels.shape
    tags.PixelSpacing = [0.5, 0.7]
    tags.SamplesPerPixel, tags.BitsAllocated, tags.BitsStored, tags.HighBit = 1, 16, 16, 15
    tags.PixelRepresentation = 1
    tags.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    tags.RescaleSlope, tags.RescaleIntercept = 1, -1024
    tags.PixelData = pixels.astype("<i2").tobytes()
    tags.save_as(path, enforce_file_format=True)


def test_dicom_keeps_its_depth_and_loses_its_names(tmp_path: Path, live: Callable[[FastAPI], Recorder]) -> None:
    pytest.importorskip("pydicom")
    source = tmp_path / f"scans of {NAME}"
    source.mkdir()
    ramp = np.arange(60 * 80).reshape(60, 80) - 500
    write_dicom(source / "a_Rossi.dcm", ramp)
    write_dicom(source / "b_Rossi.dcm", ramp, inverted=True)
    write_dicom(source / "c_Bianchi.dcm", ramp, patient="PID-2")
    dataset = open_source(source, tmp_path / "ds")
    assert [case.case_id for case in dataset.cases] == ["image-00001", "image-00002", "image-00003"]
    patients = [case.patient_id for case in dataset.cases]
    assert patients[0] == patients[1] != patients[2]
    assert dataset.cases[0].spacing_mm == (0.5, 0.7)
    upright, inverted = (load_picture(dataset, case) for case in dataset.cases[:2])
    assert upright.deep is not None
    assert inverted.deep is not None
    np.testing.assert_array_equal(upright.deep, ramp - ramp.min())  # every grey level is there
    np.testing.assert_array_equal(inverted.deep, ramp.max() - ramp)
    assert "Rossi" in (tmp_path / "ds" / "dicom_files.csv").read_text()  # the key, which stays on the disk

    opened = study(tmp_path / "ds", stages="one")
    session = Session(opened, "anna")
    session.begin(0.0)
    session.view(Viewport(0, 0, 4, 4, 0.0))
    session.finish(1.0)
    session.work()
    session.accept(2.0)
    session.close()
    opened.publish()
    recorder = live(record_app(opened))
    page = recorder.socket("/ws/page/0")
    hello = {"type": "hello", "t": 0.0, "width": 900, "height": 700, "screen_width": 900, "screen_height": 700}
    page.send(json.dumps(hello))
    said = [page.recv(timeout=100)]
    page.send(json.dumps({"type": "begin", "t": 1.0}))
    said.append(page.recv(timeout=100))
    state = json.loads(said[-1])
    assert state["image"]["depth"] == 16
    image = recorder.get(f"/api/image/0/{state['number']}").read()
    assert np.frombuffer(image, "<u2").size == 60 * 80
    served = "".join(map(str, said)).encode() + image + recorder.get("/api/about").read() + recorder.get("/").read()
    folders = [tmp_path / "ds" / part for part in ("gaze", "record", "images")]
    written = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(written) >= 7
    for content in (served, *(file.read_bytes() for file in written)):
        for secret in ("Rossi", "Maria", PATIENT, BIRTH, "Bianchi"):
            assert secret.encode() not in content


def test_sixteen_bit_and_metadata_of_a_png(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    deep = np.linspace(100, 5000, 40 * 50).reshape(40, 50).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "in" / "deep.png")
    dataset = open_source(tmp_path / "in", tmp_path / "ds")
    picture = load_picture(dataset, dataset.cases[0])
    assert picture.about["depth"] == 16
    assert (picture.low, picture.high) == pytest.approx(tuple(np.percentile(deep, (0.5, 99.5))))
    body, kind = picture.body()
    assert kind == "application/octet-stream"
    np.testing.assert_array_equal(np.frombuffer(body, "<u2").reshape(40, 50), deep)
    assert open_source(tmp_path / "in", tmp_path / "ds").cases == dataset.cases  # the second start finds it


def test_metadata_of_a_jpeg_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x010E] = f"patient {NAME}"  # ImageDescription
    Image.new("RGB", (30, 20), "red").save(tmp_path / "in" / "a.jpg", exif=exif)
    dataset = open_source(tmp_path / "in", tmp_path / "ds")
    assert NAME.encode() in (tmp_path / "in" / "a.jpg").read_bytes()
    body, kind = load_picture(Dataset.load(dataset.root), dataset.cases[0]).body()
    assert kind == "image/png"
    assert NAME.encode() not in body


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_source(tmp_path / "nowhere", None)
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="--out DS"):
        open_source(tmp_path / "in", None)
    (tmp_path / "in" / "a.dcm").write_bytes(b"nonsense")
    pytest.importorskip("pydicom")
    with pytest.raises(DataError, match="broken DICOM file"):
        open_source(tmp_path / "in", tmp_path / "ds")
    assert not (tmp_path / "ds").exists()
