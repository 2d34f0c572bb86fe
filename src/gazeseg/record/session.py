"""One reader's way through the images: which step comes after which, and what is written when.

The log is the state: a session that opens a log finds itself where the last one stopped. Methods raise
:class:`ProtocolError` for a step that does not fit; the page shows its message and nothing changes.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any, Literal

from gazeseg.errors import DataError
from gazeseg.gaze.geometry import Viewport
from gazeseg.record.calibration import Correction, Target, accuracy, fit_correction
from gazeseg.record.config import gaze_source
from gazeseg.record.pixels import Picture, load_picture
from gazeseg.record.preview import make_preview, preview_json
from gazeseg.record.store import Log, SampleFile, StorageError
from gazeseg.record.study import Study, outcomes
from gazeseg.record.viewing import Look, Window, fixations_json, look_fixations
from gazeseg.types import FloatArray

Phase = Literal["ready", "locate", "scan", "working", "review", "paused", "targets", "done"]


class ProtocolError(DataError):
    """A step that does not fit what is going on; nothing was changed."""


class Session:
    """One reader at work. Not thread-safe: whoever serves it takes turns."""

    def __init__(self, study: Study, reader: str) -> None:
        """Open the reader's log and stand before the first image that is not done.

        Raises:
            DataError: if the log is damaged or in use.
        """
        self.study, self.reader = study, reader
        self.log = Log(study.log_path(reader))
        self.window = Window()
        self.page_px = (1280, 720)  # (width, height) of the page, CSS px
        self.correction = Correction()
        self.validation: dict[str, Any] | None = None
        self.picture: Picture | None = None
        self.look: Look | None = None
        self.result: dict[str, Any] | None = None
        self.problem = ""
        self._fixations: dict[str, Any] = {}
        self._reviewed_from = 0.0
        self.order = self._restore_order()
        self.done = {case: event for case, event in outcomes(self.log.events).items() if case in set(self.order)}
        study.finished[reader] = self.done
        self.phase: Phase = "ready"
        self._settle()

    @property
    def current(self) -> str | None:
        """The case that is next, or on the screen."""
        return next((case for case in self.order if case not in self.done), None)

    @property
    def number(self) -> int:
        """Counts the viewings of the log, from 1; what the page calls the image on the screen."""
        return 1 + len([event for event in self.log.events if event["kind"] == "trial"])

    def begin(self, at_ms: float) -> None:
        """Show the next image; its time starts at ``at_ms`` of the page's clock.

        Raises:
            DataError: if the image cannot be read; the reader may skip it.
            StorageError: if nothing can be written.
        """
        self._require("ready")
        case_id = self.current
        if case_id is None:
            raise ProtocolError("every image is done")
        dataset = self.study.dataset
        self.problem = ""
        self.picture = load_picture(dataset, dataset.case(case_id))
        file = SampleFile(self.study.folder(self.reader) / "samples" / f"{self.number:06d}.csv")
        self.look = Look(case_id, file, at_ms)
        self.phase = "locate"
        if self.study.config.stages == "one":
            self.phase = self.look.stage = "scan"

    def view(self, viewport: Viewport) -> None:
        """The image moved on the page."""
        if self.look is not None:
            self.look.view(viewport)

    def add(self, samples: FloatArray) -> int:
        """Store samples (N, 4) while an image is looked at; return how many were taken.

        Raises:
            DataError: if time does not rise.
            StorageError: if the disk takes no more: the viewing is given up, and the reader told.
        """
        if self.look is None or self.phase not in ("locate", "scan"):
            return 0
        try:
            return self.look.add(samples)
        except StorageError:
            self._drop()
            self.phase = "ready"
            raise

    def scan(self, at_ms: float) -> None:
        """Go on from locating to scanning."""
        self._require("locate")
        assert self.look is not None  # noqa: S101 -- the phase says so
        self.look.stage, self.look.scan_ms, self.phase = "scan", at_ms, "scan"

    def finish(self, at_ms: float) -> None:
        """End the viewing; :meth:`work` is next."""
        self._require("scan")
        assert self.look is not None  # noqa: S101 -- the phase says so
        self.look.ended_ms, self.phase = at_ms, "working"

    def work(self) -> None:
        """Find fixations and draw what they say; takes a moment.

        Raises:
            StorageError: if the samples cannot be synced.
        """
        self._require("working")
        look, picture, study = self.look, self.picture, self.study
        assert look is not None and picture is not None and look.ended_ms is not None  # noqa: S101, PT018 -- as above
        try:
            look.file.close()
            config = study.config
            screen = self.window.screen_width_px, self.window.screen_height_px
            fixations = look_fixations(
                look,
                size=picture.pixels.shape[:2],
                reader_id=self.reader,
                px_per_degree=config.px_per_degree(*screen),
                detection=config.detection,
                window=None if config.source == "mouse" else self.window,
                units=config.units,
                correction=self.correction,
                scan_only=config.use == "scan",
            )
        except DataError:
            self.look = self.picture = None
            self.phase = "ready"
            raise
        self._fixations = fixations_json(fixations)
        self.result = preview_json(make_preview(picture.pixels, fixations, study.masks), fixations.image_size)
        self.result |= {
            "fixations": self._fixations,
            "samples": look.count,
            "seconds": round((look.ended_ms - look.started_ms) / 1e3, 1),
            "on_image": int(fixations.on_image.sum()),
        }
        self._reviewed_from = look.ended_ms
        self.phase = "review"

    def accept(self, at_ms: float) -> None:
        """Keep the viewing.

        Raises:
            StorageError: if it cannot be written; it stays on the screen, so that it can be accepted later.
        """
        self._require("review")
        self._log_trial("accepted", at_ms)

    def redo(self, at_ms: float) -> None:
        """Throw the viewing away and show the image again."""
        if self.phase not in ("review", "locate", "scan"):
            raise ProtocolError("nothing to redo")
        self._log_trial("redone", at_ms)

    def skip(self, at_ms: float, reason: str = "") -> None:
        """Leave the image out."""
        if self.phase not in ("ready", "locate", "scan", "review"):
            raise ProtocolError("nothing to skip")
        self._log_trial("skipped", at_ms, reason)

    def undo(self) -> None:
        """Take the last accepted or skipped image back: it is next again."""
        if self.phase not in ("ready", "done"):
            raise ProtocolError("undo is possible between images")
        if not self.done:
            raise ProtocolError("nothing to undo")
        case = next(reversed(self.done))
        self.log.append({"kind": "undo", "case": case, "at": _now()})
        self._reload()
        # the one taken back goes first, wherever it stands in the order
        self.order = [case, *(other for other in self.order if other != case)]
        self.phase = "ready"

    def revisit(self) -> None:
        """Put skipped images back at the end."""
        self._require("done")
        self.log.append({"kind": "revisit", "at": _now()})
        self._reload()
        self._settle()

    def pause(self, at_ms: float) -> None:
        """Stop; an image on the screen is shown anew later, since nobody knows where its reader looked meanwhile."""
        if self.phase in ("locate", "scan"):
            self._log_trial("interrupted", at_ms)
        elif self.phase == "review":
            raise ProtocolError("accept or redo the image first")
        elif self.phase in ("working", "paused"):
            return
        self.phase = "paused"

    def resume(self) -> None:
        """Go on after a pause, or leave the targets."""
        self._require("paused", "targets")
        self._settle()

    def start_targets(self) -> None:
        """Begin to show the nine targets."""
        self._require("ready", "paused")
        self.phase = "targets"

    def calibrate(self, targets: list[Target]) -> None:
        """Fit the correction to targets whose samples are uncorrected px of the page."""
        self._require("targets")
        self.correction = fit_correction(targets, *map(float, self.page_px))
        event = {
            "kind": "calibration",
            "at": _now(),
            "coefficients": [list(row) for row in self.correction.coefficients],
        }
        self.log.append({**event, "width_px": self.page_px[0], "height_px": self.page_px[1]})
        self._settle()

    def validate(self, targets: list[Target]) -> None:
        """Measure the error on targets whose samples are corrected px of the page."""
        self._require("targets")
        config, screen = self.study.config, (self.window.screen_width_px, self.window.screen_height_px)
        measured = None if config.display is None else config.px_per_degree(*screen)
        self.validation = accuracy(targets, measured)
        self.log.append({"kind": "validation", "at": _now(), **self.validation})
        self._settle()

    def close(self) -> None:
        """Release the files; a viewing under way is lost."""
        self._drop()
        self.log.close()

    def _log_trial(self, outcome: str, at_ms: float, reason: str = "") -> None:
        case, look = self.current, self.look
        assert case is not None  # noqa: S101 -- no phase that calls this is without a case
        event: dict[str, Any] = {
            "kind": "trial",
            "case": case,
            "outcome": outcome,
            "at": _now(),
            "source": self._source,
        }
        event |= {"fixations": {"x_px": [], "y_px": [], "onset_ms": [], "duration_ms": []}}
        if reason:
            event["reason"] = reason
        if look is not None:
            event |= self._about(look, at_ms)
        if outcome == "accepted":
            event["fixations"] = self._fixations
        self.log.append(event)
        self._drop()
        self._reload()
        self._settle()

    def _about(self, look: Look, at_ms: float) -> dict[str, Any]:
        ended = look.ended_ms if look.ended_ms is not None else at_ms
        scan_ms = look.started_ms if self.study.config.stages == "one" else look.scan_ms
        located = scan_ms if scan_ms is not None else ended
        return {
            "locate_s": _seconds(located - look.started_ms),
            "scan_s": _seconds(ended - located),
            "review_s": _seconds(at_ms - ended),
            "samples": look.count,
            "file": look.file.path.name,
            "started_ms": look.started_ms,
            "scan_ms": look.scan_ms,
            "page": dataclasses.asdict(self.window),
            "viewports": [
                [view.onset_ms, view.left_px, view.top_px, view.zoom_x, view.zoom_y] for view in look.viewports
            ],
        }

    @property
    def _source(self) -> str:
        return gaze_source(self.study.config)

    def _drop(self) -> None:
        """Close what belongs to the image on the screen."""
        if self.look is not None and self.phase in ("locate", "scan"):
            self.look.file.close(sync=False)
        self.look = self.picture = self.result = None

    def _reload(self) -> None:
        self.done = {case: event for case, event in outcomes(self.log.events).items() if case in set(self.order)}
        self.study.finished[self.reader] = self.done

    def _settle(self) -> None:
        self.phase = "done" if self.current is None else "ready"

    def _restore_order(self) -> list[str]:
        """Keep the order of an earlier start; images that are new since come last."""
        drawn = self.study.order(self.reader)
        header: Mapping[str, Any] = next((e for e in self.log.events if e.get("kind") == "session"), {})
        kept = [case for case in header.get("order", ()) if case in set(drawn)]
        order = kept + [case for case in drawn if case not in set(kept)]
        config = self.study.config.model_dump(mode="json")
        latest = [e for e in self.log.events if e.get("kind") == "session"][-1:]
        if not latest or latest[0].get("config") != config or latest[0].get("order") != order:
            about = {"kind": "session", "format": 1, "reader": self.reader, "at": _now(), "config": config}
            self.log.append({**about, "data": self.study.dataset.info.name, "order": order})
        calibrations = [e for e in self.log.events if e.get("kind") == "calibration"]
        if calibrations and latest and latest[0].get("config") == config:
            last = calibrations[-1]
            rows = tuple(tuple(row) for row in last["coefficients"])
            self.correction = Correction(rows, last["width_px"], last["height_px"])
        return order

    def _require(self, *phases: Phase) -> None:
        if self.phase not in phases:
            raise ProtocolError(f"not now: {self.phase}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _seconds(ms: float) -> float:
    return round(max(ms, 0.0) / 1e3, 3)
