"""BIDS 1.11 eye tracking, written: what :mod:`gazeseg.gaze.io.bids` reads, and the official validator accepts.

::

    dataset_description.json, README.md, participants.tsv
    sub-R/beh/sub-R_task-gaze_run-1_recording-eye1_physio.tsv.gz + .json         the samples
    sub-R/beh/sub-R_task-gaze_run-1_recording-eye1_physioevents.tsv.gz + .json   the fixations
    sub-R/beh/sub-R_task-gaze_run-1_events.tsv + .json                           which image when and where, the display

Images are named, not copied: they stand in a column ``image`` and not in ``stim_file``, whose files BIDS wants inside.
Without the size of the display and the viewing distance the coordinate system is ``custom``, since BIDS demands both
for ``gaze-on-screen``.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from gazeseg import __version__
from gazeseg.errors import DataError
from gazeseg.gaze.fixations import sampling_interval_ms
from gazeseg.gaze.io.trial import Marks, Session, Trial
from gazeseg.types import FloatArray

BIDS_VERSION: Final = "1.11.1"


def write_bids(root: Path, sessions: Sequence[Session], *, name: str = "gaze", task: str = "gaze") -> list[Path]:
    """Write recordings as a BIDS data set, one run for each file and reader.

    Args:
        root: the folder to make or to add to; runs are numbered on.
        sessions: what was read from tracker files, with samples in screen px.
        name: of the data set.
        task: its label, letters and digits.

    Returns:
        The files of samples.

    Raises:
        DataError: if a trial has no samples, or its positions are not on the screen, or a file cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        written, subjects = [], set()
        for session in sessions:
            readers = dict.fromkeys(trial.reader_id for trial in session.trials)
            for reader in readers:
                subject = re.sub(r"[^a-zA-Z0-9]", "", reader) or "unknown"
                subjects.add(subject)
                trials = [trial for trial in session.trials if trial.reader_id == reader]
                written.append(_run(root, session, subject, trials, task))
        _top(root, name, subjects)
    except OSError as error:
        raise DataError(
            f"{root}: cannot be written ({error.strerror or error}); free some space or choose another"
        ) from None
    return written


def _top(root: Path, name: str, subjects: set[str]) -> None:
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "gazeseg", "Version": __version__}],
    }
    _json(root / "dataset_description.json", description)
    readme = root / "README.md"
    if not readme.exists():
        readme.write_text(
            f"# {name}\n\nGaze of readers of medical images, written by gazeseg. The images are named in the column "
            "`image` of the events and are not part of this data set.\n",
            encoding="utf-8",
        )
    known = {path.name.removeprefix("sub-") for path in root.glob("sub-*")} | subjects
    rows = "".join(f"sub-{subject}\n" for subject in sorted(known))
    (root / "participants.tsv").write_text("participant_id\n" + rows, encoding="utf-8")


def _run(root: Path, session: Session, subject: str, trials: Sequence[Trial], task: str) -> Path:
    for trial in trials:
        if trial.space != "screen" or len(trial.samples) < 2:
            raise DataError(
                f"{session.path}: '{trial.image}' has no samples in screen px; BIDS holds samples, so write the "
                "recording rather than a table of fixations"
            )
    folder = root / f"sub-{subject}" / "beh"
    folder.mkdir(parents=True, exist_ok=True)
    run = 1 + len(list(folder.glob(f"sub-{subject}_task-{task}_run-*_events.tsv")))
    stem = f"sub-{subject}_task-{task}_run-{run}"
    trials = sorted(trials, key=lambda trial: float(trial.samples.time_ms[0]))
    time, x, y = (np.concatenate([getattr(t.samples, part) for t in trials]) for part in ("time_ms", "x", "y"))
    columns: dict[str, FloatArray] = {"timestamp": time, "x_coordinate": x, "y_coordinate": y}
    meta = _physio_json(session, float(sampling_interval_ms(time)))
    pupils = [trial.samples.pupil for trial in trials]
    if all(pupil is not None for pupil in pupils):
        columns["pupil_size"] = np.concatenate([pupil for pupil in pupils if pupil is not None])
        meta["pupil_size"] = {"Description": "Pupil area or diameter in the unit of the tracker", "Units": "arbitrary"}
    meta["Columns"] = list(columns)
    physio = folder / f"{stem}_recording-eye1_physio.tsv.gz"
    _table(physio, columns)
    _json(folder / f"{stem}_recording-eye1_physio.json", meta)
    _events(folder, stem, [trial.marks for trial in trials])
    _shown(folder, stem, session, trials, float(time[0]))
    return physio


def _physio_json(session: Session, interval_ms: float) -> dict[str, Any]:
    known = session.screen_px is not None and session.screen_cm is not None and session.distance_cm is not None
    pixel = "px of the display, pixel centres at integers, origin top left"
    meta: dict[str, Any] = {
        "SamplingFrequency": round(1e3 / interval_ms, 3) if interval_ms else 0,
        "StartTime": 0,
        "Columns": [],
        "PhysioType": "eyetrack",
        "RecordedEye": session.eye if session.eye in ("left", "right") else "cyclopean",
        "SampleCoordinateSystem": "gaze-on-screen" if known else "custom",
        "timestamp": {"Description": "Clock of the eye tracker", "Units": "ms"},
        "x_coordinate": {"Description": f"Gaze to the right, {pixel}", "Units": "pixel"},
        "y_coordinate": {"Description": f"Gaze downwards, {pixel}", "Units": "pixel"},
    }
    if not known:
        meta["SampleCoordinateSystemDescription"] = f"Gaze in {pixel}; the size of the display in cm is not known"
    return meta


def _events(folder: Path, stem: str, marks: Sequence[Marks]) -> None:
    """Write the tracker's fixations; without any there is no file."""
    onset, duration, x, y = (
        np.concatenate([getattr(part, name) for part in marks]) for name in ("onset_ms", "duration_ms", "x", "y")
    )
    if not len(onset):
        return
    columns = {
        "onset": onset,
        "duration": duration / 1e3,
        "trial_type": np.full(len(onset), "fixation"),
        "x_coordinate": x,
        "y_coordinate": y,
    }
    path = folder / f"{stem}_recording-eye1_physioevents.tsv.gz"
    _table(path, columns)
    meta = {
        "Description": "Fixations as the software of the eye tracker found them",
        "OnsetSource": "timestamp",
        "Columns": list(columns),
        "onset": {"Description": "Clock of the eye tracker", "Units": "ms"},
        "duration": {"Description": "Duration of the fixation", "Units": "s"},
        "x_coordinate": {"Description": "Mean gaze in px of the display", "Units": "pixel"},
        "y_coordinate": {"Description": "Mean gaze in px of the display", "Units": "pixel"},
    }
    _json(folder / f"{stem}_recording-eye1_physioevents.json", meta)


def _shown(folder: Path, stem: str, session: Session, trials: Sequence[Trial], first_ms: float) -> None:
    """Write which image was shown when and where, and the display."""
    lines = ["onset\tduration\ttrial_type\timage\tleft_px\ttop_px\twidth_px\theight_px"]
    for trial in trials:
        time = trial.samples.time_ms
        end = float(time[-1]) + sampling_interval_ms(time)
        start = min(trial.start_ms, float(time[0]))  # an image may appear between two samples
        onsets = [start, *(at for at, _ in trial.places[1:]), end]
        for k, (onset, stop) in enumerate(pairwise(onsets)):
            box = [f"{side:.10g}" for side in trial.places[k][1]] if trial.places else ["n/a"] * 4
            times = ((onset - first_ms) / 1e3, (stop - onset) / 1e3)
            lines.append("\t".join([*(f"{t:.10g}" for t in times), "image", trial.image or "n/a", *box]))
    (folder / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    screen: dict[str, Any] = {
        "ScreenOrigin": ["top", "left"],
        "SoftwareName": "gazeseg",
        "SoftwareVersion": __version__,
    }
    if session.screen_px is not None:
        screen["ScreenResolution"] = list(session.screen_px)
    if session.screen_cm is not None:
        screen["ScreenSize"] = [side / 100 for side in session.screen_cm]
    if session.distance_cm is not None:
        screen["ScreenDistance"] = session.distance_cm / 100
    side = {"Description": "Place of the image on the display; n/a where it is not known", "Units": "pixel"}
    meta = {
        "StimulusPresentation": screen,
        "trial_type": {"Description": "What was shown", "Levels": {"image": "A medical image"}},
        "image": {"Description": "Name of the image, which is not part of this data set"},
        **dict.fromkeys(("left_px", "top_px", "width_px", "height_px"), side),
    }
    _json(folder / f"{stem}_events.json", meta)


def _table(path: Path, columns: dict[str, Any]) -> None:
    """Write a compressed table without header, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.tmp")
    # without name and date in the header: the same recording gives the same bytes
    with temporary.open("wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as stream:
        pd.DataFrame(columns).to_csv(stream, sep="\t", header=False, index=False, na_rep="n/a", float_format="%.10g")
    temporary.replace(path)


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
