import gzip

import nibabel as nib
import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.predict.sources import find_sources
from gazeseg.predict.sources.nifti import NiftiSource, suffix_of
from gazeseg.predict.writers import nifti

RNG = np.random.default_rng(0)


def read(path):
    return NiftiSource.at(path, path.parent).read()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "RSA", "PSR", "ASL", "IPL", "SAR"])
def test_slices_are_turned_as_radiologists_look_at_them(tmp_path, codes):
    steps = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    affine = nib.affines.from_matvec(np.array([steps[code] for code in codes], float).T, (3.0, -2.0, 5.0))
    assert nib.aff2axcodes(affine) == tuple(codes)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (6, 5, 4)], indexing="ij"), axis=-1)
    where = -(index @ affine[:3, :3].T + affine[:3, 3])  # mm to the left, back and feet
    stored = [where[..., c] for c in range(3)]
    frames = []
    for values in stored:
        nib.save(nib.Nifti1Image(values.astype(np.float32), affine), tmp_path / "a.nii")
        grid = read(tmp_path / "a.nii").grid
        frames.append(grid.frames(values))
    through = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[codes[2]]
    across, upright = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[through]
    # left, or back in a sagittal slice, grows to the right; back, or feet, grows downwards
    assert (np.diff(frames[across], axis=2) > 0).all()
    assert (np.diff(frames[upright], axis=1) > 0).all()


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1), (7, 9, 4), (7, 9, 4, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_lies_on_the_voxels_of_the_source(tmp_path, shape, suffix):
    affine = nib.affines.from_matvec(np.diag([-0.7, 0.9, 4.0]) @ rotation(0.2), (10.0, -20.0, 30.0))
    values = RNG.normal(size=shape).astype(np.float32)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=2)
    nib.save(image, tmp_path / f"a{suffix}")
    frames = read(tmp_path / f"a{suffix}")
    labels = np.stack([image[:, :, 0] > 128 for image in frames.images]).astype(np.uint8)
    [written] = nifti.write_masks(tmp_path / "out" / "a", labels, frames)
    back, source = nib.load(written), nib.load(tmp_path / f"a{suffix}")
    assert back.shape == shape
    assert back.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(back.affine, source.affine)
    for key in ("sform_code", "qform_code", "pixdim", "xyzt_units", "quatern_b", "qoffset_x", "srow_x"):
        np.testing.assert_array_equal(back.header[key], source.header[key])
    # each slice was stretched on its own, so the threshold is the middle of its range
    volume = values.reshape(7, 9, -1)
    low, high = volume.min(axis=(0, 1)), volume.max(axis=(0, 1))
    scaled = np.rint((volume.astype(np.float64) - low) * (255.0 / (high - low).astype(np.float64)))
    np.testing.assert_array_equal(np.asarray(back.dataobj).reshape(7, 9, -1), scaled > 128)


def rotation(angle):
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def test_eight_bits_are_kept_and_colour_is_colour(tmp_path):
    values = RNG.integers(0, 200, (6, 5, 3), dtype=np.uint8)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "grey.nii")
    frames = read(tmp_path / "grey.nii")
    np.testing.assert_array_equal(frames.images[2][:, :, 0], values[:, :, 2].T)
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour = np.zeros((6, 5, 3), kind)
    for name in "RGB":
        colour[name] = RNG.integers(0, 256, colour.shape)
    nib.save(nib.Nifti1Image(colour, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "rgb.nii")
    frames = read(tmp_path / "rgb.nii")
    assert frames.images[0].shape == (5, 6, 3)
    np.testing.assert_array_equal(frames.images[1][:, :, 1], colour["G"][:, :, 1].T)


def test_values_that_are_no_numbers_are_said_and_count_as_dark(tmp_path):
    values = RNG.uniform(10, 20, (6, 5, 3)).astype(np.float32)
    values[0, 0, 0], values[1, 1, 1] = np.nan, np.inf
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "a.nii.gz")
    frames = read(tmp_path / "a.nii.gz")
    assert frames.notes == ("2 of 90 voxels are NaN or infinite and count as the darkest",)
    assert frames.images[0][0, 0, 0] == 0
    assert frames.images[0].max() == 255
    values[:] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match="every voxel is NaN"):
        read(tmp_path / "b.nii.gz")


def test_a_file_without_orientation_is_taken_as_it_is(tmp_path):
    image = nib.Nifti1Image(RNG.integers(0, 255, (6, 5, 2), dtype=np.uint8), None)
    nib.save(image, tmp_path / "a.nii")
    frames = read(tmp_path / "a.nii")
    assert "says nothing of its orientation" in frames.notes[0]
    np.testing.assert_array_equal(frames.images[0][:, :, 0], np.asarray(image.dataobj)[:, :, 0].T)


def test_what_is_no_plane_or_volume_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3, 2), np.uint8), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(DataError, match=r"holds \(4, 4, 3, 2\), expected a plane"):
        read(tmp_path / "series.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3), np.complex64), np.eye(4)), tmp_path / "complex.nii")
    with pytest.raises(DataError, match="complex numbers"):
        read(tmp_path / "complex.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3), np.uint8), np.eye(4)), tmp_path / "whole.nii.gz")
    whole = (tmp_path / "whole.nii.gz").read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "text": b"no volume",
        "short": gzip.compress(gzip.decompress(whole)[:360]),
    }.items():
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.nii\.gz: broken NIfTI file") as error:
            read(tmp_path / f"{name}.nii.gz")
        assert "\n" not in str(error.value)


def test_both_endings_are_known(tmp_path):
    assert suffix_of(tmp_path / "a.NII.gz") == ".NII.gz"
    assert suffix_of(tmp_path / "a.gz") == ""
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3), np.uint8), np.eye(4)), tmp_path / "in.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3), np.uint8), np.eye(4)), tmp_path / "in.nii")
    found = find_sources(tmp_path, tmp_path / "out")
    assert [str(source.name) for source in found.sources] == ["in.nii", "in.nii.gz"]
