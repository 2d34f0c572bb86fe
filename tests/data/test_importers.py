import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.data.dataset import Dataset
from gazeseg.data.importers import available, folder, get, kvasir_seg, nci_isbi
from gazeseg.data.split import split_checksum
from gazeseg.errors import ConfigError, DataError, MissingDependencyError

RNG = np.random.default_rng(5)
HEADER = (
    "IMAGE,CURRENT_FIX_INDEX,CURRENT_FIX_X,CURRENT_FIX_Y,CURRENT_FIX_DURATION,CURRENT_FIX_PUPIL,CURRENT_FIX_START,"
    "IMAGE_HEIGHT,IMAGE_WIDTH\n"
)


def write_images(root: Path, names: list[str], size=(24, 32), grey=False) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, size if grey else (*size, 3), dtype=np.uint8)).save(root / name)
    return root


def write_masks(root: Path, names: list[str], size=(24, 32)) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[6:18, 8:24] = 255
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).convert("RGB" if name.endswith("jpg") else "L").save(root / name)
    return root


def write_gaze(file: Path, ids: list[str], size=(24, 32)) -> Path:
    rows = [f"{name}.jpg,{k},0.5,0.25,300,1,{400 * k},{size[0]}.0,{size[1]}.0\n" for name in ids for k in (1, 2)]
    file.write_text(HEADER + "".join(rows))
    return file


# ---- the registry


def test_importers_are_found_by_scanning():
    assert list(available()) == ["acdc", "camus", "folder", "isic", "kvasir-seg", "nci-isbi", "scr", "synapse"]
    assert get("kvasir-seg").run is kvasir_seg.run
    assert get("folder").summary
    with pytest.raises(ConfigError, match="no importer 'kvasir'; did you mean 'kvasir-seg'"):
        get("kvasir")


# ---- kvasir-seg


@pytest.fixture
def kvasir(tmp_path):
    ids = [f"cju{n}" for n in range(10)]
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "train.txt").write_text("\n".join(ids[:8]))
    (splits / "test.txt").write_text("\n".join(ids[8:]))
    return {
        "images": write_images(tmp_path / "images", [f"{n}.jpg" for n in ids]),
        "masks": write_masks(tmp_path / "masks", [f"{n}.jpg" for n in ids]),
        "gaze": write_gaze(tmp_path / "gaze.csv", ids[:9]),
        "splits": splits,
    }


def test_kvasir_with_everything(tmp_path, kvasir, monkeypatch):
    data = kvasir_seg.run(tmp_path / "DS", **kvasir)
    assert [len(data.split(name)) for name in ("train", "val", "test", "none")] == [8, 0, 2, 0]
    assert data.info.split_note == "own lists (8 train, 2 test); not a published split"
    assert data.info.classes == ("background", "polyp")
    assert data.info.gaze.kind == "recorded"
    assert data.info.masks_config().maps.sigma == 70
    assert data.info.masks_config().pseudo.thresholds == (0.5, 0.3)
    case = data.case("cju0")
    assert data.mask(case).sum() == 12 * 16
    assert data.fixations["cju0"].x_px.tolist() == [0.5 * 32 - 0.5] * 2
    assert data.fixations["cju0"].y_px.tolist() == [0.25 * 24 - 0.5] * 2
    assert len(data.fixations["cju9"]) == 0  # kept without gaze

    sums = {name: split_checksum((kvasir["splits"] / f"{name}.txt").read_text().split()) for name in ("train", "test")}
    monkeypatch.setattr(kvasir_seg, "GAZEMEDSEG", kvasir_seg.PublishedSplit("them", sums, kvasir_seg.GAZEMEDSEG.files))
    note = kvasir_seg.run(tmp_path / "DS2", **kvasir).info.split_note
    assert note == "them (8 train, 2 test; checksums match)"
    (kvasir["splits"] / "test.txt").write_text("cju9\n")
    note = kvasir_seg.run(tmp_path / "DS3", **kvasir).info.split_note
    assert note == "own lists (8 train, 1 test); only train as in them"


def test_kvasir_with_images_only(tmp_path, kvasir):
    data = kvasir_seg.run(tmp_path / "DS", images=kvasir["images"])
    assert [len(data.split(name)) for name in ("train", "test")] == [9, 1]
    assert data.info.split_note.startswith(
        "own split by image, as no patient is known for two of them: 1 of 10 held out"
    )
    assert not data.has_masks
    assert data.info.gaze.kind == "none"
    assert data.info.roots.masks is None


def test_the_data_sets_own_lists_are_taken_where_there_are_no_others(tmp_path, kvasir):
    kvasir["splits"].joinpath("test.txt").rename(kvasir["splits"] / "official_val.txt")
    kvasir["splits"].joinpath("train.txt").rename(kvasir["splits"] / "official_train.txt")
    data = kvasir_seg.run(tmp_path / "DS", **kvasir)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [8, 2, 0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda k: write_images(k["images"], ["cju3.jpg"], (24, 40)), r"cju3\.jpg .*the mask is 24 x 32 .* 24 x 40"),
        (lambda k: write_gaze(k["gaze"], ["cju1"], (24, 33)), r"'cju1' was viewed at 24 x 33 .* file here is 24 x 32"),
        (lambda k: write_gaze(k["gaze"], ["cjuu1"]), r"gaze\.csv, row 2: IMAGE 'cjuu1\.jpg' .*did you mean 'cju1'"),
        (lambda k: (k["splits"] / "test.txt").write_text("cju0\ncju9"), r"test\.txt, line 1: 'cju0' is listed already"),
        (
            lambda k: (k["splits"] / "test.txt").write_text("cju99"),
            r"test\.txt, line 1: no image 'cju99'; did you mean",
        ),
        (lambda k: (k["images"] / "cju2.jpg").write_bytes(b"x"), r"cju2\.jpg \(case 'cju2'\): broken image"),
        (lambda k: k["gaze"].write_text(HEADER.replace("FIX_X", "FIXX")), r"no column 'CURRENT_FIX_X'; did you mean"),
        (lambda k: k["gaze"].unlink(), r"gaze\.csv: no such file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, kvasir, spoil, message):
    spoil(kvasir)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=message) as caught:
        kvasir_seg.run(tmp_path / "DS", **kvasir)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_masks_that_bear_no_images_name(tmp_path, kvasir, capsys):
    with pytest.raises(DataError, match=r"no mask bears the name of an image, e\.g\. 'cju0_mask'; did you mean 'cju0'"):
        kvasir_seg.run(
            tmp_path / "DS", images=kvasir["images"], masks=write_masks(tmp_path / "other", ["cju0_mask.png"])
        )
    write_masks(tmp_path / "other", ["cju0.png"])
    data = kvasir_seg.run(tmp_path / "DS", images=kvasir["images"], masks=tmp_path / "other")
    assert sum(case.mask is not None for case in data.cases) == 1
    said = capsys.readouterr().err
    assert "1 masks have no image and are left out, e.g. 'cju0_mask'" in said
    assert "9 images have no mask, e.g. 'cju1'" in said


# ---- a user's folder


def test_a_folder_with_spaces_sub_folders_and_everything(tmp_path):
    root = tmp_path / "Klinik Süd"
    names = ["Ward 1/ä.png", "Ward 1/b.png", "c.tif", "d e.bmp"]
    images = write_images(root / "images", names, grey=True)
    masks = write_masks(root / "images" / "masks", ["ä.png", "c.png"])  # below the images, flat
    (root / "gaze.csv").write_text("case_id,x,y,duration_ms\nä,0.5,0.5,200\nc.tif,1,0,100\n", encoding="utf-8")
    (root / "patients.csv").write_text("case_id,patient_id\nä,P1\nb,P1\nc,P2\nd e,P3\n", encoding="utf-8")
    (root / "lists").mkdir()
    (root / "lists" / "train.txt").write_text("ä\nb\n", encoding="utf-8")
    (root / "lists" / "val.txt").write_text("c\n")
    data = folder.run(
        root / "my DS",
        images=images,
        masks=masks,
        gaze=root / "gaze.csv",
        splits=root / "lists",
        patients=root / "patients.csv",
        classes=["background", "Läsion"],
        copy=True,
    )
    assert {case.case_id: (case.patient_id, case.split) for case in data.cases} == {
        "ä": ("P1", "train"),
        "b": ("P1", "train"),
        "c": ("P2", "val"),
        "d e": ("P3", "none"),
    }
    assert data.info.classes == ("background", "Läsion")
    assert data.info.channels == 1
    assert data.info.name == "images"
    assert data.mask(data.case("ä")).sum() == 12 * 16
    assert data.case("b").mask is None
    assert {name: len(fix) for name, fix in data.fixations.items()} == {"ä": 1, "b": 0, "c": 1, "d e": 0}
    assert data.image(data.case("d e")).shape == (24, 32, 1)


def test_repeated_names_become_paths(tmp_path):
    images = write_images(tmp_path / "images", ["p1/1.png", "p2/1.png"])
    data = folder.run(tmp_path / "DS", images=images, masks=write_masks(tmp_path / "masks", ["p1/1.png", "p2/1.png"]))
    assert [case.case_id for case in data.cases] == ["p1/1", "p2/1"]
    assert all(case.mask == tmp_path / "masks" / f"{case.case_id}.png" for case in data.cases)


def test_an_own_split_keeps_patients_whole(tmp_path):
    names = [f"{n:02d}" for n in range(30)]
    images = write_images(tmp_path / "images", [f"{name}.png" for name in names], size=(4, 4))
    rows = "".join(f"{name},p{index // 3}\n" for index, name in enumerate(names))
    (tmp_path / "patients.csv").write_text("case_id,patient_id\n" + rows)
    data = folder.run(tmp_path / "DS", images=images, patients=tmp_path / "patients.csv")
    assert data.info.split_note == "own split by patient: 6 of 30 held out for test, seed 0; not a published split"
    train, test = ({case.patient_id for case in data.split(name)} for name in ("train", "test"))
    assert len(test) == 2
    assert not train & test
    single = folder.run(tmp_path / "one", images=write_images(tmp_path / "single", ["a.png"]))
    assert single.info.split_note == "own split: one patient, all for training; not a published split"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("case,patient_id\na,P", r"patients\.csv: column 'case_id' is missing; did you mean 'case'"),
        ("case_id,patient_id\naa,P", r"line 2: no image 'aa'"),
        ("case_id,patient_id\na,P", r"1 images have no patient, e\.g\. 'b'; add a line for each"),
        ("case_id,patient_id\na,P\na,Q\nb,P", r"line 3: 'a' is of 'P' already; keep one line a case"),
        ("case_id,patient_id\na,\nb,P", r"line 2: patient_id of 'a' is empty"),
    ],
)
def test_a_broken_patient_table(tmp_path, rows, message):
    images = write_images(tmp_path / "images", ["a.png", "b.png"])
    (tmp_path / "patients.csv").write_text(rows)
    with pytest.raises(DataError, match=message):
        folder.run(tmp_path / "DS", images=images, patients=tmp_path / "patients.csv")
    assert not (tmp_path / "DS").exists()


def test_a_patient_in_two_lists_and_odd_classes(tmp_path):
    images = write_images(tmp_path / "images", ["a.png", "b.png"])
    (tmp_path / "patients.csv").write_text("case_id,patient_id\na,P\nb,P")
    (tmp_path / "train.txt").write_text("a")
    (tmp_path / "test.txt").write_text("b")
    with pytest.raises(DataError, match="patient 'P' is in test and train"):
        folder.run(tmp_path / "DS", images=images, patients=tmp_path / "patients.csv", splits=tmp_path)
    with pytest.raises(DataError, match="classes polyp: name background and at least one class"):
        folder.run(tmp_path / "DS", images=images, classes=["polyp"])


# ---- nci-isbi, prepared


def test_prepared_slices_with_and_without_images(tmp_path, capsys):
    names = [f"Prostate3T-01-000{p}_{n}.png" for p in (1, 2) for n in (2, 11)]
    masks = write_masks(tmp_path / "masks", names)
    (tmp_path / "train.txt").write_text("Prostate3T-01-0001_2\nProstate3T-01-0001_11\n")
    (tmp_path / "test.txt").write_text("Prostate3T-01-0002_2\nProstate3T-03-0001_5\n")
    gaze = write_gaze(tmp_path / "gaze.csv", ["Prostate3T-01-0001_2"])
    data = nci_isbi.run(tmp_path / "DS", masks=masks, gaze=gaze, splits=tmp_path)
    case = data.case("Prostate3T-01-0001_11")
    assert (case.patient_id, case.volume_id, case.slice_index) == ("Prostate3T-01-0001", "Prostate3T-01-0001", 10)
    assert case.image is None
    assert data.mask(case).any()
    assert data.info.channels == 1
    assert data.info.masks_config().maps.sigma == 50
    assert data.info.masks_config().pseudo.thresholds == (0.2, 0.4)
    assert "1 listed cases are not among the files" in data.info.split_note
    assert "nothing trained" in capsys.readouterr().err
    images = write_images(tmp_path / "images", names, grey=True)
    data = nci_isbi.run(tmp_path / "DS2", images=images, gaze=gaze)
    assert data.image(data.cases[0]).shape == (24, 32, 1)
    assert not data.has_masks
    with pytest.raises(DataError, match="neither images nor masks"):
        nci_isbi.run(tmp_path / "DS3")
    with pytest.raises(DataError, match=r"'cju': expected <patient>_<slice number>"):
        nci_isbi.run(tmp_path / "DS3", images=write_images(tmp_path / "odd", ["cju.png"]))


# ---- the real data


@pytest.mark.real
def test_kvasir_as_published(tmp_path, real_data):
    data = kvasir_seg.run(
        tmp_path / "DS",
        images=real_data / "kvasir-seg" / "images",
        masks=real_data / "kvasir-seg" / "masks",
        gaze=real_data / "gazemedseg" / "kvasir_fixation.csv",
        splits=real_data / "kvasir-seg",
    )
    assert data.info.split_note == "GazeMedSeg's 900/100 (900 train, 100 test; checksums match)"
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [900, 0, 100]
    assert sum(map(len, data.fixations.values())) == 26_832
    shares = []
    for case in data.split("test")[:25]:
        fix, mask = data.fixations[case.case_id], data.mask(case)
        assert data.image(case).shape == (*mask.shape, 3)
        shares.append(mask[np.rint(fix.y_px).astype(int), np.rint(fix.x_px).astype(int)].mean())
    assert np.mean(shares) > 0.8  # 0.85 over all; a flipped axis gives less than 0.4


@pytest.mark.real
def test_nci_isbi_as_published(tmp_path, real_data):
    data = nci_isbi.run(
        tmp_path / "DS",
        masks=real_data / "nci-isbi" / "masks",
        gaze=real_data / "gazemedseg" / "nci-isbi_fixation.csv",
        splits=real_data / "nci-isbi",
    )
    assert data.info.split_note.startswith("GazeMedSeg's 789/117 slices (789 train, 117 test; checksums match)")
    assert len(data.split("train")) == 789
    assert len({case.patient_id for case in data.cases}) == 59
    assert sum(map(len, data.fixations.values())) == 17_397


def test_the_raw_layout_needs_an_extra(tmp_path, monkeypatch):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "1.dcm").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "gazeseg\[medical\]"'):
        nci_isbi.run(tmp_path / "DS", images=tmp_path / "dicom")


def test_a_dataset_is_what_comes_back(tmp_path):
    images = write_images(tmp_path / "images", ["a.png", "b.png"])
    assert folder.run(tmp_path / "DS", images=images) == Dataset.load(tmp_path / "DS")
