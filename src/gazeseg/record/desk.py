"""One reader's desk: the session, the page that shows it, the device that watches. One message at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from gazeseg.console import warn
from gazeseg.errors import DataError
from gazeseg.gaze.geometry import Viewport
from gazeseg.record.calibration import Target
from gazeseg.record.clock import ClockOffset
from gazeseg.record.config import NOMINAL_PX_PER_DEGREE
from gazeseg.record.devices import Device
from gazeseg.record.messages import (
    Hello,
    PageMessage,
    PointerSamples,
    Skip,
    Step,
    TargetsDone,
    TargetShown,
    View,
    columns,
)
from gazeseg.record.session import ProtocolError, Session
from gazeseg.record.store import StorageError
from gazeseg.record.study import Study
from gazeseg.record.viewing import Window
from gazeseg.types import FloatArray

Sender = Callable[[dict[str, Any]], Awaitable[None]]


def local_ms() -> float:
    """Our clock, ms."""
    return time.monotonic() * 1e3


class Desk:
    """A session, opened when its reader first comes, and who is connected to it."""

    def __init__(self, study: Study, reader: str) -> None:
        """Prepare the desk of ``reader``; nothing is opened yet."""
        self.study, self.reader = study, reader
        self.session: Session | None = None
        self.page: Sender | None = None
        self.clock = ClockOffset()
        self.device = Device(self.clock)
        self._targets: list[TargetShown] = []
        self._turn = asyncio.Lock()

    async def arrive(self, hello: Hello, page: Sender) -> Sender | None:
        """Seat a page; return the one that sat here before, whose viewing is interrupted.

        Raises:
            DataError: if the reader's log cannot be opened.
        """
        async with self._turn:
            before, self.page = self.page, page
            if self.session is None:
                self.session = await asyncio.to_thread(Session, self.study, self.reader)
            self.clock = ClockOffset()
            self.device = Device(self.clock)
            self.clock.seen(hello.t, local_ms())
            self._measure(self.session, hello)
            self.session.pause(hello.t)
            self.session.resume() if self.session.phase == "paused" else None
            return before

    async def leave(self, page: Sender) -> None:
        """The page is gone: what it showed has to be seen again."""
        async with self._turn:
            if self.page is page and self.session is not None:
                self.page = None
                try:
                    if self.session.phase in ("locate", "scan"):
                        self.session.pause(local_ms() - self.clock.offset_ms)
                        self.session.resume()
                except StorageError as error:
                    warn(str(error))

    async def handle(self, message: PageMessage) -> dict[str, Any] | None:
        """Do what a message of the page asks for; return an answer for samples, and send the new state for the rest."""
        async with self._turn:
            session = self._open()
            self.clock.seen(message.t_ms[-1] or 0.0, local_ms()) if isinstance(
                message, PointerSamples
            ) and message.t_ms else None
            try:
                if isinstance(message, PointerSamples):
                    samples = columns(message.t_ms, message.x_px, message.y_px)
                    stored = session.add(samples)
                    if session.phase == "targets":
                        self.device.take(samples, local_ms())
                    return {"type": "ack", "seq": message.seq, "stored": stored}
                if isinstance(message, View):
                    session.view(Viewport(message.left, message.top, message.zoom, message.zoom, message.t))
                    return None
                await self._step(session, message)
                if session.phase not in ("locate", "scan"):
                    self.device.release()
            except ProtocolError as error:
                return {"type": "note", "message": str(error)}
            except StorageError as error:
                warn(str(error))
                session.problem = f"Nothing can be saved: {error.reason}. Free some space, then go on."
            except DataError as error:
                warn(f"{self.reader}: {error}")
                session.problem = _for_the_page(session, error)
            return self.state()

    async def feed(self, samples: FloatArray) -> int:
        """Take a batch of the device; return how many samples became part of a viewing.

        Raises:
            DataError: if the batch cannot be used.
        """
        received = local_ms()
        async with self._turn:
            moved = self.device.take(samples, received)
            if self.session is None or self.page is None:
                return 0
            try:
                return self.session.add(moved)
            except StorageError as error:
                warn(str(error))
                self.session.problem = f"Nothing can be saved: {error.reason}. Free some space, then go on."
                await self.page(self.state())
                raise

    def figures(self) -> dict[str, Any]:
        """What the page shows of the device."""
        return {"type": "device", **self.device.figures(local_ms() - self.clock.offset_ms)}

    def state(self) -> dict[str, Any]:
        """Everything that the page shows but pixels."""
        session, config = self._open(), self.study.config
        screen = session.window.screen_width_px, session.window.screen_height_px
        per_degree = config.px_per_degree(*screen)
        skipped = sum(event["outcome"] == "skipped" for event in session.done.values())
        return {
            "type": "state",
            "phase": session.phase,
            "reader": self.reader,
            "total": len(session.order),
            "done": len(session.done),
            "skipped": skipped,
            "number": session.number,
            "image": None if session.picture is None else session.picture.about,
            "result": session.result,
            "problem": session.problem,
            "can_undo": bool(session.done) and session.phase in ("ready", "done"),
            "source": config.source,
            "view": config.view,
            "stages": config.stages,
            "window_px": config.window_deg * per_degree,
            "blur_px": config.blur_deg * per_degree,
            "measured": config.display is not None,
            "px_per_degree": per_degree if config.display is not None else NOMINAL_PX_PER_DEGREE,
            "validation": session.validation,
            "calibrated": any(any(row) for row in session.correction.coefficients),
            "seconds": round(
                sum(
                    float(e.get("scan_s", 0)) + float(e.get("locate_s", 0))
                    for e in session.done.values()
                    if e["outcome"] == "accepted"
                )
            ),
        }

    async def close(self) -> None:
        """Release the session."""
        async with self._turn:
            if self.session is not None:
                self.session.close()
                self.session = None

    def _open(self) -> Session:
        if self.session is None:
            raise ProtocolError("say hello first")
        return self.session

    async def _step(self, session: Session, message: Hello | Step | Skip | TargetShown | TargetsDone) -> None:
        if isinstance(message, Hello):
            self._measure(session, message)
        elif isinstance(message, Skip):
            session.skip(message.t, message.reason)
            await asyncio.to_thread(self.study.publish)
        elif isinstance(message, TargetShown):
            self._targets.append(message)
        elif isinstance(message, TargetsDone):
            await self._finish_targets(session, message.purpose)
        else:
            await self._press(session, message)

    async def _press(self, session: Session, step: Step) -> None:
        match step.type:
            case "begin":
                session.begin(step.t)
                self.device.hold()
            case "scan":
                session.scan(step.t)
            case "finish":
                session.finish(step.t)
                if self.page is not None:
                    await self.page(self.state())
                await asyncio.to_thread(session.work)
            case "accept":
                session.problem = ""
                session.accept(step.t)
                await asyncio.to_thread(self.study.publish)
            case "redo":
                session.redo(step.t)
            case "undo":
                session.undo()
                await asyncio.to_thread(self.study.publish)
            case "pause":
                session.pause(step.t)
            case "resume":
                session.resume()
            case "revisit":
                session.revisit()
            case "targets":
                session.start_targets()
                self._targets = []

    async def _finish_targets(self, session: Session, purpose: str) -> None:
        """Measure on the samples that came while each target was shown."""
        found = []
        for target in self._targets:
            samples = self.device.between(target.from_ms, target.to_ms)
            x, y = samples[:, 1], samples[:, 2]
            if self.study.config.source != "mouse":
                x, y = session.window.to_page(x, y, self.study.config.units)
                if purpose == "validation":
                    x, y = session.correction(x, y)
            found.append(Target(target.x, target.y, np.stack([x, y], axis=1)))
        self._targets = []
        session.problem = ""
        if purpose == "calibration":
            session.calibrate(found)
        else:
            session.validate(found)

    def _measure(self, session: Session, hello: Hello) -> None:
        session.page_px = hello.width, hello.height
        session.window = Window(hello.left, hello.top, hello.scale, hello.screen_width, hello.screen_height)


def _for_the_page(session: Session, error: DataError) -> str:
    """Say what is wrong without naming files: a path may name a patient."""
    if session.phase == "targets":
        return str(error)
    return "This image cannot be used: its file is gone, damaged or of another size. Skip it, or restore it and go on."
