"""What a reader recorded as BIDS eye tracking, from the log and the sample files: ``DS/gaze/bids``.

Positions are CSS px of the display, corrected where a calibration was in use; a zoom or a pan gives the image another
place from then on. Time counts in ms from the reader's first image.
"""

from __future__ import annotations

import datetime
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gazeseg.data.dataset import Dataset
from gazeseg.errors import DataError
from gazeseg.gaze.io.bids_write import write_bids
from gazeseg.gaze.io.trial import Samples, Session, Trial
from gazeseg.record.calibration import Correction
from gazeseg.record.config import RecordConfig
from gazeseg.record.store import parse_log, read_samples
from gazeseg.record.study import outcomes
from gazeseg.record.viewing import Window

FOLDER: Final = "bids"


def export_bids(dataset: Dataset) -> Path | None:
    """Write every accepted viewing of every reader anew; the folder appears whole. None where there is none.

    Raises:
        DataError: if a log is damaged, or the folder cannot be written.
    """
    sessions = []
    for log in sorted((dataset.root / "record").glob("*/log.jsonl")):
        events, _ = parse_log(log.read_bytes(), log)
        session = session_of(dataset, events, log)
        if session.trials:
            sessions.append(session)
    if not sessions:
        return None
    target = dataset.root / "gaze" / FOLDER
    temporary = target.with_name(f".{FOLDER}.{secrets.token_hex(6)}.tmp")
    try:
        write_bids(temporary, sessions, name=dataset.info.name)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error}); free some space") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def session_of(dataset: Dataset, events: Sequence[Mapping[str, Any]], log: Path) -> Session:
    """Return the accepted viewings of one log in temporal order."""
    accepted = {id_ for id_, event in outcomes(events).items() if event["outcome"] == "accepted"}
    latest = {event["case"]: k for k, event in enumerate(events) if event.get("outcome") == "accepted"}
    sizes = {case.case_id: case.size for case in dataset.cases}
    config, correction, reader = RecordConfig(), Correction(), ""
    trials: list[Trial] = []
    screen: dict[str, Any] = {}
    zero_ms: float | None = None
    free_ms = 0.0
    for k, event in enumerate(events):
        if event["kind"] == "session":
            config, reader = RecordConfig.model_validate(event["config"]), event["reader"]
        elif event["kind"] == "calibration":
            rows = tuple(tuple(row) for row in event["coefficients"])
            correction = Correction(rows, event["width_px"], event["height_px"])
        elif event["kind"] == "trial" and event["case"] in accepted & sizes.keys() and latest[event["case"]] == k:
            began_ms = _began_ms(event)
            zero_ms = began_ms if zero_ms is None else zero_ms
            # a computer's clock may be set back; viewings follow each other nevertheless
            began_ms = max(began_ms - zero_ms, free_ms)
            trial = _trial(event, log, config, correction, sizes[event["case"]], reader, began_ms)
            free_ms = began_ms + 1e3 * (event["locate_s"] + event["scan_s"] + event["review_s"]) + 1
            if len(trial.samples) >= 2:
                trials.append(trial)
                screen = event["page"]
    pixels = (screen["screen_width_px"], screen["screen_height_px"]) if screen else None
    display = config.display
    return Session(
        "record",
        log,
        tuple(trials),
        screen_px=pixels,
        screen_cm=None if display is None else (display.width_cm, display.height_cm),
        distance_cm=None if display is None else display.distance_cm,
    )


def _trial(
    event: Mapping[str, Any],
    log: Path,
    config: RecordConfig,
    correction: Correction,
    size: tuple[int, int],
    reader: str,
    began_ms: float,
) -> Trial:
    window = Window(**event["page"])
    values = read_samples(log.parent / "samples" / event["file"])
    values = values[values[:, 0] <= event["started_ms"] + 1e3 * (event["locate_s"] + event["scan_s"])]
    time_ms, x, y = values[:, 0], values[:, 1], values[:, 2]
    if config.source != "mouse":
        x, y = correction(*window.to_page(x, y, config.units))
    shift_ms = began_ms - event["started_ms"]
    places = tuple(
        (onset + shift_ms, (left + window.left_px, top + window.top_px, size[1] * zoom_x, size[0] * zoom_y))
        for onset, left, top, zoom_x, zoom_y in event["viewports"]
    )
    samples = Samples(time_ms + shift_ms, x + window.left_px, y + window.top_px, values[:, 3])
    return Trial(event["case"], reader, "screen", samples, start_ms=began_ms, places=places)


def _began_ms(event: Mapping[str, Any]) -> float:
    """When the image appeared, by the clock of the computer: a page's clock begins anew with every load."""
    logged_ms = 1e3 * datetime.datetime.fromisoformat(event["at"]).timestamp()
    return logged_ms - 1e3 * float(event["locate_s"] + event["scan_s"] + event["review_s"])
