import sys

import clinical
import numpy as np
import pydicom
import pytest
import SimpleITK
from clinical import bright_box, write_cine, write_colour, write_enhanced, write_series

from gazeseg.errors import MissingDependencyError
from gazeseg.predict.sources import find_sources
from gazeseg.predict.sources.base import UnfitError
from gazeseg.predict.writers import dicom_seg, nifti

CLASSES = ("background", "zone 1", "zone 2")


def frames_of(folder, out):
    [source] = find_sources(folder, out).sources
    return source.read()


def two_zones(depth=5):
    labels = bright_box(depth).astype(np.uint8)
    labels[1:, 2:4, 3:8] = 2
    return labels


def write(tmp_path, frames, labels):
    [path] = dicom_seg.write_masks(tmp_path / "out" / "a", labels, frames, classes=CLASSES, method="gazemedseg")
    return path


def segment_arrays(item):
    """(class, frame) -> mask, by pydicom alone: which segment a frame is of, and which image it refers to."""
    pixels = item.pixel_array.reshape(-1, item.Rows, item.Columns)
    found = {}
    for pixel, group in zip(pixels, item.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        frame = source.get("ReferencedFrameNumber") or 1
        found[number, source.ReferencedSOPInstanceUID, int(frame)] = pixel
    return found


def test_every_frame_refers_to_its_image(tmp_path):
    folder = write_series(tmp_path / "T2")
    labels = two_zones()
    item = pydicom.dcmread(write(tmp_path, frames_of(folder, tmp_path / "out"), labels))
    source = {}
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        depth = np.array(slice_.ImagePositionPatient) @ clinical.NORMAL - clinical.ORIGIN @ clinical.NORMAL
        source[slice_.SOPInstanceUID] = round(depth / clinical.STEP_MM)
    found = segment_arrays(item)
    assert len(found) == 10  # empty ones included
    for (number, uid, _), pixels in found.items():
        np.testing.assert_array_equal(pixels, labels[source[uid]] == number)
    first = pydicom.dcmread(folder / "im00.dcm")
    assert item.SOPClassUID.name == "Segmentation Storage"
    assert item.StudyInstanceUID == first.StudyInstanceUID
    assert item.SeriesInstanceUID != first.SeriesInstanceUID
    assert item.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert item.PatientID == "case 1"
    assert item.SegmentationType == "BINARY"
    assert [segment.SegmentLabel for segment in item.SegmentSequence] == ["zone 1", "zone 2"]
    assert {segment.SegmentAlgorithmType for segment in item.SegmentSequence} == {"AUTOMATIC"}


@pytest.mark.parametrize("write_source", [write_series, write_enhanced], ids=["series", "enhanced"])
def test_simpleitk_sees_the_geometry_of_the_source(tmp_path, write_source):
    """The frames may run either way, so the two volumes are compared point by point in space."""
    write_source(tmp_path / "in" / "T2.dcm")
    frames = frames_of(tmp_path / "in", tmp_path / "out")
    labels = bright_box().astype(np.uint8)
    [path] = dicom_seg.write_masks(tmp_path / "out" / "a", labels, frames, classes=CLASSES[:2], method="full")
    segmented = SimpleITK.ReadImage(path)
    assert segmented.GetSize() == (24, 16, 5)
    np.testing.assert_allclose(segmented.GetSpacing(), (0.75, 0.5, 3.0), atol=1e-4)
    for k in range(5):
        for y, x in ((0, 0), (3, 4), (9, 20)):
            point = clinical.place(k) + 0.75 * x * clinical.ROW + 0.5 * y * clinical.COLUMN
            index = segmented.TransformPhysicalPointToIndex(point.tolist())
            np.testing.assert_allclose(segmented.TransformIndexToPhysicalPoint(index), point, atol=1e-3)
            assert bool(segmented[index]) == bool(labels[k, y, x])


def test_nifti_and_seg_of_one_series_lie_on_each_other(tmp_path):
    frames = frames_of(write_series(tmp_path / "T2"), tmp_path / "out")
    labels = bright_box().astype(np.uint8)
    [volume] = nifti.write_masks(tmp_path / "out" / "a", labels, frames)
    [path] = dicom_seg.write_masks(tmp_path / "out" / "a", labels, frames, classes=CLASSES[:2], method="full")
    image, segmented = SimpleITK.ReadImage(volume), SimpleITK.ReadImage(path)
    same = SimpleITK.Resample(segmented, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(same) > 0, SimpleITK.GetArrayFromImage(image) > 0)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), labels)
    np.testing.assert_allclose(image.GetOrigin(), clinical.ORIGIN, atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing(), (0.75, 0.5, 3.0), atol=1e-4)


def test_objects_without_a_place_are_referred_to_as_well(tmp_path):
    write_colour(tmp_path / "endo.dcm")
    labels = bright_box()[2:3].astype(np.uint8)
    item = pydicom.dcmread(write(tmp_path, frames_of(tmp_path / "endo.dcm", tmp_path / "out"), labels))
    found = segment_arrays(item)
    uid = pydicom.dcmread(tmp_path / "endo.dcm").SOPInstanceUID
    np.testing.assert_array_equal(found[1, uid, 1], labels[0])
    assert not found[2, uid, 1].any()


def test_a_loop_has_no_place_to_share(tmp_path):
    write_cine(tmp_path / "loop.dcm")
    with pytest.raises(UnfitError, match="frames without a position in space cannot share a DICOM SEG"):
        write(tmp_path, frames_of(tmp_path / "loop.dcm", tmp_path / "out"), bright_box(3).astype(np.uint8))


def test_a_source_without_a_study_cannot_be_referred_to(tmp_path):
    write_colour(tmp_path / "endo.dcm", StudyInstanceUID=None)
    with pytest.raises(UnfitError, match="its source has no StudyInstanceUID to refer to"):
        write(tmp_path, frames_of(tmp_path / "endo.dcm", tmp_path / "out"), bright_box()[:1].astype(np.uint8))


def test_a_missing_slice_can_still_be_referred_to_but_is_no_volume(tmp_path):
    frames = frames_of(write_series(tmp_path / "T2", skip=(2,)), tmp_path / "out")
    labels = np.delete(bright_box(), 2, axis=0).astype(np.uint8)
    assert len(segment_arrays(pydicom.dcmread(write(tmp_path, frames, labels)))) == 8
    with pytest.raises(UnfitError, match=r"a slice is missing: 6\.00 mm .*"):
        nifti.write_masks(tmp_path / "out" / "a", labels, frames)


def test_without_highdicom_the_extra_is_named(tmp_path, monkeypatch):
    frames = frames_of(write_series(tmp_path / "T2"), tmp_path / "out")
    dicom_seg._highdicom.cache_clear()
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError, match=r"gazeseg\[medical\]"):
        write(tmp_path, frames, two_zones())
