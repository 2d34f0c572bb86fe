"""``gazeseg gaze``: recordings of eye trackers into a data set, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

app = App(
    name="gaze",
    help="Bring recordings of an eye tracker into a data set folder, or write them as BIDS.\n\n"
    "Example: `gazeseg gaze import reader1.asc --data DS`",
)


@app.command(name="import")
def import_(
    *files: Path,
    data: Path,
    format: Annotated[str, Parameter(name="--format")] = "auto",
    mapping: Path | None = None,
    image: str | None = None,
    reader: str | None = None,
    start: str | None = None,
    end: str | None = None,
    eye: Literal["auto", "left", "right", "mean"] = "auto",
    fixations: Literal["auto", "detect", "tracker"] = "auto",
    screen: str | None = None,
    screen_cm: str | None = None,
    distance_cm: float | None = None,
    viewport: str = "fit",
    views: Path | None = None,
    conflict: Literal["ask", "replace", "keep", "merge"] = "ask",
) -> None:
    """Read recordings, find the fixations, put them on the images and say how good they are.

    Example: `gazeseg gaze import reader1.asc --data DS --screen-cm 53x30 --distance-cm 60`

    Knows EyeLink .asc and Data Viewer reports, Tobii TSV, Gazepoint, Pupil Labs, BIDS, GazeMedSeg CSV, gazeseg's own
    table, and any other with `--mapping`. Every assumption is printed and stored in `DS/gaze/quality.json`;
    `DS/gaze/quality.html` shows the figures.

    Args:
        *files: The files of the tracker.
        data: The data set folder.
        format: eyelink, dataviewer, tobii, gazepoint, pupil, bids, gazemedseg, gazeseg, webcam, table; auto recognises
            it.
        mapping: YAML file that names the columns of a table.
        image: The case that was looked at, for files that name none.
        reader: Who looked.
        start: Regular expression of the message that shows an image; its group `image` names it.
        end: Regular expression of the message that takes it away.
        eye: Which eye of a binocular recording; auto is the mean of both.
        fixations: Found in the samples, or those of the tracker; auto is the samples where there are some.
        screen: Display in px, 1920x1080.
        screen_cm: Display in cm, 53x30.
        distance_cm: From the eye to the display.
        viewport: Where the image lay, if the file does not say: fit, native, stretch or box:LEFT,TOP,WIDTH,HEIGHT.
        views: Table of what the display showed: time_ms, image, left_px, top_px, width_px, height_px, tracker_ms.
        conflict: What to do with a second reader of an image: ask, replace, keep or merge.
    """
    from gazeseg.console import say, warn
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.gaze import add_gaze, resolver
    from gazeseg.errors import ConfigError
    from gazeseg.gaze.io.formats import read_gaze
    from gazeseg.gaze.io.trial import ReadOptions
    from gazeseg.gaze.io.views import apply_views
    from gazeseg.gaze.readings import Display, make_readings
    from gazeseg.report.gaze import write_quality_page

    if not files:
        raise ConfigError("no file; give the files of the tracker")
    dataset = Dataset.load(data)
    if image is not None:
        image = dataset.case(image).case_id
    resolve = resolver(dataset)
    pixels, centimetres = _pair(screen, "--screen"), _pair(screen_cm, "--screen-cm")
    display = Display((round(pixels[0]), round(pixels[1])) if pixels else None, centimetres, distance_cm, viewport)
    whole = "*" if views is not None and image is None else image
    options = ReadOptions(resolve, eye, reader, whole, start, end, display.screen_px, mapping)
    sizes = {case.case_id: case.size for case in dataset.cases}
    read = []
    for file in files:
        session = read_gaze(file, options, format)
        if views is not None:
            session = apply_views(session, views)
        readings = make_readings(session, sizes, resolve, display, None, fixations)
        say(f"{file}: {session.format}, {len(readings.readings)} viewings")
        for line in readings.assumptions:
            say(f"  {line}")
        for line in readings.warnings:
            warn(f"{file.name}: {line}")
        read.append((session, readings))
    done = add_gaze(dataset, read, conflict=conflict)
    bad = sum(bool(row["warnings"]) for row in done.quality)
    print(f"{done.fixations} fixations on {done.cases} cases in {data / 'gaze' / 'fixations.csv'}")
    print(f"quality: {write_quality_page(data / 'gaze')}; {bad} of {len(done.quality)} readings with a warning")
    print(f"next: gazeseg check {data}")


@app.command(name="bids")
def bids(
    *files: Path,
    out: Path,
    data: Path | None = None,
    format: Annotated[str, Parameter(name="--format")] = "auto",
    mapping: Path | None = None,
    image: str | None = None,
    reader: str | None = None,
    start: str | None = None,
    end: str | None = None,
    eye: Literal["auto", "left", "right", "mean"] = "auto",
    screen: str | None = None,
    screen_cm: str | None = None,
    distance_cm: float | None = None,
    name: str = "gaze",
) -> None:
    """Write recordings as a BIDS 1.11 data set: samples, fixations of the tracker, images and display.

    Example: `gazeseg gaze bids reader1.asc --data DS --screen-cm 53x30 --distance-cm 60 --out BIDS`

    `gazeseg gaze import` reads the result. Images are named, not copied.

    Args:
        *files: The files of the tracker.
        out: The BIDS folder to make or to add to.
        data: The data set folder whose cases the files name.
        format: As for `gaze import`.
        mapping: YAML file that names the columns of a table.
        image: The case that was looked at, for files that name none.
        reader: Who looked.
        start: Regular expression of the message that shows an image.
        end: Regular expression of the message that takes it away.
        eye: Which eye of a binocular recording.
        screen: Display in px, 1920x1080.
        screen_cm: Display in cm, 53x30.
        distance_cm: From the eye to the display.
        name: What the data set is called.
    """
    import dataclasses

    from gazeseg.data.dataset import Dataset
    from gazeseg.data.gaze import resolver
    from gazeseg.errors import ConfigError
    from gazeseg.gaze.io.bids_write import write_bids
    from gazeseg.gaze.io.formats import read_gaze
    from gazeseg.gaze.io.trial import ReadOptions

    if not files:
        raise ConfigError("no file; give the files of the tracker")
    resolve = resolver(Dataset.load(data)) if data is not None else lambda _: None
    pixels, centimetres = _pair(screen, "--screen"), _pair(screen_cm, "--screen-cm")
    size = (round(pixels[0]), round(pixels[1])) if pixels else None
    options = ReadOptions(resolve, eye, reader, image, start, end, size, mapping)
    sessions = []
    for file in files:
        session = read_gaze(file, options, format)
        sessions.append(
            dataclasses.replace(
                session,
                screen_px=size or session.screen_px,
                screen_cm=centimetres or session.screen_cm,
                distance_cm=distance_cm or session.distance_cm,
            )
        )
    written = write_bids(out, sessions, name=name)
    print(f"{len(written)} recordings in {out}, for example {written[0].relative_to(out)}")


def _pair(text: str | None, option: str) -> tuple[float, float] | None:
    """The two numbers of WIDTHxHEIGHT."""
    from gazeseg.errors import ConfigError

    if text is None:
        return None
    try:
        width, height = (float(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError:
        raise ConfigError(f"{option} '{text}': give WIDTHxHEIGHT, such as 1920x1080") from None
    if not (width > 0 and height > 0):
        raise ConfigError(f"{option} '{text}': both must be above 0")
    return width, height
