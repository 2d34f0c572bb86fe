"""A synthetic recording in the layout of each vendor comes back as the same fixations, to 1 px and 1 sample."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.fixations import detect_fixations
from gazeseg.gaze.geometry import Viewport
from gazeseg.gaze.io.bids_write import write_bids
from gazeseg.gaze.io.formats import FORMATS, read_gaze, recognise
from gazeseg.gaze.io.trial import ReadOptions
from gazeseg.gaze.readings import Display, make_readings
from gazeseg.gaze.signals import Tracker, simulate_recording

SCREEN = (1600, 1000)
SIZES = {"polyp_a": (400, 500), "polyp_b": (300, 600), "scan.7": (256, 256)}
HZ = 250.0
DISPLAY = Display(SCREEN, (48.0, 30.0), 60.0)
PPD = 60 * np.tan(np.radians(1)) * 1600 / 48


def resolve(name):
    stem = name.rpartition("/")[2].removesuffix(".png")
    return stem if stem in SIZES else None


OPTIONS = ReadOptions(resolve, screen_px=SCREEN)


@dataclass
class Viewed:
    """One image: its samples on the clock of the tracker and the fixations that they hold, in screen px."""

    case: str
    start_ms: float
    recording: object
    events: object

    @property
    def expected(self):
        view = Viewport.fit(SIZES[self.case], SCREEN)
        return view.to_image(self.events.x_px, self.events.y_px), view.zoom_x


@pytest.fixture(scope="module")
def session():
    rng = np.random.default_rng(5)
    viewed, clock = [], 50_000.0
    for case in SIZES:
        x, y = np.array([500.0, 900, 700, 1100]), np.array([300.0, 400, 700, 500]) + rng.uniform(-50, 50, 4)
        duration = rng.integers(60, 120, 4) * 4.0
        tracker = Tracker(HZ, noise_px=0.4, loss=0.02)
        recording, _ = simulate_recording(x, y, duration, tracker, PPD, rng, image_id=case, start_ms=clock)
        viewed.append(Viewed(case, clock, recording, detect_fixations(recording, PPD)))
        assert len(viewed[-1].events) == 4
        clock = float(recording.time_ms[-1]) + 1000
    return viewed


def cell(value, digits=2, lost="", point="."):
    return lost if not np.isfinite(value) else f"{value:.{digits}f}".replace(".", point)


def rows(session):
    for seen in session:
        recording = seen.recording
        index = np.full(len(recording.time_ms), -1)
        for k, (first, last) in enumerate(zip(seen.events.first, seen.events.last, strict=True)):
            index[first : last + 1] = k
        for t, x, y, k in zip(recording.time_ms, recording.x_px, recording.y_px, index, strict=True):
            yield seen, float(t), x, y, int(k)


def write_eyelink(path, session, *, binocular=False, end="\n", tail=""):
    eyes = "LEFT\tRIGHT" if binocular else "RIGHT"
    lines = ["** CONVERTED FROM reader.edf using edfapi", "** DATE: Mon", "", "MSG\t49000 DISPLAY_COORDS 0 0 1599 999"]
    lines += ["MSG\t49001 !CAL VALIDATION HV9 R RIGHT GOOD ERROR 0.31 avg. 0.62 max  OFFSET 0.05 deg. 2.1,1.8 pix."]
    for n, seen in enumerate(session):
        start = round(seen.start_ms)
        lines += [f"MSG\t{start - 500} TRIALID {n}", f"START\t{start - 100} \t{eyes}\tSAMPLES\tEVENTS"]
        lines += [f"SAMPLES\tGAZE\t{eyes}\tRATE\t 250.00\tTRACKING\tCR\tFILTER\t2"]
        lines += [f"MSG\t{start - 20} -20 !V IMGLOAD FILL images/{seen.case}.png"]
        for _, t, x, y, _ in rows([seen]):
            eye = f"{cell(x, 1, '.'):>8}\t{cell(y, 1, '.'):>8}\t 1130.0"
            shifted = f"{cell(x + 6, 1, '.'):>8}\t{cell(y - 2, 1, '.'):>8}\t 1130.0"
            opposite = f"{cell(x - 6, 1, '.'):>8}\t{cell(y + 2, 1, '.'):>8}\t 1130.0"
            lines.append(f"{t:.0f}\t{shifted}\t{opposite}\t....." if binocular else f"{t:.0f}\t{eye}\t...")
        for x, y, onset, duration in zip(
            seen.events.x_px, seen.events.y_px, seen.events.onset_ms, seen.events.duration_ms, strict=True
        ):
            lines.append(
                f"EFIX R   {onset:.0f}\t{onset + duration - 4:.0f}\t{duration:.0f}\t{x:9.1f}\t{y:9.1f}\t   1130"
            )
        stop = round(float(seen.recording.time_ms[-1])) + 4
        lines += [f"END\t{stop} \tSAMPLES\tEVENTS\tRES\t  25.00\t  25.00", f"MSG\t{stop + 1} TRIAL_RESULT 0"]
        lines += [f"MSG\t{stop + 2} !V TRIAL_VAR image {seen.case}.png"]
    path.write_bytes((end.join(lines) + end + tail).encode())
    return path


def write_tobii(path, session, *, point=".", unit="[μs]", encoding="utf-16"):
    head = ["Recording timestamp " + unit, "Sensor", "Participant name", "Recording resolution width [px]"]
    head += ["Recording resolution height [px]", "Gaze point X [DACS px]", "Gaze point Y [DACS px]", "Validity left"]
    head += ["Presented Stimulus name", "Eye movement type", "Gaze event duration [ms]", "Eye movement type index"]
    head += ["Fixation point X [DACS px]", "Fixation point Y [DACS px]"]
    lines = ["\t".join(name.strip() for name in head)]
    for n, (seen, t, x, y, k) in enumerate(rows(session)):
        fixation = ["EyesNotFound", "", str(n), "", ""]
        if k >= 0:
            fixation = ["Fixation", cell(seen.events.duration_ms[k], 0), f"{seen.start_ms:.0f}{k}"]
            fixation += [cell(seen.events.x_px[k], 2, point=point), cell(seen.events.y_px[k], 2, point=point)]
        stamp = f"{t * (1000 if unit != '[ms]' else 1):.0f}"
        sample = [stamp, "Eye Tracker", "reader", "1600", "1000", cell(x, point=point), cell(y, point=point), "Valid"]
        lines.append("\t".join([*sample, f"{seen.case}.png", *fixation]))
        if n % 50 == 0:
            lines.append("\t".join([stamp, "Gyroscope", "reader", "1600", "1000", "", "", "", "", "", "", "", "", ""]))
    path.write_text("\r\n".join(lines) + "\r\n", encoding=encoding, newline="")
    return path


def write_gazepoint(path, session, *, fixations=False):
    head = ["MEDIA_ID", "MEDIA_NAME", "CNT", "TIME(2026/05/01 10:00:00.000)", "FPOGX", "FPOGY", "FPOGS", "FPOGD"]
    head += ["FPOGID", "FPOGV", "BPOGX", "BPOGY", "BPOGV"]
    lines, last = [",".join(head) + ","], {}
    for n, (seen, t, x, y, k) in enumerate(rows(session)):
        place = ["0", "0", f"{t / 1e3:.5f}", "0", "0", "0"]
        if k >= 0:
            events = seen.events
            now = t - events.onset_ms[k] + 4
            place = [f"{(events.x_px[k] + 0.5) / 1600:.6f}", f"{(events.y_px[k] + 0.5) / 1000:.6f}"]
            place += [f"{events.onset_ms[k] / 1e3:.5f}", f"{now / 1e3:.5f}", f"{seen.start_ms:.0f}{k}", "1"]
        seen_ok = np.isfinite(x)
        gaze = [f"{(x + 0.5) / 1600:.6f}", f"{(y + 0.5) / 1000:.6f}", "1"] if seen_ok else ["0", "0", "0"]
        line = ",".join(["0", f"{seen.case}.png", str(n), f"{t / 1e3:.5f}", *place, *gaze]) + ","
        if not fixations:
            lines.append(line)
        elif k >= 0:
            last[(seen.case, k)] = line
    path.write_text("\n".join([*lines, *last.values()]) + "\n")
    return path


def write_table(path, session):
    lines = ["subject;stimulus;t;gx;gy;ok"]
    for seen, t, x, y, _ in rows(session):
        good = np.isfinite(x)
        gaze = f"{t / 1e3:.3f};" + (f"{x + 0.5:.2f};{1000 - 0.5 - y:.2f};1" if good else "0;0;0")
        lines.append(f"reader;{seen.case}.png;{gaze.replace('.', ',')}")
    path.write_text("\n".join(lines) + "\n")
    mapping = path.with_suffix(".yaml")
    mapping.write_text(
        "kind: samples\norigin: bottom-left\ntime_unit: s\n"
        "columns: {time: t, x: gx, y: gy, image: stimulus, reader: subject, valid: ok}\n"
    )
    return path, mapping


def write_own(path, session, *, shares=False):
    lines = [f"case_id,reader_id,{'x,y' if shares else 'x_px,y_px'},onset_ms,duration_ms"]
    for seen in session:
        (x, y), _ = seen.expected
        if shares:
            height, width = SIZES[seen.case]
            x, y = (x + 0.5) / width, (y + 0.5) / height
        numbers = zip(x, y, seen.events.onset_ms - seen.start_ms, seen.events.duration_ms, strict=True)
        lines += [",".join([seen.case, "reader", *map(repr, map(float, row))]) for row in numbers]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_dataviewer(path, session):
    lines = ["RECORDING_SESSION_LABEL\tTRIAL_INDEX\tCURRENT_FIX_INDEX\tCURRENT_FIX_START\tCURRENT_FIX_DURATION\t"]
    lines[0] += "CURRENT_FIX_X\tCURRENT_FIX_Y\tstimulus"
    for n, seen in enumerate(session):
        for k in range(len(seen.events)):
            numbers = (seen.events.onset_ms[k] - seen.start_ms, seen.events.duration_ms[k])
            places = (seen.events.x_px[k], seen.events.y_px[k])
            numbers_text = [f"{number:.0f}" for number in numbers] + [
                f"{place:.2f}".replace(".", ",") for place in places
            ]
            lines.append("\t".join(["reader", str(n + 1), str(k + 1), *numbers_text, f"{seen.case}.png"]))
    path.write_text("\r\n".join(lines) + "\r\n", newline="")
    return path


def check(session, path, *, options=OPTIONS, source="auto", format_name="auto", onset=True):
    """The readings of a file are the fixations of the session, to 1 px of the screen and 1 sample."""
    read = read_gaze(path, options, format_name)
    readings = make_readings(read, SIZES, resolve, DISPLAY, None, source).readings
    assert [reading.fixations.image_id for reading in readings] == [seen.case for seen in session]
    for seen, reading in zip(session, readings, strict=True):
        (x, y), zoom = seen.expected
        fix = reading.fixations
        assert len(fix) == len(x), (seen.case, fix, seen.events)
        assert np.hypot(fix.x_px - x, fix.y_px - y).max() <= 1 / zoom
        assert np.abs(fix.duration_ms - seen.events.duration_ms).max() <= 1e3 / HZ + 1e-6
        if onset:
            assert np.abs(fix.onset_ms - (seen.events.onset_ms - seen.start_ms)).max() <= 1e3 / HZ + 1e-6
        assert fix.reader_id == "reader"
    return read, readings


@pytest.mark.parametrize("binocular", [False, True])
@pytest.mark.parametrize("source", ["detect", "tracker"])
def test_eyelink(tmp_path, session, binocular, source):
    path = write_eyelink(tmp_path / "reader.asc", session, binocular=binocular)
    read, readings = check(session, path, source=source)
    assert (read.format, read.screen_px, read.eye) == ("eyelink", SCREEN, "mean" if binocular else "right")
    assert readings[0].quality.accuracy_deg == 0.31
    assert readings[0].quality.loss == pytest.approx(0.02, abs=0.03)
    assert read.warnings == ()


def test_one_eye_of_a_binocular_eyelink_recording(tmp_path, session):
    path = write_eyelink(tmp_path / "reader.asc", session, binocular=True)
    left, right = (read_gaze(path, ReadOptions(resolve, eye=eye)).trials[0].samples for eye in ("left", "right"))
    good = np.isfinite(left.x)
    np.testing.assert_allclose((left.x - right.x)[good], 12, atol=0.11)
    one = write_eyelink(tmp_path / "one.asc", session)
    with pytest.raises(DataError, match="--eye left, but the recording is of right"):
        read_gaze(one, ReadOptions(resolve, eye="left"))


def test_eyelink_trials_by_expression(tmp_path, session):
    path = write_eyelink(tmp_path / "reader.asc", session)
    options = ReadOptions(resolve, start=r"IMGLOAD FILL images/(?P<image>\S+)", end="TRIAL_RESULT")
    check(session, path, options=options)
    with pytest.raises(DataError, match=r"--start 'NOTHING' matches none of \d+ messages"):
        read_gaze(path, ReadOptions(resolve, start="NOTHING"))
    with pytest.raises(DataError, match="no regular expression"):
        read_gaze(path, ReadOptions(resolve, start="("))


@pytest.mark.slow
def test_eyelink_agrees_with_pymovements(tmp_path, session):
    pymovements = pytest.importorskip("pymovements")
    path = write_eyelink(tmp_path / "reader.asc", session)
    theirs = pymovements.gaze.from_asc(path).samples
    ours = read_gaze(path, OPTIONS)
    time = np.concatenate([trial.samples.time_ms for trial in ours.trials])
    assert theirs["time"].to_numpy().tolist() == time.tolist()
    x = np.array([pair[0] for pair in theirs["pixel"].to_list()], float)
    np.testing.assert_array_equal(x, np.concatenate([trial.samples.x for trial in ours.trials]))


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_eyelink_with_other_line_ends(tmp_path, session, end):
    check(session, write_eyelink(tmp_path / "reader.asc", session, end=end))


def test_a_truncated_eyelink_file_is_read_and_said_to_be_truncated(tmp_path, session):
    path = write_eyelink(tmp_path / "reader.asc", session)
    whole = path.read_text()
    path.write_text(whole[: whole.rindex("TRIALID 2") + 4003])  # amid a sample of the third image
    read = read_gaze(path, OPTIONS)
    assert read.warnings[0] == "the last line is cut short: the file is truncated"
    readings = make_readings(read, SIZES, resolve, DISPLAY).readings
    assert [len(reading.fixations) for reading in readings[:2]] == [4, 4]
    assert len(read.trials[2].samples) > 50
    assert np.nanmax(np.abs(np.diff(read.trials[2].samples.time_ms))) == 4


def test_eyelink_in_other_coordinates_is_refused(tmp_path, session):
    path = write_eyelink(tmp_path / "reader.asc", session)
    path.write_text(path.read_text().replace("SAMPLES\tGAZE", "SAMPLES\tHREF"))
    with pytest.raises(DataError, match="not gaze on the screen; convert the EDF again"):
        read_gaze(path, OPTIONS)


@pytest.mark.parametrize("point", [".", ","])
@pytest.mark.parametrize("unit", ["[μs]", "[ms]", ""])
@pytest.mark.parametrize("source", ["detect", "tracker"])
def test_tobii(tmp_path, session, point, unit, source):
    path = write_tobii(tmp_path / "export.tsv", session, point=point, unit=unit)
    read, _ = check(session, path, source=source)
    assert (read.format, read.screen_px) == ("tobii", SCREEN)


@pytest.mark.parametrize("fixations", [False, True])
def test_gazepoint(tmp_path, session, fixations):
    path = write_gazepoint(
        tmp_path / f"reader_{'fixations' if fixations else 'all_gaze'}.csv", session, fixations=fixations
    )
    read, _ = check(session, path, onset=not fixations)
    assert read.format == "gazepoint"
    with pytest.raises(DataError, match="--screen WIDTHxHEIGHT"):
        read_gaze(path, ReadOptions(resolve))


@pytest.mark.parametrize("fixations", [False, True])
def test_pupil_player(tmp_path, session, fixations):
    # the surface is the image: shares of it, y up
    for seen in session:
        folder = tmp_path / "reader"
        folder.mkdir(exist_ok=True)
        (height, width), view = SIZES[seen.case], Viewport.fit(SIZES[seen.case], SCREEN)
        if fixations:
            lines = [
                "world_timestamp,world_index,fixation_id,start_timestamp,duration,dispersion,norm_pos_x,norm_pos_y"
            ]
            for k, (x, y) in enumerate(zip(*view.to_image(seen.events.x_px, seen.events.y_px), strict=True)):
                onset, duration = seen.events.onset_ms[k] / 1e3, seen.events.duration_ms[k]
                place = f"{(x + 0.5) / width:.6f},{1 - (y + 0.5) / height:.6f}"
                lines += [f"{onset + i / 30:.4f},{i},{k},{onset:.5f},{duration:.3f},0.5,{place}" for i in range(3)]
            path = folder / f"fixations_on_surface_{seen.case}.csv"
        else:
            lines = ["world_timestamp,world_index,gaze_timestamp,x_norm,y_norm,on_surf,confidence"]
            for t, x, y in zip(seen.recording.time_ms, seen.recording.x_px, seen.recording.y_px, strict=True):
                x, y = view.to_image(x, y) if np.isfinite(x) else (0, 0)
                sure = 0.9 if x else 0.1
                lines.append(f"0,0,{t / 1e3:.5f},{(x + 0.5) / width:.6f},{1 - (y + 0.5) / height:.6f},True,{sure}")
            path = folder / f"gaze_positions_on_surface_{seen.case}.csv"
        path.write_text("\n".join(lines) + "\n")
        read, _ = check([seen], path, options=ReadOptions(resolve), onset=not fixations)
        assert read.format == "pupil"
    other = path.with_name(path.name.replace("scan.7", "table"))
    path.rename(other)
    with pytest.raises(DataError, match="surface 'table' is no case"):
        read_gaze(other, ReadOptions(resolve))


def test_a_table_of_ones_own_with_decimal_commas(tmp_path, session):
    path, mapping = write_table(tmp_path / "own.csv", session)
    read, _ = check(session, path, options=ReadOptions(resolve, screen_px=SCREEN, mapping=mapping))
    assert read.format == "table"
    mapping.write_text(mapping.read_text().replace("x: gx", "x: gaze"))
    with pytest.raises(DataError, match="no column 'gaze'"):
        read_gaze(path, ReadOptions(resolve, screen_px=SCREEN, mapping=mapping))
    mapping.write_text(mapping.read_text() + "unit: px\n")
    with pytest.raises(ConfigError, match="did you mean 'units'"):
        read_gaze(path, ReadOptions(resolve, screen_px=SCREEN, mapping=mapping))


def test_a_mapped_table_in_px_of_the_image(tmp_path, session):
    path, mapping = write_own(tmp_path / "own.csv", session), tmp_path / "own.yaml"
    columns = "{time: onset_ms, x: x_px, y: y_px, duration: duration_ms, image: case_id, reader: reader_id}"
    mapping.write_text(f"kind: fixations\nspace: image\ncolumns: {columns}\n")
    check(session, path, options=ReadOptions(resolve, mapping=mapping), onset=False)  # from the first fixation on
    mapping.write_text(mapping.read_text() + "origin: centre\n")
    with pytest.raises(DataError, match="set origin top-left"):
        read_gaze(path, ReadOptions(resolve, mapping=mapping))


@pytest.mark.parametrize("shares", [False, True])
def test_the_table_of_gazeseg(tmp_path, session, shares):
    path = write_own(tmp_path / "own.csv", session, shares=shares)
    read, readings = check(session, path)
    assert (read.format, readings[0].found_by) == ("gazeseg", "tracker")
    untimed = path.read_text().replace("onset_ms", "onset")
    path.write_text(untimed)
    fix = make_readings(read_gaze(path, OPTIONS), SIZES, resolve, DISPLAY).readings[0].fixations
    assert fix.onset_ms == pytest.approx(np.cumsum([0, *fix.duration_ms[:-1]]))  # without onsets they follow each other
    if shares:
        path.write_text(untimed.replace(",x,y,", ",x_px,y_px,"))
        with pytest.raises(DataError, match="name the columns x and y if they are normalised"):
            read_gaze(path, OPTIONS)


def test_dataviewer(tmp_path, session):
    read, readings = check(session, write_dataviewer(tmp_path / "report.txt", session))
    assert (read.format, readings[0].found_by) == ("dataviewer", "tracker")


def test_bids(tmp_path, session):
    read = read_gaze(write_eyelink(tmp_path / "reader.asc", session), OPTIONS)
    known = replace(read, screen_cm=(48.0, 30.0), distance_cm=60.0)
    (physio,) = write_bids(tmp_path / "bids", [known])
    for source in ("detect", "tracker"):
        back, _ = check(session, physio, source=source)
    assert (back.format, back.screen_px, back.distance_cm) == ("bids", SCREEN, 60.0)
    assert back.screen_cm == pytest.approx((48, 30))
    original = make_readings(known, SIZES, resolve, Display()).readings
    for one, other in zip(original, make_readings(back, SIZES, resolve, Display()).readings, strict=True):
        np.testing.assert_allclose(other.fixations.x_px, one.fixations.x_px, atol=1e-6)
        assert other.fixations.onset_ms.tolist() == one.fixations.onset_ms.tolist()
    assert write_bids(tmp_path / "bids", [known])[0].name.startswith("sub-reader_task-gaze_run-2")


def test_a_bids_file_cut_short_and_one_of_another_kind_are_refused(tmp_path, session):
    read = read_gaze(write_eyelink(tmp_path / "reader.asc", session), OPTIONS)
    (physio,) = write_bids(tmp_path / "bids", [read])
    content = physio.read_bytes()
    physio.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cut short; copy the file again"):
        read_gaze(physio, OPTIONS)
    sidecar = Path(str(physio).replace(".tsv.gz", ".json"))
    sidecar.write_text(sidecar.read_text().replace('"eyetrack"', '"generic"'))
    with pytest.raises(DataError, match="PhysioType 'generic', not 'eyetrack'"):
        read_gaze(physio, OPTIONS)


def test_a_file_of_other_images_is_refused(tmp_path, session):
    path = write_tobii(tmp_path / "export.tsv", session)
    text = path.read_text(encoding="utf-16").replace("polyp", "kidney").replace("scan.7", "lung")
    path.write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match=r"names images such as 'kidney_a\.png', but none of its 3 viewings"):
        make_readings(read_gaze(path, OPTIONS), SIZES, resolve, DISPLAY)
    path.write_text(text.replace("lung", "scan.7"), encoding="utf-16")
    some = make_readings(read_gaze(path, OPTIONS), SIZES, resolve, DISPLAY)
    assert [reading.fixations.image_id for reading in some.readings] == ["scan.7"]
    assert any("2 of 3 viewings are of no case" in line for line in some.warnings)


def test_a_clock_that_runs_backwards(tmp_path, session):
    path = write_tobii(tmp_path / "export.tsv", session[:1], unit="[ms]")
    lines = path.read_text(encoding="utf-16").splitlines()
    swapped = [*lines[:100], lines[101], lines[100], *lines[102:]]
    path.write_text("\n".join(swapped), encoding="utf-16")
    read = read_gaze(path, OPTIONS)
    assert any("did not rise" in line for line in read.warnings)
    check(session[:1], path, source="detect")
    path.write_text("\n".join([*lines, *lines[1:]]), encoding="utf-16")
    with pytest.raises(DataError, match=r"the clock runs backwards by \d\.\d s at sample"):
        read_gaze(path, OPTIONS)


def test_without_a_display_degrees_are_refused_and_px_work(tmp_path, session):
    read = read_gaze(write_eyelink(tmp_path / "reader.asc", session), OPTIONS)
    found = make_readings(read, SIZES, resolve, Display())
    assert found.px_per_degree is None
    assert np.isnan(found.readings[0].quality.rms_s2s_deg)
    assert found.readings[0].quality.rms_s2s_px == pytest.approx(0.4 * 2, rel=0.3)
    assert any("nothing is reported in degrees" in line for line in found.warnings)
    assert all(len(reading.fixations) == 4 for reading in found.readings)


def test_unknown_formats_and_screens_are_refused(tmp_path, session):
    path = tmp_path / "notes.txt"
    path.write_text("hello world\n")
    with pytest.raises(DataError, match="no known format"):
        recognise(path, OPTIONS)
    with pytest.raises(ConfigError, match="did you mean 'tobii'"):
        read_gaze(path, OPTIONS, "toby")
    with pytest.raises(DataError, match="convert it with SR Research's edf2asc"):
        recognise(tmp_path / "a.edf", OPTIONS)
    with pytest.raises(DataError, match="cannot be read"):
        read_gaze(tmp_path / "gone.asc", OPTIONS)
    read = read_gaze(write_dataviewer(tmp_path / "report.txt", session), OPTIONS)
    with pytest.raises(DataError, match="size of the screen is unknown"):
        make_readings(read, SIZES, resolve, Display())
    with pytest.raises(ConfigError, match="unknown viewport 'fitt'"):
        make_readings(read, SIZES, resolve, Display(SCREEN, viewport="fitt"))
    boxed = make_readings(read, SIZES, resolve, Display(SCREEN, viewport="box:0,0,500,400"))
    assert boxed.readings[0].fixations.x_px == pytest.approx(session[0].events.x_px, abs=0.01)
    assert "table" in FORMATS


@pytest.mark.real
def test_the_published_table_and_the_webcam_files_are_recognised(real_data):
    assert recognise(real_data / "gazemedseg" / "kvasir_fixation.csv", OPTIONS) == "gazemedseg"
    errors = []
    for path in sorted((real_data / "webcam-gaze").glob("benchmark_facemesh*3x6*.csv")):
        read = read_gaze(path, ReadOptions(lambda name: "screen" if name == "" else None))
        assert (read.format, read.px_per_degree) == ("webcam", 45.0)
        width, height = read.screen_px
        found = make_readings(read, {"screen": (height, width)}, lambda name: "screen", Display()).readings[0]
        assert 25 < found.quality.sampling_hz < 35
        assert len(found.fixations) >= 10
        errors.append(found.quality.accuracy_deg)
    assert 1 < np.median(errors) < 15  # a bad tracker: the headers say 7 degrees


@pytest.mark.real
def test_webcam_samples_lie_as_far_from_their_targets_as_every_header_says(real_data):
    files = sorted((real_data / "webcam-gaze").glob("*.csv"))
    assert len(files) == 73
    samples = 0
    for path in files:
        trial = read_gaze(path, ReadOptions(lambda name: None)).trials[0]
        head = dict(re.findall(r"^# (\w+),(.*)$", path.read_text(), re.MULTILINE))
        assert trial.target is not None
        errors = np.hypot(trial.samples.x - trial.target[0], trial.samples.y - trial.target[1])
        assert np.median(errors) == pytest.approx(float(head["median_error_px"]), abs=0.02)
        assert len(errors) == int(head["total_samples"])
        samples += len(errors)
    assert samples == 122_028
