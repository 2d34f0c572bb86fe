"""Synapse in TransUNet's layout, made small."""

from pathlib import Path

import numpy as np
import pytest

from gazeseg.data.importers import synapse
from gazeseg.errors import DataError

h5py = pytest.importorskip("h5py")


def make(root: Path) -> Path:
    (root / "train_npz").mkdir(parents=True)
    (root / "test_vol_h5").mkdir()
    for case in ("case0005", "case0006"):
        for k in range(3):
            image, label = volume(case)
            np.savez(root / "train_npz" / f"{case}_slice{k:03d}.npz", image=image[k], label=label[k])
    image, label = volume("case0001")
    with h5py.File(root / "test_vol_h5" / "case0001.npy.h5", "w") as file:
        file["image"], file["label"] = image, label
    return root


def volume(case: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(list(case.encode()))
    image = (rng.integers(0, 256, (3, 10, 12)) / 255).astype(np.float32)
    image[0, 0, 0], image[0, 0, 1] = 0, 1
    label = np.zeros((3, 10, 12), np.float32)  # floats, as in the files
    label[1:, 2:6, 2:9], label[2, 4, 4] = 5, 8
    return image, label


def test_slices_and_volumes_become_one_data_set(tmp_path):
    dataset = synapse.run(tmp_path / "DS", root=make(tmp_path / "Synapse"))
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [6, 0, 3]
    assert dataset.info.labelled_order == ("case0005", "case0006")
    assert (dataset.num_classes, dataset.info.classes[5], dataset.info.classes[8]) == (9, "liver", "stomach")
    for case_id in ("case0005_slice_2", "case0001_slice_2"):
        case = dataset.case(case_id)
        image, label = volume(case.patient_id)
        np.testing.assert_array_equal(dataset.image(case)[..., 0], np.rint(image[2] * 255))
        np.testing.assert_array_equal(dataset.mask(case), label[2])
        assert (case.volume_id, case.slice_index, case.spacing_mm) == (case.patient_id, 2, None)


def _no_test(root: Path) -> None:
    (root / "test_vol_h5" / "case0001.npy.h5").unlink()


def _gap(root: Path) -> None:
    (root / "train_npz" / "case0006_slice001.npz").unlink()


def _both(root: Path) -> None:
    (root / "test_vol_h5" / "case0001.npy.h5").rename(root / "test_vol_h5" / "case0005.npy.h5")


def _thirteen(root: Path) -> None:
    image, label = volume("case0006")
    np.savez(root / "train_npz" / "case0006_slice001.npz", image=image[1], label=np.where(label[1], 11, 0))


def _foreign(root: Path) -> None:
    (root / "train_npz" / "case0006.npz").write_bytes(b"")


def _sizes(root: Path) -> None:
    np.savez(root / "train_npz" / "case0006_slice001.npz", image=np.zeros((4, 4)), label=np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_test, r"no file of test_vol_h5 below it; expected train_npz/case0005_slice000.npz and test_vol_h5"),
        (_gap, r"slice 001 of 'case0006' is missing"),
        (_both, r"'case0005' is there for training and for test"),
        (_thirteen, r"labels 11 are outside the declared classes 0..8"),
        (_foreign, r"case0006.npz: no slice of Synapse; expected"),
        (_sizes, r"the slices of 'case0006' differ in size"),
    ],
)
def test_bad_folders_are_one_line_and_write_nothing(tmp_path, spoil, message):
    root = make(tmp_path / "Synapse")
    spoil(root)
    with pytest.raises(DataError, match=message) as caught:
        synapse.run(tmp_path / "DS", root=root)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "DS").exists()
