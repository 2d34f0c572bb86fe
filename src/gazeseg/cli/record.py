"""``gazeseg record``: readers look at images in the browser, and the looks are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from gazeseg.errors import MissingDependencyError


def record(
    source: Path,
    /,
    *,
    out: Path | None = None,
    gaze: Annotated[Literal["mouse", "websocket", "lsl", "file"], Parameter(name="--source")] = "mouse",
    reader: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ("reader1",),
    view: Literal["plain", "window"] = "plain",
    stages: Literal["two", "one"] = "two",
    use: Literal["both", "scan"] = "both",
    units: Literal["px", "normalised"] = "px",
    stream: str | None = None,
    display_cm: tuple[float, float] | None = None,
    distance_cm: float | None = None,
    split: Literal["all", "train", "val", "test", "none"] = "all",
    seed: int = 0,
    port: int = 0,
    replace_gaze: bool = False,
) -> None:
    """Show images in the browser and record where readers look, with an eye tracker or with the mouse alone.

    Example: `gazeseg record photos --out DS --reader anna ben`

    Example: `gazeseg record DS --view window --display-cm 53 30 --distance-cm 60`

    Prints an address for a browser on this computer. Stop and start again as often as you like: every reader goes on
    where they stopped. The data set gets `gaze/fixations.csv`, `gaze/times.csv` and a table of every reader.

    Args:
        source: A data set folder, or a folder of images (PNG, JPEG, TIFF, BMP, DICOM).
        out: The data set folder to make of a folder of images.
        gaze: `mouse`: the pointer as gaze; `websocket`: a device sends it; `lsl`: a LabStreamingLayer stream; `file`: a
            table played in its own time.
        reader: Who reads; each has an order of their own. The first named goes before in `gaze/fixations.csv`.
        view: `window`: only a disc around the pointer is sharp (mouse).
        stages: `two`: locate, then scan; `one`: scan at once.
        use: Whose fixations count: of both stages, or of the scan.
        units: Of a device: `px` of the display, or `normalised` to 0..1.
        stream: The name of the LSL stream, or the table of `--source file` (time_ms, x, y).
        display_cm: Width and height of the display, measured; without it nothing is said in degrees.
        distance_cm: From the eyes to the display.
        split: Which cases are shown.
        seed: Of the order of images.
        port: Of the server; by default a free one.
        replace_gaze: Set gaze that the data set has already aside.
    """
    from gazeseg.config import build
    from gazeseg.errors import ConfigError
    from gazeseg.record.config import RecordConfig
    from gazeseg.record.prepare import open_source
    from gazeseg.record.study import Study

    try:
        from gazeseg.record.app import record_app
        from gazeseg.record.server import serve
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "fastapi", "web") from None
    from gazeseg.record.sources import make_feeders

    if (display_cm is None) != (distance_cm is None):
        raise ConfigError("degrees need --display-cm WIDTH HEIGHT and --distance-cm together; give both or neither")
    values: dict[str, Any] = {"source": gaze, "view": view, "stages": stages, "use": use, "units": units}
    values |= {"split": split, "seed": seed}
    if display_cm is not None:
        values["display"] = {"width_cm": display_cm[0], "height_cm": display_cm[1], "distance_cm": distance_cm}
    config = build(RecordConfig, values, "record")
    feeders = make_feeders(gaze, stream)
    study = Study.open(open_source(source, out), config, reader, replace=replace_gaze)
    serve(record_app(study, feeders), port=port)
