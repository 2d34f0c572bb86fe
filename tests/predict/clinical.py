"""Hospital files with a known content, and a model whose answer can be told from the pixels."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLEndoscopicImageStorage,
    generate_uid,
)

DEPTH, HEIGHT, WIDTH = 5, 16, 24
SPACING = (0.5, 0.75)  # y, x: different, so that a swap shows
STEP_MM = 3.0
TILT = np.deg2rad(15)
ROW = np.array([1.0, 0.0, 0.0])
COLUMN = np.array([0.0, np.cos(TILT), -np.sin(TILT)])  # oblique axial
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-97.0, -48.0, -51.0])
SHUFFLED = (3, 0, 4, 1, 2)  # the file of slice k is named after its place here


class BrightIsForeground:
    """Stands in for a trained model: the probability of the foreground is the brightness."""

    task = SimpleNamespace(classes=("background", "bright spot"))
    config = SimpleNamespace(method={"name": "brightness"})
    batch_size = 4

    def __init__(self, weights="w1"):
        self.identity = {"weights": weights, "checkpoint": "step-1", "tta": False}
        self.seen = 0  # images asked for

    def probabilities(self, images):
        self.seen += len(images)
        values = [image.astype(np.float32).mean(axis=2) / 255 for image in images]
        return [np.stack([1 - value, value]) for value in values]

    def masks(self, images):
        return [row.argmax(axis=0).astype(np.uint8) for row in self.probabilities(images)]


def bright_box(depth=DEPTH) -> np.ndarray:
    """(N, H, W) bool, no two slices alike and no symmetry: what the model finds."""
    truth = np.zeros((depth, HEIGHT, WIDTH), bool)
    for k in range(depth):
        truth[k, 2 : 5 + k, 3:12] = True
    return truth


def place(k) -> np.ndarray:
    """Position of the first pixel of slice k, mm."""
    return ORIGIN + k * STEP_MM * NORMAL


def header(sop_class, *, study, series, patient="case 1") -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    item.PatientID, item.StudyInstanceUID, item.SeriesInstanceUID = patient, study, series
    item.Modality = "MR"
    item.Rows, item.Columns = HEIGHT, WIDTH
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    return item


def save(item, path: Path, **changes) -> Path:
    for name, value in changes.items():
        if value is None:
            delattr(item, name)
        else:
            setattr(item, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, *, depth=DEPTH, skip=(), series=None, **changes) -> Path:
    """A T2-like series of 12 bits: 900 where :func:`bright_box` is true, 100 elsewhere; file names out of order."""
    study, series, frame = generate_uid(), series or generate_uid(), generate_uid()
    for k in range(depth):
        if k in skip:
            continue
        item = header(MRImageStorage, study=study, series=series)
        item.FrameOfReferenceUID = frame
        item.InstanceNumber = depth - k  # scanners may count from the head
        item.ImagePositionPatient = [round(float(v), 6) for v in place(k)]
        item.ImageOrientationPatient = [round(float(v), 6) for v in (*ROW, *COLUMN)]
        item.PixelSpacing, item.SliceThickness = list(SPACING), 2.5
        item.PixelData = np.where(bright_box(depth)[k], 900, 100).astype("<u2").tobytes()
        save(item, folder / f"im{SHUFFLED[k % 5]}{k // 5}.dcm", **changes)
    return folder


def write_enhanced(path: Path, depth=DEPTH) -> Path:
    """One enhanced MR object whose frames run from the head down."""
    item = header(EnhancedMRImageStorage, study=generate_uid(), series=generate_uid())
    item.FrameOfReferenceUID, item.InstanceNumber, item.NumberOfFrames = generate_uid(), 1, depth
    shared, item.PerFrameFunctionalGroupsSequence = Dataset(), []
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [round(float(v), 6) for v in (*ROW, *COLUMN)]
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), STEP_MM
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    item.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in reversed(range(depth)):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [round(float(v), 6) for v in place(k)]
        group.PlanePositionSequence = [position]
        frames.append(group)
    item.PerFrameFunctionalGroupsSequence = frames
    item.PixelData = np.where(bright_box(depth)[::-1], 900, 100).astype("<u2").tobytes()
    return save(item, path)


def write_colour(path: Path, **changes) -> Path:
    """One RGB frame of an endoscope: no place in space."""
    item = header(VLEndoscopicImageStorage, study=generate_uid(), series=generate_uid())
    item.Modality, item.InstanceNumber = "ES", 1
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PlanarConfiguration = 3, "RGB", 0
    item.BitsAllocated, item.BitsStored, item.HighBit = 8, 8, 7
    pixels = np.where(bright_box()[2][..., None], (250, 240, 200), (30, 20, 10)).astype(np.uint8)
    item.PixelData = pixels.tobytes()
    return save(item, path, **changes)


def write_cine(path: Path, depth=3) -> Path:
    """An ultrasound loop of 8 bits: frames in time, none with a place."""
    item = header(UltrasoundMultiFrameImageStorage, study=generate_uid(), series=generate_uid())
    item.Modality, item.InstanceNumber, item.NumberOfFrames = "US", 1, depth
    item.BitsAllocated, item.BitsStored, item.HighBit = 8, 8, 7
    item.PixelData = np.where(bright_box(depth), 220, 20).astype(np.uint8).tobytes()
    return save(item, path)


def edit(path: Path, **changes) -> None:
    """Change a file's header in place."""
    save(pydicom.dcmread(path), path, **changes)
