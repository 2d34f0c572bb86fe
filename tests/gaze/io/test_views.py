import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.gaze.io.bids_write import write_bids
from gazeseg.gaze.io.formats import read_gaze
from gazeseg.gaze.io.trial import ReadOptions, Samples, Session, Trial
from gazeseg.gaze.io.views import Clock, apply_views, fit_clock, read_views
from gazeseg.gaze.readings import Display, make_readings
from gazeseg.gaze.signals import Tracker, simulate_recording

HEAD = "time_ms,image,left_px,top_px,width_px,height_px"
SIZES = {"a": (100, 200), "b": (100, 100)}


def table(path, *rows, head=HEAD):
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def resolve(name):
    return name if name in SIZES else None


def test_a_clock_is_fitted_to_another():
    display = np.array([0, 60_000, 120_000.0])
    clock = fit_clock(display, display * (1 + 50e-6) + 1000)
    assert clock.rate == pytest.approx(1 + 50e-6)
    assert clock(np.array([60_000.0]))[0] == pytest.approx(61_003)
    assert str(clock) == "clock of the display: +1000.0 ms, drift +50 ppm, off by 0.0 ms at most"
    assert fit_clock(np.array([5.0]), np.array([105.0])) == Clock(1.0, 100.0, 0.0)
    with pytest.raises(DataError, match="do not fit"):
        fit_clock(display, display * 1000)
    with pytest.raises(DataError, match="no instant"):
        fit_clock(np.empty(0), np.empty(0))


def test_a_table_says_what_was_shown_when_and_where(tmp_path):
    rows = ("0,a,0,0,200,100,1000", "500,a,-100,0,400,200,", "900,,,,,,", "1000,b,50,50,100,100,2000.1")
    shown, told = read_views(table(tmp_path / "v.csv", *rows, head=HEAD + ",tracker_ms"))
    assert [(view.image, round(view.start_ms), len(view.boxes)) for view in shown] == [("a", 1000, 2), ("b", 2000, 1)]
    assert (round(shown[0].stop_ms), shown[1].stop_ms) == (1900, np.inf)
    assert shown[0].boxes[1][1] == (-100, 0, 400, 200)
    assert "drift +100 ppm" in told


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("5,a,0,0,1,1", "4,a,0,0,1,1"), "row 3: time_ms must not fall"),
        (("5,a,0,0,0,1",), "row 2: the box of 'a' is empty"),
        (("5,a,0,0,,1",), "row 2: the box of 'a' is empty or incomplete"),
        (("5,,,,,",), "no row names an image"),
    ],
)
def test_broken_tables_are_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_views(table(tmp_path / "v.csv", *rows))


def test_zooming_moves_neither_the_fixations_on_the_image_nor_their_number(tmp_path):
    """The eye follows the same three spots of the image while it is zoomed; the clock of the display is 5 s behind."""
    spots = np.array([40.0, 160.0, 40.0]), np.array([30.0, 70.0, 60.0])
    boxes = [(0.0, 0.0, 1000.0, 500.0), (-300.0, -200.0, 2000.0, 1000.0)]
    # the first two in the first view; at the third the image grows under the eye
    screen = [
        ((x + 0.5) * box[2] / 200 + box[0] - 0.5, (y + 0.5) * box[3] / 100 + box[1] - 0.5)
        for x, y, box in zip(*spots, (boxes[0], boxes[0], boxes[1]), strict=True)
    ]
    x, y = np.array(screen).T
    recording, onset = simulate_recording(
        x, y, np.full(3, 400.0), Tracker(500, 0.5), 40.0, np.random.default_rng(0), start_ms=6000.0
    )
    zoom = float(onset[2]) - 5 - 5000
    file = table(
        tmp_path / "v.csv",
        f"1000,a,{','.join(map(str, boxes[0]))},6000",
        f"{zoom},a,{','.join(map(str, boxes[1]))},",
        "60000,,,,,,65000",
        head=HEAD + ",tracker_ms",
    )
    samples = Samples(recording.time_ms, recording.x_px, recording.y_px)
    session = Session("table", tmp_path / "f.csv", (Trial("*", "r", "screen", samples, start_ms=6000.0),), (1600, 1000))
    cut = apply_views(session, file)
    found = make_readings(cut, SIZES, resolve, Display()).readings[0].fixations
    assert len(found) == 3
    np.testing.assert_allclose(found.x_px, spots[0], atol=0.3)
    np.testing.assert_allclose(found.y_px, spots[1], atol=0.3)
    (physio,) = write_bids(tmp_path / "bids", [cut])
    back = read_gaze(physio, ReadOptions(resolve))
    again = make_readings(back, SIZES, resolve, Display()).readings[0].fixations
    np.testing.assert_allclose(again.x_px, found.x_px, atol=1e-3)
    np.testing.assert_allclose(again.onset_ms, found.onset_ms, atol=0.01)


def test_a_fixation_is_parted_where_the_view_changes(tmp_path):
    time = np.arange(0, 1000, 2.0)
    still = np.full(500, 100.0)
    samples = Samples(time, still, still)
    session = Session("table", tmp_path / "f.csv", (Trial("*", "r", "screen", samples),), (1600, 1000))
    file = table(tmp_path / "v.csv", "0,b,0,0,200,200", "500,b,0,0,400,400")
    found = make_readings(apply_views(session, file), SIZES, resolve, Display()).readings[0].fixations
    assert found.onset_ms.tolist() == [0, 500]
    np.testing.assert_allclose(found.x_px, [100.5 / 2 - 0.5, 100.5 / 4 - 0.5])
    late = table(tmp_path / "late.csv", "50000,b,0,0,200,200")
    with pytest.raises(DataError, match="none of its samples lies in the times"):
        apply_views(session, late)
