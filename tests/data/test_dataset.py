import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gazeseg.data import layout
from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.errors import ConfigError, DataError
from gazeseg.types import Fixations

RNG = np.random.default_rng(3)
IDS = ("a/1", "ü b", "c")


def make_files(root: Path) -> tuple[DatasetInfo, list[Case]]:
    """Three cases of three sizes; the last has no mask."""
    (root / "pics" / "sub").mkdir(parents=True)
    (root / "truth").mkdir()
    cases = []
    for index, (case_id, name) in enumerate(zip(IDS, ("sub/1.png", "ü b.png", "c.png"), strict=True)):
        height, width = 20 + index, 30
        Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / "pics" / name)
        mask = root / "truth" / f"{index}.png"
        labels = np.zeros((height, width), np.uint8)
        labels[5:9, 5:9] = 255
        Image.fromarray(labels).save(mask)
        cases.append(
            Case(case_id, f"p{index}", "train", root / "pics" / name, None if index == 2 else mask, height, width)
        )
    cases[0] = replace(cases[0], spacing_mm=(0.5, 0.25), volume_id="v", slice_index=7, split="test", spacing_z_mm=8)
    info = DatasetInfo(
        name="tiny",
        classes=("background", "thing"),
        roots=Roots(images=root / "pics", masks=root / "truth"),
        gaze=GazeInfo(kind="recorded"),
        supervision={"maps": {"sigma": 50}},
    )
    return info, cases


def gaze_of(case: Case) -> Fixations:
    return Fixations(
        np.array([1 / 3, 50.0]),
        np.array([2.0, -3.0]),
        np.array([0, 400.0]),
        np.array([300, 10.5]),
        case.size,
        case.case_id,
    )


@pytest.fixture
def source(tmp_path):
    return make_files(tmp_path / "my source")


def test_what_is_written_is_what_is_loaded(tmp_path, source):
    info, cases = source
    dataset = write_dataset(tmp_path / "DS", info, cases, [gaze_of(cases[1])])
    assert dataset.cases == tuple(cases)
    assert Dataset.load(tmp_path / "DS").cases == tuple(cases)
    assert dataset.info.classes == info.classes
    assert dataset.info.masks_config().maps.sigma == 50
    assert dataset.num_classes == 2
    assert dataset.has_masks
    assert [case.case_id for case in dataset.split("train")] == ["ü b", "c"]
    assert dataset.case("a/1").spacing_mm == (0.5, 0.25)
    assert sorted(path.name for path in (tmp_path / "DS").rglob("*")) == [
        "cases.csv",
        "dataset.yaml",
        "fixations.csv",
        "gaze",
    ]


def test_pixels_masks_and_gaze(tmp_path, source):
    info, cases = source
    dataset = write_dataset(tmp_path / "DS", info, cases, [gaze_of(cases[1])])
    case = dataset.case("ü b")
    assert np.array_equal(dataset.image(case), np.asarray(Image.open(case.image)))
    assert dataset.mask(case).sum() == 16
    fix = dataset.fixations["ü b"]
    assert fix.x_px.tolist() == [1 / 3, 50.0]  # bit for bit
    assert fix.image_size == case.size
    assert len(dataset.fixations["c"]) == 0
    assert set(dataset.fixations) == set(IDS)
    with pytest.raises(DataError, match="case 'c' has no mask; import again with --masks"):
        dataset.mask(dataset.case("c"))
    grey = replace(dataset, info=info.model_copy(update={"channels": 1}))
    assert grey.image(case).shape == (21, 30, 1)


def test_a_copy_needs_its_source_no_more(tmp_path, source):
    info, cases = source
    expected = np.asarray(Image.open(cases[0].image))
    dataset = write_dataset(tmp_path / "DS", info, cases, [], copy=True)
    shutil.rmtree(tmp_path / "my source")
    shutil.move(tmp_path / "DS", tmp_path / "elsewhere")
    dataset = Dataset.load(tmp_path / "elsewhere")
    assert np.array_equal(dataset.image(dataset.case("a/1")), expected)
    assert dataset.mask(dataset.case("a/1")).sum() == 16
    assert (tmp_path / "elsewhere" / "images" / "a%2F1.png").is_file()


def test_relative_source_folders_stay_where_they_are(tmp_path, source, monkeypatch):
    """`--images images` names a folder of the working directory, not one inside the data set."""
    info, cases = source
    monkeypatch.chdir(tmp_path / "my source")
    os.rename("pics", "images")
    cases = [replace(case, image=Path("images") / case.image.relative_to(info.roots.images)) for case in cases]
    info = info.model_copy(update={"roots": Roots(images=Path("images"), masks=info.roots.masks)})
    dataset = write_dataset(Path("DS"), info, cases, [])
    monkeypatch.chdir("/")
    dataset = Dataset.load(tmp_path / "my source" / "DS")
    assert dataset.cases[0].image == tmp_path / "my source" / "images" / "sub" / "1.png"
    assert dataset.image(dataset.cases[0]).shape == (20, 30, 3)


def test_a_data_set_moved_together_with_its_images_keeps_working(tmp_path):
    info, cases = make_files(tmp_path / "one" / "raw")
    write_dataset(tmp_path / "one" / "DS", info, cases, [])
    shutil.move(tmp_path / "one", tmp_path / "two")
    dataset = Dataset.load(tmp_path / "two" / "DS")
    assert dataset.image(dataset.case("c")).shape == (22, 30, 3)
    assert dataset.mask(dataset.case("ü b")).any()


def test_vanished_images_and_masks_say_which_key_to_edit(tmp_path, source):
    info, cases = source
    dataset = write_dataset(tmp_path / "DS", info, cases, [])
    shutil.rmtree(tmp_path / "my source" / "truth")
    dataset = Dataset.load(tmp_path / "DS")  # training without masks goes on
    with pytest.raises(DataError, match=r"the mask is gone; set roots\.masks in .*dataset\.yaml"):
        dataset.mask(dataset.case("ü b"))
    text = yaml.safe_load((tmp_path / "DS" / "dataset.yaml").read_text())
    text["roots"]["masks"] = None
    (tmp_path / "DS" / "dataset.yaml").write_text(yaml.safe_dump(text))
    assert not Dataset.load(tmp_path / "DS").has_masks
    shutil.rmtree(tmp_path / "my source")
    with pytest.raises(DataError, match=r"folder of images '.*my source/pics' is gone; set roots\.images"):
        Dataset.load(tmp_path / "DS")
    text["roots"].update(images=None, images_relative=None)
    (tmp_path / "DS" / "dataset.yaml").write_text(yaml.safe_dump(text))
    without = Dataset.load(tmp_path / "DS")
    with pytest.raises(DataError, match="case 'c' has no image; import again with --images"):
        without.image(without.case("c"))


def test_an_image_that_changed_its_size(tmp_path, source):
    info, cases = source
    dataset = write_dataset(tmp_path / "DS", info, cases, [])
    Image.new("RGB", (9, 8)).save(cases[1].image)
    with pytest.raises(DataError, match=r"'ü b'\): the image is 8 x 9 \(H x W\), cases\.csv says 21 x 30"):
        dataset.image(cases[1])


def test_unknown_names_are_answered_with_the_nearest(tmp_path, source):
    info, cases = source
    dataset = write_dataset(tmp_path / "DS", info, [replace(c, case_id=f"case-{c.case_id}") for c in cases], [])
    with pytest.raises(DataError, match="no split 'trian'; did you mean 'train'"):
        dataset.split("trian")
    with pytest.raises(DataError, match="no case 'case-d'; did you mean 'case-c'"):
        dataset.case("case-d")
    with pytest.raises(DataError, match=r"no case 'zzzzzz'$"):
        dataset.case("zzzzzz")
    with pytest.raises(DataError, match=r"no data set folder \(dataset\.yaml expected\)"):
        Dataset.load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format: 1", "format: 2", r"dataset\.yaml: format 2, but this version reads format 1; update gazeseg"),
        ("channels: 3", "chanels: 3", r"dataset\.yaml: unknown key 'chanels'; did you mean 'channels'"),
        ("channels: 3", "channels: 2", r"dataset\.yaml: key 'channels'"),
        ("name: tiny", "name: [", r"dataset\.yaml: not a YAML file"),
    ],
)
def test_a_broken_description(tmp_path, source, old, new, message):
    info, cases = source
    write_dataset(tmp_path / "DS", info, cases, [])
    file = tmp_path / "DS" / "dataset.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises((DataError, ConfigError), match=message):
        Dataset.load(tmp_path / "DS")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patient_id", "patientid", r"cases\.csv: column 'patient_id' is missing; did you mean 'patientid'"),
        ("p1,train", "p1,trian", r"line 3: unknown split 'trian'; did you mean 'train'"),
        (",21,30", ",x,30", r"line 3: not a number"),
        (",21,30", ",0,30", r"line 3: height, width and spacing must be positive"),
        ("\nc,", "\nü b,", r"line 4: case 'ü b' is already in line 3; remove one"),
        ("\nc,", "\n,", r"line 4: case_id is empty"),
    ],
)
def test_a_broken_table(tmp_path, source, old, new, message):
    info, cases = source
    write_dataset(tmp_path / "DS", info, cases, [])
    file = tmp_path / "DS" / "cases.csv"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        Dataset.load(tmp_path / "DS")


def test_a_table_from_a_spreadsheet(tmp_path, source):
    """Byte order mark, Windows line ends, the optional columns left out."""
    info, cases = source
    write_dataset(tmp_path / "DS", info, cases, [])
    rows = "case_id,patient_id,split,image,mask,height,width\r\nc,,none,c.png,,22,30\r\n"
    (tmp_path / "DS" / "cases.csv").write_bytes(b"\xef\xbb\xbf" + rows.encode())
    (case,) = Dataset.load(tmp_path / "DS").cases
    assert case == Case("c", "c", "none", cases[2].image, None, 22, 30)


def test_what_is_there_is_never_overwritten(tmp_path, source):
    info, cases = source
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "empty", info, cases, [])
    with pytest.raises(DataError, match=r"empty: already exists; remove it or choose another"):
        write_dataset(tmp_path / "empty", info, cases, [])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match=r"full: is there already and holds something else; choose another"):
        write_dataset(tmp_path / "full", info, cases, [])
    assert (tmp_path / "full" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize("failing", ["copyfile", "write_yaml", "mkdir"])
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_nothing(tmp_path, source, monkeypatch, failing, reason):
    info, cases = source

    def fail(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr({"copyfile": shutil, "write_yaml": layout, "mkdir": Path}[failing], failing, fail)
    with pytest.raises(DataError, match=rf"DS: cannot be written \({os.strerror(reason)}\)"):
        write_dataset(tmp_path / "DS", info, cases, [], copy=True)
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_does_not_fit_together_leaves_nothing(tmp_path, source):
    info, cases = source
    stranger = replace(cases[0], case_id="ü c")
    outside = replace(cases[0], image=tmp_path / "x.png")
    before = sorted(tmp_path.rglob("*"))
    for given, gaze, message in (
        ([cases[0], cases[0]], [], "case 'a/1' is there twice"),
        (cases[:2], [gaze_of(stranger)], "gaze of an unknown case 'ü c'; did you mean 'ü b'"),
        ([outside], [], r"x\.png \(case 'a/1'\): lies outside the root"),
    ):
        with pytest.raises(DataError, match=message):
            write_dataset(tmp_path / "DS", info, given, gaze)
    with pytest.raises(DataError, match=r"x\.png \(case 'a/1'\): no such file"):
        write_dataset(tmp_path / "DS", info, [outside], [], copy=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_case_without_an_image_can_be_measured(tmp_path, source):
    info, cases = source
    bare = [replace(case, image=None) for case in cases]
    info = info.model_copy(update={"roots": Roots(masks=info.roots.masks)})
    for out, copy in (("DS", False), ("copied", True)):
        dataset = write_dataset(tmp_path / out, info, bare, [gaze_of(bare[0])], copy=copy)
        assert dataset.info.roots.images is None
        assert dataset.mask(dataset.cases[0]).any()
        assert len(dataset.fixations["a/1"]) == 2


def test_the_dataset_side_loads_no_torch_and_no_pandas():
    code = (
        "import sys, gazeseg.data.dataset, gazeseg.data.split, gazeseg.data.importers as i; i.available();"
        "print(sorted({'torch', 'pandas', 'monai', 'pydicom', 'nrrd', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
