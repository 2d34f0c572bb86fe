"""ACDC in its three layouts, made small; what is wrong with a folder is said before anything is written."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from gazeseg.data.check import check_dataset, describe
from gazeseg.data.importers import acdc
from gazeseg.errors import DataError, MissingDependencyError

SHAPE = (3, 12, 10)
FRAMES = {
    "patient003": ("01", "12"),
    "patient001": ("01", "09"),
    "patient002": ("01", "07"),
    "patient004": ("04", "11"),
}
SPLITS = {"train": ("patient003", "patient001"), "val": ("patient002",), "test": ("patient004",)}
VOLUMES = [f"{patient}_frame{frame}" for patient, frames in FRAMES.items() for frame in frames]


def make_volume(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(list(name.encode()))
    image = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    image[0, 0, 0], image[-1, -1, -1] = 0, 255  # so that scaling by the volume's range changes nothing
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:, 2:8, 2:8], labels[2, 4:6, 4:6], labels[1, 3, 3] = 2, 3, 1
    return image, labels


def write_lists(root: Path, *, original: bool = False) -> None:
    """Write SSL4MIS's lists; the original ones call the frames 01 and 02 and count slices from 1."""
    for split, patients in SPLITS.items():
        names = [
            f"{patient}_frame{f'{k:02d}' if original else frame}"
            for patient in patients
            for k, frame in enumerate(FRAMES[patient], 1)
        ]
        (root / f"{split}.list").write_text("".join(f"{name}\n" for name in names))
        if split == "train":
            slices = [f"{name}_slice_{k + original}" for name in names for k in (2, 0, 1)]
            (root / "train_slices.list").write_text("".join(f"{line}\n" for line in slices))


def make_npz(root: Path) -> Path:
    (root / "volumes").mkdir(parents=True)
    for name in VOLUMES:
        image, label = make_volume(name)
        np.savez_compressed(root / "volumes" / f"{name}.npz", image=image, label=label, scribble=label)
    write_lists(root)
    return root


def make_h5(root: Path) -> Path:
    """Validation and test as volumes, training as slices alone, which a partial download leaves."""
    h5py = pytest.importorskip("h5py")
    (root / "data" / "slices").mkdir(parents=True)
    for name in VOLUMES:
        image, label = make_volume(name)
        values = image / 255
        if name.partition("_")[0] in SPLITS["train"]:
            for k in range(len(values)):
                with h5py.File(root / "data" / "slices" / f"{name}_slice_{k + 1}.h5", "w") as file:
                    file["image"], file["label"] = values[k], label[k]
        else:
            with h5py.File(root / "data" / f"{name}.h5", "w") as file:
                file["image"], file["label"] = values, label
    write_lists(root, original=True)
    return root


def make_nifti(root: Path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    for patient, frames in FRAMES.items():
        folder = root / ("testing" if patient in SPLITS["test"] else "training") / patient
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(f"ED: {int(frames[0])}\nES: {int(frames[1])}\nGroup: NOR\nNbFrame: 30\n")
        for frame in frames:
            name = f"{patient}_frame{frame}"
            image, label = make_volume(name)
            for ending, values in (("", image.astype(np.int16) * 3), ("_gt", label)):
                stored = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([1.25, 1.5, 10, 1]))
                nibabel.save(stored, folder / f"{name}{ending}.nii.gz")
        (folder / f"{patient}_4d.nii.gz").write_bytes(b"")
    return root


@pytest.mark.parametrize("make", [make_npz, make_h5, make_nifti])
def test_every_layout_gives_the_same_slices(tmp_path, make):
    dataset = acdc.run(tmp_path / "DS", root=make(tmp_path / "ACDC"))
    train = SPLITS["train"] if make is not make_nifti else ("patient001", "patient002", "patient003")
    assert sorted({case.patient_id for case in dataset.split("train")}) == sorted(train)
    assert {case.patient_id for case in dataset.split("test")} == {"patient004"}
    assert len(dataset.cases) == 8 * SHAPE[0]
    assert dataset.info.classes == acdc.CLASSES
    for name in VOLUMES:
        image, labels = make_volume(name)
        for k in range(SHAPE[0]):
            case = dataset.case(f"{name}_slice_{k}")
            assert (case.volume_id, case.slice_index, case.patient_id) == (name, k, name.partition("_")[0])
            np.testing.assert_array_equal(dataset.image(case)[..., 0], image[k])
            np.testing.assert_array_equal(dataset.mask(case), labels[k])
    spacing = {(case.spacing_mm, case.spacing_z_mm) for case in dataset.cases}
    assert spacing == ({((1.5, 1.25), 10.0)} if make is make_nifti else {(None, None)})


def test_labelled_subsets_follow_the_slice_list(tmp_path):
    dataset = acdc.run(tmp_path / "DS", root=make_npz(tmp_path / "ACDC"))
    assert dataset.info.labelled_order == ("patient003", "patient001")
    result = check_dataset(dataset)
    assert result["labelled_subsets"][0] == {"percent": 5, "patients": 1, "cases": 6}
    assert result["labelled_subsets"][-1] == {"percent": 100, "patients": 2, "cases": 12}
    told = describe(result)
    assert "24 cases in 8 volumes of 4 patients (12 train, 6 val, 6 test)" in told
    assert "distances are in pixels, not in mm" in told


def test_lists_of_another_folder_and_simulated_gaze(tmp_path):
    root, lists = make_nifti(tmp_path / "ACDC"), tmp_path / "lists"
    lists.mkdir()
    write_lists(lists, original=True)
    dataset = acdc.run(tmp_path / "DS", root=root, splits=lists, simulate_gaze=True)
    assert dataset.info.labelled_order == ("patient003", "patient001")
    assert dataset.info.split_note.startswith("own lists, 2 / 1 / 1 patients")
    assert dataset.info.gaze.kind == "simulated"
    looked_at = {case.case_id for case in dataset.cases if len(dataset.fixations[case.case_id])}
    assert looked_at == {f"{v}_slice_{k}" for v in VOLUMES for k in (1, 2) if v.partition("_")[0] in SPLITS["train"]}


def test_grey_values_are_scaled_by_volume_not_by_slice(tmp_path):
    root = make_npz(tmp_path / "ACDC")
    image, label = make_volume(VOLUMES[0])
    values = image.astype(np.float64) * 0.5 - 40
    values[1] = 0.0
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=values, label=label)
    dataset = acdc.run(tmp_path / "DS", root=root)
    expected = np.rint(255 * (values - values.min()) / (values.max() - values.min()))
    for k in range(3):
        np.testing.assert_array_equal(dataset.image(dataset.case(f"{VOLUMES[0]}_slice_{k}"))[..., 0], expected[k])


def _no_lists(root: Path) -> None:
    (root / "train.list").unlink()


def _no_volume(root: Path) -> None:
    (root / "volumes" / "patient001_frame09.npz").unlink()


def _two_splits(root: Path) -> None:
    with (root / "val.list").open("a") as stream:
        stream.write("patient001_frame09\n")


def _patient_in_two(root: Path) -> None:
    (root / "train.list").write_text("patient003_frame01\npatient003_frame12\npatient001_frame01\n")
    lines = [
        f"{name}_slice_{k}\n"
        for name in ("patient003_frame01", "patient003_frame12", "patient001_frame01")
        for k in range(3)
    ]
    (root / "train_slices.list").write_text("".join(lines))
    _two_splits(root)


def _torn(root: Path) -> None:
    lines = (root / "train_slices.list").read_text().splitlines()
    (root / "train_slices.list").write_text("\n".join([*lines[1:], lines[0]]))


def _foreign_label(root: Path) -> None:
    image, label = make_volume(VOLUMES[0])
    label[0, 0, :2] = 4, 9
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=image, label=label)


def _other_size(root: Path) -> None:
    image, label = make_volume(VOLUMES[0])
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=image, label=label[:2])


def _one_slice_less(root: Path) -> None:
    image, label = make_volume(VOLUMES[0])
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=image[:2], label=label[:2])


def _truncated(root: Path) -> None:
    file = root / "volumes" / f"{VOLUMES[0]}.npz"
    file.write_bytes(file.read_bytes()[:200])


def _no_label(root: Path) -> None:
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=make_volume(VOLUMES[0])[0], labels=np.zeros(3))


def _infinite(root: Path) -> None:
    image, label = make_volume(VOLUMES[0])
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=np.full(image.shape, np.inf), label=label)


def _mixed(root: Path) -> None:
    (root / "patient001_frame01.h5").write_bytes(b"")


def _empty(root: Path) -> None:
    shutil.rmtree(root / "volumes")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_lists, r"no train.list; expected train.list, val.list and test.list"),
        (_no_volume, r"name 'patient001_frame09', but there is no file of it \(1 of 2 volumes.*npz: <root>"),
        (_two_splits, r"val.list: 'patient001_frame09' is in train too"),
        (_patient_in_two, r"patient 'patient001' is in train and val"),
        (_torn, r"train_slices.list: 'patient003' stands in two places"),
        (_foreign_label, r"patient003_frame01.npz .* labels 4, 9 are outside the declared classes 0..3"),
        (_other_size, r"the labels are 2 x 12 x 10 but the image is 3 x 12 x 10"),
        (_one_slice_less, r"2 slices, but train_slices.list names 3"),
        (_truncated, r"broken npz file"),
        (_no_label, r"has no array 'label'; did you mean 'labels'"),
        (_infinite, r"holds NaN or infinity"),
        (_mixed, r"holds ACDC as npz and as h5"),
        (_empty, r"no ACDC volume below it; expected one of npz: .*h5: .*nifti: .*Info.cfg"),
    ],
)
def test_bad_folders_are_one_line_and_write_nothing(tmp_path, spoil, message):
    root = make_npz(tmp_path / "ACDC")
    spoil(root)
    with pytest.raises(DataError, match=message) as caught:
        acdc.run(tmp_path / "DS", root=root)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["ACDC"]


def test_bad_nifti_folders(tmp_path):
    root = make_nifti(tmp_path / "ACDC")
    folder = root / "training" / "patient001"
    (folder / "patient001_frame09_gt.nii.gz").rename(tmp_path / "gt")
    with pytest.raises(DataError, match=r"patient001_frame09_gt.nii.gz: the labels .* are missing"):
        acdc.run(tmp_path / "DS", root=root)
    (folder / "patient001_frame09.nii.gz").unlink()
    with pytest.raises(DataError, match=r"patient001_frame09.nii.gz: is missing, Info.cfg names it as ES"):
        acdc.run(tmp_path / "DS", root=root)
    (folder / "Info.cfg").write_text("Group: NOR\n")
    with pytest.raises(DataError, match=r"Info.cfg: has no line 'ED: <frame>'"):
        acdc.run(tmp_path / "DS", root=root)
    (folder / "Info.cfg").unlink()
    with pytest.raises(DataError, match=r"Info.cfg: is missing"):
        acdc.run(tmp_path / "DS", root=root)


def test_h5_slices_with_gaps_and_of_two_sizes(tmp_path):
    h5py = pytest.importorskip("h5py")
    root = make_h5(tmp_path / "ACDC")
    file = root / "data" / "slices" / "patient003_frame01_slice_2.h5"
    with h5py.File(file, "w") as stored:
        stored["image"], stored["label"] = np.zeros((6, 6)), np.zeros((6, 6), np.uint8)
    with pytest.raises(DataError, match=r"slices of 'patient003_frame01' differ in size \(6 x 6 and 12 x 10\)"):
        acdc.run(tmp_path / "DS", root=root)
    file.unlink()
    with pytest.raises(DataError, match=r"slices \[1, 3\] of 'patient003_frame01' have gaps"):
        acdc.run(tmp_path / "DS", root=root)


def test_official_test_patients_without_labels_and_volumes_without_a_label(tmp_path, capsys):
    root = make_nifti(tmp_path / "ACDC")
    for path in (root / "testing").rglob("*_gt.nii.gz"):
        path.unlink()
    dataset = acdc.run(tmp_path / "A", root=root)
    assert all(case.mask is None for case in dataset.split("test"))
    assert dataset.has_masks
    root = make_npz(tmp_path / "npz")
    image, label = make_volume(VOLUMES[0])
    np.savez(root / "volumes" / f"{VOLUMES[0]}.npz", image=image, label=np.zeros_like(label))
    acdc.run(tmp_path / "B", root=root)
    assert f"1 volumes show no class in any slice of their labels, e.g. '{VOLUMES[0]}'" in capsys.readouterr().err


@pytest.mark.parametrize(("make", "package"), [(make_h5, "h5py"), (make_nifti, "nibabel")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, make, package):
    root = make(tmp_path / "ACDC")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package} is not installed.*gazeseg\[medical\]"):
        acdc.run(tmp_path / "DS", root=root)


@pytest.mark.real
@pytest.mark.slow
def test_acdc_as_published(tmp_path, real_data):
    dataset = acdc.run(tmp_path / "DS", root=real_data / "acdc")
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [1312, 210, 380]
    assert dataset.info.split_note.startswith("SSL4MIS's 70 / 10 / 20 patients (checksums match)")
    subsets = check_dataset(dataset)["labelled_subsets"]
    assert [(s["patients"], s["cases"]) for s in subsets] == [
        (3, 68), (7, 136), (14, 256), (21, 396), (28, 512), (35, 664), (70, 1312),
    ]  # fmt: skip
    first = [f"patient{number}" for number in ("099", "038", "050", "100", "058", "021", "049")]
    assert list(dataset.info.labelled_order[:7]) == first
    with np.load(real_data / "acdc" / "volumes" / "patient090_frame04.npz") as stored:
        for k in (0, 5):
            case = dataset.case(f"patient090_frame04_slice_{k}")
            np.testing.assert_array_equal(dataset.image(case)[..., 0], stored["image"][k])
            np.testing.assert_array_equal(dataset.mask(case), stored["label"][k])
