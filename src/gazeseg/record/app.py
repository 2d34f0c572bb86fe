"""The web application: pages, pixels, and the two WebSockets, one for a page and one for a gaze device."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Response, WebSocket, WebSocketDisconnect
from fastapi.telemetry import TelemetryConfig

from gazeseg.console import warn
from gazeseg.errors import DataError
from gazeseg.record.assets import load_assets
from gazeseg.record.bids import export_bids
from gazeseg.record.desk import Desk
from gazeseg.record.feeder import Feeder
from gazeseg.record.guard import Bucket
from gazeseg.record.messages import Hello, parse_device, parse_page
from gazeseg.record.preview import warm_up
from gazeseg.record.study import Study

POLICY_VIOLATION: Final = 1008
TICK_S: Final = 0.5  # how often a page hears of its device
_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def bare_app(**options: Any) -> FastAPI:
    """Return an application with the page's files and nothing that talks to anybody else."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry=_TELEMETRY, **options)
    for path, (body, kind) in load_assets().items():
        _serve_file(app, path, body, kind)
    return app


def record_app(study: Study, feeders: tuple[Feeder, ...] = ()) -> FastAPI:
    """Return the recorder.

    Args:
        study: What is recorded.
        feeders: Sources of gaze that the server itself reads, one a reader at most.
    """
    desks = [Desk(study, reader) for reader in study.readers]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(asyncio.to_thread(warm_up))]
        tasks += [asyncio.create_task(_feed(feeder, desks[feeder.reader])) for feeder in feeders]
        tasks += [asyncio.create_task(_tick(desk)) for desk in desks if study.config.source != "mouse"]
        yield
        for task in tasks:
            task.cancel()
        for desk in desks:
            await desk.close()
        try:
            await asyncio.to_thread(export_bids, study.dataset)
        except DataError as error:
            warn(f"BIDS files: {error}")

    app = bare_app(lifespan=lifespan)

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        info = study.dataset.info
        return {"mode": "record", "data": info.name, "readers": list(study.readers), "source": study.config.source}

    @app.get("/api/image/{reader}/{number}")
    async def image(reader: int, number: int) -> Response:
        desk = _desk(desks, reader)
        session = desk.session
        if session is None or session.picture is None or session.number != number:
            raise HTTPException(404, "not the image on the screen")
        body, kind = await asyncio.to_thread(session.picture.body)
        return Response(body, media_type=kind)

    @app.websocket("/ws/page/{reader}")
    async def page(socket: WebSocket, reader: int) -> None:
        if not 0 <= reader < len(desks):
            await socket.close(POLICY_VIOLATION)
            return
        await socket.accept()
        await _serve_page(socket, desks[reader])

    @app.websocket("/ws/gaze/{reader}")
    async def gaze(socket: WebSocket, reader: int) -> None:
        if not 0 <= reader < len(desks) or study.config.source != "websocket":
            await socket.close(POLICY_VIOLATION, "this recorder takes no gaze stream; start it with --source websocket")
            return
        await socket.accept()
        await _serve_device(socket, desks[reader])

    return app


def _serve_file(app: FastAPI, path: str, body: bytes, kind: str) -> None:
    @app.get(path)
    async def file() -> Response:
        return Response(body, media_type=kind)


def _desk(desks: list[Desk], reader: int) -> Desk:
    if not 0 <= reader < len(desks):
        raise HTTPException(404, "no such reader")
    return desks[reader]


async def _serve_page(socket: WebSocket, desk: Desk) -> None:
    """Serve one page until it leaves."""
    sending = asyncio.Lock()

    async def send(message: dict[str, Any]) -> None:
        async with sending:
            with suppress(WebSocketDisconnect, RuntimeError):  # gone between two messages
                await socket.send_text(json.dumps(message, allow_nan=False))

    limit = Bucket(rate=200, burst=400)  # four times what a page sends that flushes its pointer at every frame
    try:
        first = parse_page(await socket.receive_text())
        if not isinstance(first, Hello):
            raise DataError("the first message of a page is hello")
        before = await desk.arrive(first, send)
        if before is not None:
            await before({"type": "taken", "message": "This reader went on in another window."})
        await send(desk.state())
        while True:
            message = parse_page(await socket.receive_text())
            if not limit.take():
                raise DataError("too many messages")
            if desk.page is not send:
                raise DataError("this reader went on in another window")
            answer = await desk.handle(message)
            if answer is not None:
                await send(answer)
    except (WebSocketDisconnect, KeyError):  # KeyError: a page that sends bytes
        pass
    except DataError as error:
        warn(f"page of {desk.reader}: {error}")
        await send({"type": "refused", "message": str(error)})
        with suppress(RuntimeError):
            await socket.close(POLICY_VIOLATION)
    finally:
        await desk.leave(send)


async def _serve_device(socket: WebSocket, desk: Desk) -> None:
    """Take the batches of a device; each is answered once its samples are with the operating system."""
    limit = Bucket(rate=20_000, burst=40_000)  # samples: ten times the fastest tracker
    try:
        while True:
            received = await socket.receive()
            if received["type"] == "websocket.disconnect":
                return
            message = received.get("text") or received.get("bytes") or b""
            try:
                seq, samples = parse_device(message)
                if not limit.take(len(samples) + 1):
                    raise DataError("too many samples; the limit is 20,000 a second")
                stored = await desk.feed(samples)
            except DataError as error:
                await socket.send_text(json.dumps({"type": "error", "message": str(error)}))
                continue
            await socket.send_text(json.dumps({"type": "ack", "seq": seq, "received": len(samples), "stored": stored}))
    except (WebSocketDisconnect, RuntimeError):
        return


async def _feed(feeder: Feeder, desk: Desk) -> None:
    """Pour a source that the server reads into a desk."""
    try:
        async for samples in feeder.batches():
            await desk.feed(samples)
    except DataError as error:
        warn(str(error))
        if desk.page is not None:
            await desk.page({"type": "note", "message": "The gaze source stopped; see the terminal."})


async def _tick(desk: Desk) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        if desk.page is not None:
            await desk.page(desk.figures())
