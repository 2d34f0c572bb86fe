from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.errors import DataError
from gazeseg.gaze.io.gazemedseg_csv import read_gazemedseg_csv

HEADER = (
    "IMAGE,CURRENT_FIX_INDEX,CURRENT_FIX_X,CURRENT_FIX_Y,CURRENT_FIX_DURATION,CURRENT_FIX_PUPIL,CURRENT_FIX_START,"
    "IMAGE_HEIGHT,IMAGE_WIDTH"
)
SIZES = {"polyp": (50, 100), "Prostate3T-01-0027_14": (320, 320), "unseen": (10, 10)}


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "gäze with spaces.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def row(image="polyp.jpg", index="1", x="0.5", y="0.25", duration="200", start="7"):
    return f"{image},{index},{x},{y},{duration},1800,{start},50.0,100.0"


def test_rows_are_matched_by_stem_and_sorted_by_index(tmp_path):
    path = write(
        tmp_path,
        row(index="25", x="0.75", duration="300.5", start="900"),
        row("Prostate3T-01-0027_14.jpg", index="3"),
        row(index="11", x="0", y="0"),
        row(index="30", x="1", y="1", start="1300"),
    )
    found = read_gazemedseg_csv(path, SIZES)
    assert list(found) == ["polyp", "Prostate3T-01-0027_14"]
    polyp = found["polyp"]
    assert polyp.image_id == "polyp"
    assert polyp.image_size == (50, 100)
    np.testing.assert_allclose(polyp.x_px, [-0.5, 74.5, 99.5])
    np.testing.assert_allclose(polyp.y_px, [-0.5, 12.0, 49.5])
    assert polyp.onset_ms.tolist() == [7, 900, 1300]
    assert polyp.duration_ms.tolist() == [200, 300.5, 200]
    assert polyp.on_image.all()  # the right edge belongs to the last pixel


def test_a_byte_order_mark_windows_lines_and_blank_lines_do_not_matter(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{row()}\r\n\r\n".encode())
    assert len(read_gazemedseg_csv(path, SIZES)["polyp"]) == 1


def test_a_table_without_rows_has_no_gaze(tmp_path):
    assert read_gazemedseg_csv(write(tmp_path), SIZES) == {}


def test_other_spellings_are_mapped(tmp_path):
    path = write(tmp_path, row("POLYP_01.jpg"), row("b.png"))
    found = read_gazemedseg_csv(path, SIZES, spelled_ids={"POLYP_01": "polyp", "b.png": "unseen"})
    assert set(found) == {"polyp", "unseen"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(), row(index="2", x="1.01")], "row 3: CURRENT_FIX_X '1.01' lies outside 0..1"),
        ([row(y="-0.2"), row(index="2", y="7")], r"row 2: CURRENT_FIX_Y '-0.2' .* \(1 more such row\)"),
        ([row(x="nan")], "row 2: CURRENT_FIX_X 'nan' is not a finite number"),
        ([row(x="")], "row 2: CURRENT_FIX_X '' is not a finite number"),
        ([row(), row(index="2", y="0,5").replace("0,5", "five")], "row 3: CURRENT_FIX_Y 'five' is not"),
        ([row(duration="0")], "row 2: CURRENT_FIX_DURATION '0' must be a duration in ms above 0"),
        ([row(duration="-5")], "row 2: CURRENT_FIX_DURATION '-5'"),
        ([row(start="inf")], "row 2: CURRENT_FIX_START 'inf'"),
        ([row("polip.jpg")], "row 2: IMAGE 'polip.jpg' is no case of the data set; did you mean 'polyp'?"),
        ([row("zzz.jpg")], "row 2: IMAGE 'zzz.jpg' .*its ids look like 'Prostate3T-01-0027_14', 'polyp', 'unseen'"),
        ([row(), row(start="500")], "row 3: CURRENT_FIX_INDEX '1' is there twice"),
        ([row(start="900"), row(index="2", start="7")], "row 3: CURRENT_FIX_START '7' is earlier"),
        ([row(), "polyp.jpg,2,0.5"], "row 3: 3 cells under 9 columns"),
    ],
)
def test_bad_rows_are_named_in_one_line(tmp_path, rows, said):
    path = write(tmp_path, *rows)
    with pytest.raises(DataError, match=said) as caught:
        read_gazemedseg_csv(path, SIZES)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            HEADER.replace("FIX_DURATION", "FIX_DURATON"),
            "no column 'CURRENT_FIX_DURATION'; did you mean 'CURRENT_FIX_DURATON'",
        ),
        (HEADER.replace("IMAGE,", "CURRENT_FIX_X,", 1), "column 'CURRENT_FIX_X' is there twice"),
        ("", "the first row is empty"),
    ],
)
def test_bad_headers_are_named(tmp_path, header, said):
    with pytest.raises(DataError, match=said):
        read_gazemedseg_csv(write(tmp_path, row(), header=header), SIZES)


def test_files_that_are_no_text_or_not_there_are_named(tmp_path):
    binary = tmp_path / "b.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, said in ((binary, "UTF-8"), (tmp_path / "none.csv", "no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(DataError, match=said):
            read_gazemedseg_csv(path, SIZES)


@pytest.mark.real
def test_published_tables_are_read_whole(real_data: Path):
    for table, masks, fixations, images in (
        ("kvasir_fixation.csv", "kvasir-seg/masks", 26_832, 1_000),
        ("nci-isbi_fixation.csv", "nci-isbi/masks", 17_397, 789),
    ):
        sizes = {}
        for path in (real_data / masks).iterdir():
            with Image.open(path) as image:
                sizes[path.stem] = (image.height, image.width)
        found = read_gazemedseg_csv(real_data / "gazemedseg" / table, sizes)
        assert len(found) == images
        assert sum(len(fix) for fix in found.values()) == fixations
        assert all(fix.on_image.all() for fix in found.values())
