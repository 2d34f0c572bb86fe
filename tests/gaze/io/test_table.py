import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeseg.errors import DataError
from gazeseg.gaze.io.table import read_fixation_table, write_fixation_table
from gazeseg.types import Fixations

SIZES = {"a": (50, 100), "scan, übersicht": (32, 32), "b.v2": (8, 8)}


def write(folder, text):
    path = folder / "fixations.csv"
    path.write_text(text, encoding="utf-8")
    return path


NUMBERS = st.floats(-1e4, 1e4)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(0, 500), st.floats(1e-3, 1e4)), min_size=1, max_size=8),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
)
def test_what_is_written_is_read_bit_for_bit(tmp_path_factory, rows, case):
    x, y, gaps, duration = np.array(rows).T
    fix = Fixations(x, y, np.cumsum(gaps), duration, (50, 100), case, "reader 'one'")
    path = tmp_path_factory.mktemp("t") / "fixations.csv"
    write_fixation_table(path, [fix])
    (back,) = read_fixation_table(path, {case: (50, 100)}).values()
    for name in ("x_px", "y_px", "onset_ms", "duration_ms"):
        np.testing.assert_array_equal(getattr(back, name), getattr(fix, name))
    assert (back.image_id, back.reader_id, back.image_size) == (fix.image_id, fix.reader_id, fix.image_size)


def test_several_cases_come_back_and_nothing_else_is_left(tmp_path):
    fixes = [Fixations([1.0], [2.0], [0.0], [90.0], size, case) for case, size in SIZES.items()]
    path = tmp_path / "fixations.csv"
    write_fixation_table(path, [*fixes, Fixations([], [], [], [], (4, 4), "no gaze")])
    assert list(read_fixation_table(path, SIZES)) == list(SIZES)
    assert list(tmp_path.iterdir()) == [path]
    write_fixation_table(path, [])
    assert read_fixation_table(path, SIZES) == {}
    assert path.read_text(encoding="utf-8").startswith("case_id,reader_id,x_px,y_px,onset_ms,duration_ms\n")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_fixation_table(tmp_path / "missing" / "fixations.csv", [])


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_normalised_columns_in_any_order_and_delimiter(tmp_path, delimiter):
    rows = ["duration_ms,y,x,case_id", "100,0.5,0.25,a.png", "50,1,1,b.v2", "80,0,0,a.png"]
    found = read_fixation_table(write(tmp_path, "\n".join(rows).replace(",", delimiter)), SIZES)
    np.testing.assert_allclose(found["a"].x_px, [24.5, -0.5])
    np.testing.assert_allclose(found["a"].y_px, [24.5, -0.5])
    assert found["a"].onset_ms.tolist() == [0, 100]  # without onsets the rows follow each other
    assert found["a"].reader_id == ""
    assert found["b.v2"].on_image.all()


def test_rows_are_sorted_by_onset_and_pixels_may_lie_off_the_image(tmp_path):
    text = "case_id,x_px,y_px,onset_ms,duration_ms\na,120,-3,900,60\na,5,6,100,70\n"
    fix = read_fixation_table(write(tmp_path, text), SIZES)["a"]
    assert fix.x_px.tolist() == [5, 120]
    assert fix.on_image.tolist() == [True, False]


HEAD = "case_id,reader_id,x_px,y_px,onset_ms,duration_ms\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first row is empty"),
        ("case_id,x_pix,y_px,duration_ms\n", "no column 'x_px'; did you mean 'x_pix'"),
        ("case,x_px,y_px,duration_ms\n", "no column 'case_id'; did you mean 'case'"),
        ("case_id,x,yy,duration_ms\n", "no column 'y'"),
        ("case_id,x_px,y_px,duration\n", "no column 'duration_ms'; did you mean 'duration'"),
        (HEAD + "a,,1,2,0,0\n", "row 2: duration_ms '0' must be"),
        (HEAD + "a,,1,2,0,-1\n", "row 2: duration_ms '-1' must be"),
        (HEAD + "a,,1,2,0,9\na,,nan,2,0,9\n", "row 3: x_px 'nan' is not a finite number"),
        (HEAD + "a,,1,2,0,9\na,,1,2,x,9\n", "row 3: onset_ms 'x' is not a finite number"),
        (HEAD + "aa,,1,2,0,9\n", "row 2: case_id 'aa' is no case of the data set; did you mean 'a'"),
        (HEAD + "a,ann,1,2,0,9\na,bob,1,2,0,9\n", "case 'a' has fixations of 2 readers .'ann', 'bob'."),
        (HEAD + "a,,1,2,0\n", "row 2: 5 cells under 6 columns"),
        ("case_id,x,y,duration_ms\na,0.5,1.5,90\n", "row 2: y '1.5' lies outside 0..1.*x_px and y_px"),
        (HEAD + "a,,0.5,0.25,0,9\n" * 12, "all of x_px and y_px lie in 0..1"),
    ],
)
def test_bad_tables_are_named_in_one_line(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=said) as caught:
        read_fixation_table(path, SIZES)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
