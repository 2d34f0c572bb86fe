"""CAMUS in its two releases, made small."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from gazeseg.data.importers import camus
from gazeseg.data.importers._slices import split_in_order
from gazeseg.errors import DataError

PATIENTS = ("patient0001", "patient0002", "patient0003", "patient0004")
VIEWS = ("2CH_ED", "2CH_ES", "4CH_ED", "4CH_ES")
SHAPE = (14, 10)


def picture(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(list(name.encode()))
    image = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    label = np.zeros(SHAPE, np.uint8)
    label[2:10, 2:8], label[4:8, 4:6], label[11:13, 3:7] = 2, 1, 3
    return image, label


def make_nifti(root: Path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    for patient in PATIENTS:
        folder = root / "database_nifti" / patient
        folder.mkdir(parents=True)
        (folder / f"{patient}_2CH_half_sequence.nii.gz").write_bytes(b"")  # part of the release, of no use here
        for view in VIEWS:
            for ending, values in zip(("", "_gt"), picture(f"{patient}_{view}"), strict=True):
                stored = nibabel.Nifti1Image(values.T, np.diag([0.3, 0.15, 1, 1]))
                nibabel.save(stored, folder / f"{patient}_{view}{ending}.nii.gz")
    lists = root / "database_split"
    lists.mkdir()
    for name, chosen in (("training", PATIENTS[:2]), ("validation", PATIENTS[2:3]), ("testing", PATIENTS[3:])):
        (lists / f"subgroup_{name}.txt").write_text("".join(f"{patient}\n" for patient in chosen))
    return root


def make_mhd(root: Path) -> Path:
    """The challenge's release: no labels of the test patients; some raw files are compressed."""
    for patient in PATIENTS:
        folder = root / ("testing" if patient == PATIENTS[3] else "training") / patient
        folder.mkdir(parents=True)
        for view in VIEWS:
            for ending, values in zip(("", "_gt"), picture(f"{patient}_{view}"), strict=True):
                if ending and patient == PATIENTS[3]:
                    continue
                name, packed = f"{patient}_{view}{ending}", view == "4CH_ED"
                content = values.tobytes()
                (folder / f"{name}.raw").write_bytes(zlib.compress(content) if packed else content)
                (folder / f"{name}.mhd").write_text(
                    "ObjectType = Image\nNDims = 3\nBinaryDataByteOrderMSB = False\n"
                    f"CompressedData = {packed}\nElementSpacing = 0.3 0.15 1\n"
                    f"DimSize = {SHAPE[1]} {SHAPE[0]} 1\nElementType = MET_UCHAR\nElementDataFile = {name}.raw\n"
                )
    return root


@pytest.mark.parametrize("make", [make_nifti, make_mhd])
def test_both_releases_give_the_same_images(tmp_path, make):
    dataset = camus.run(tmp_path / "DS", root=make(tmp_path / "CAMUS"))
    assert len(dataset.cases) == 16
    assert {case.patient_id for case in dataset.split("test")} == {PATIENTS[3]}
    assert len(dataset.split("val")) == (4 if make is make_nifti else 0)
    for case in dataset.cases:
        image, label = picture(case.case_id)
        np.testing.assert_array_equal(dataset.image(case)[..., 0], image)
        assert (case.spacing_mm, case.volume_id) == (pytest.approx((0.15, 0.3)), "")
        if case.mask is not None:
            np.testing.assert_array_equal(dataset.mask(case), label)
    assert all(case.mask is not None for case in dataset.split("train"))
    assert dataset.info.labelled_order[0] == PATIENTS[0]


def test_without_lists_patients_are_shared_out(tmp_path):
    root = make_mhd(tmp_path / "CAMUS")
    (root / "testing").rename(root / "training" / "more")
    for file in (root / "training" / "more").rglob("*.mhd"):  # give them labels
        for ending in (".mhd", ".raw"):
            source = file.with_suffix(ending)
            text = source.read_bytes().replace(file.stem.encode(), f"{file.stem}_gt".encode())
            target = source.with_name(f"{file.stem}_gt{ending}")
            target.write_bytes(text if ending == ".mhd" else picture(file.stem)[1].tobytes())
        header = file.with_name(f"{file.stem}_gt.mhd")
        header.write_text(header.read_text().replace("CompressedData = True", "CompressedData = False"))
    dataset = camus.run(tmp_path / "DS", root=root)
    assert dataset.info.split_note.startswith("own split by sorted patients")
    assert len(dataset.split("train")) + len(dataset.split("test")) == 16
    shares = split_in_order([f"p{k:03d}" for k in range(500)], (400, 50, 50))
    assert [list(shares.values()).count(name) for name in ("train", "val", "test")] == [400, 50, 50]


def _no_labels(root: Path) -> None:
    (root / "database_nifti" / PATIENTS[0] / f"{PATIENTS[0]}_2CH_ED_gt.nii.gz").unlink()


def _two_lists(root: Path) -> None:
    (root / "database_split" / "subgroup_testing.txt").write_text(f"{PATIENTS[0]}\n")


def _broken(root: Path) -> None:
    (root / "database_nifti" / PATIENTS[0] / f"{PATIENTS[0]}_2CH_ED.nii.gz").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_labels, r"the labels of 'patient0001_2CH_ED' are missing; expected <root>"),
        (_two_lists, r"subgroup_testing.txt: 'patient0001' is in train too"),
        (_broken, r"broken NIfTI file"),
    ],
)
def test_bad_folders_are_one_line_and_write_nothing(tmp_path, spoil, message):
    root = make_nifti(tmp_path / "CAMUS")
    spoil(root)
    with pytest.raises(DataError, match=message) as caught:
        camus.run(tmp_path / "DS", root=root)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "DS").exists()


def test_headers_that_do_not_fit_are_named(tmp_path):
    root = make_mhd(tmp_path / "CAMUS")
    file = root / "training" / PATIENTS[0] / f"{PATIENTS[0]}_2CH_ED.raw"
    file.write_bytes(b"short")
    with pytest.raises(DataError, match=r"2CH_ED.raw: does not fit its header"):
        camus.run(tmp_path / "DS", root=root)
    file.unlink()
    with pytest.raises(DataError, match=r"2CH_ED.raw: no such file, but patient0001_2CH_ED.mhd names it"):
        camus.run(tmp_path / "DS", root=root)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no image of CAMUS below it; expected .*_gt.nii.gz"):
        camus.run(tmp_path / "DS", root=empty)
