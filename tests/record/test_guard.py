"""Security of the running server, over real sockets: what a stranger, another site or a greedy client gets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gazeseg.record.app import record_app
from gazeseg.record.guard import MAX_BODY, Bucket

from .conftest import Recorder, study

HELLO = {"type": "hello", "t": 0.0, "width": 1000, "height": 800, "screen_width": 1000, "screen_height": 800}


@pytest.fixture
def recorder(shapes: Path, live: Callable[[FastAPI], Recorder]) -> Recorder:
    return live(record_app(study(shapes, source="websocket")))


def _status(recorder: Recorder, path: str, **headers: str) -> int:
    try:
        return recorder.get(path, **headers).status
    except urllib.error.HTTPError as error:
        return error.code


def _refused(recorder: Recorder, path: str, headers: dict[str, str], origin: str | None = None) -> int:
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(
            f"ws://127.0.0.1:{recorder.port}{path}",
            additional_headers=headers,
            origin=origin,  # type: ignore[arg-type]  # a NewType of str
        ),
    ):
        pass
    return caught.value.response.status_code


def _drained(socket_: ClientConnection) -> tuple[list[str], int | None]:
    """Every message until the server hangs up, and the code it gives."""
    messages = []
    while True:
        try:
            messages.append(str(socket_.recv(timeout=100)))
        except ConnectionClosed as closed:
            return messages, closed.rcvd.code if closed.rcvd else None


def test_nobody_enters_without_the_token_of_this_start(recorder: Recorder) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(recorder.origin + "/")  # noqa: S310 -- our own address
    assert caught.value.code == 401
    assert _status(recorder, "/api/about", Authorization="Bearer wrong") == 401
    assert _status(recorder, "/api/about", Authorization="", Cookie=f"gazeseg-{recorder.port}=wrong") == 401
    assert _status(recorder, "/api/about") == 200
    assert _refused(recorder, "/ws/page/0", {}, origin=recorder.origin) == 403


def test_the_printed_address_gives_a_cookie_that_scripts_cannot_read(recorder: Recorder) -> None:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(Stay).open(recorder.url)
    assert caught.value.code == 303
    assert caught.value.headers["location"] == "/"  # the token leaves the address bar
    cookie = caught.value.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert _status(recorder, "/", Authorization="", Cookie=cookie.partition(";")[0]) == 200


def test_other_hosts_and_other_sites_are_refused(recorder: Recorder) -> None:
    assert _status(recorder, "/api/about", Host="evil.example") == 403  # a name pointed at the loopback address
    assert _status(recorder, "/api/about", Host=f"127.0.0.1:{recorder.port + 1}") == 403
    assert _status(recorder, "/api/about", Origin="http://evil.example") == 403
    assert _status(recorder, "/api/about", Origin="null") == 403
    assert _status(recorder, "/api/about", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == 403
    assert _status(recorder, "/api/about", Origin=recorder.origin) == 200
    token = {"Authorization": f"Bearer {recorder.token}"}
    assert _refused(recorder, "/ws/page/0", token, origin="http://evil.example") == 403
    cookie = {"Cookie": f"gazeseg-{recorder.port}={recorder.token}"}
    assert _refused(recorder, "/ws/page/0", cookie) == 403  # a browser would say where it comes from


def test_only_the_loopback_address_listens(recorder: Recorder) -> None:
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), recorder.port, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(1)
            assert probe.connect_ex((str(address), recorder.port)) != 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", recorder.port)) == 0


def test_every_answer_carries_a_strict_policy(recorder: Recorder) -> None:
    for path in ("/", "/app.js", "/api/about"):
        headers = recorder.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy  # nothing from elsewhere
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_no_path_from_outside_reaches_the_file_system(recorder: Recorder, shapes: Path) -> None:
    for path in (
        "/../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/static/app.js",
        f"/{shapes}/dataset.yaml",
        "/docs",
    ):
        assert _status(recorder, path) == 404
    for path in ("/api/image/0/../../etc", "/api/image/a/1", "/api/image/0/1", "/api/image/-1/1", "/api/image/9/1"):
        assert _status(recorder, path) in (404, 422)


def test_the_built_page_asks_nobody_else(recorder: Recorder) -> None:
    for path in ("/", "/app.js", "/app.css"):
        body = recorder.get(path).read().decode()
        assert "https://" not in body
        assert "http://" not in body.replace("http://www.w3.org/", "")


def test_bodies_and_messages_are_bounded(recorder: Recorder) -> None:
    request = urllib.request.Request(  # noqa: S310 -- our own address
        recorder.origin + "/api/about",
        data=b"x" * (MAX_BODY + 1),
        headers={"Authorization": f"Bearer {recorder.token}"},
    )
    with pytest.raises((urllib.error.HTTPError, ConnectionError)):
        urllib.request.urlopen(request, timeout=10)  # noqa: S310
    page = recorder.socket("/ws/page/0")
    page.send(json.dumps(HELLO))
    page.recv(timeout=60)
    page.send("x" * (2 << 20))
    assert _drained(page)[1] == 1009


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "nonsense"}',
        "no json",
        '{"type": "view", "t": 1, "left": 1e400, "top": 0, "zoom": 1}',
        '{"type": "begin"}',
    ],
)
def test_a_page_that_speaks_otherwise_is_hung_up_on(recorder: Recorder, message: str) -> None:
    page = recorder.socket("/ws/page/0")
    page.send(json.dumps(HELLO))
    page.send(message)
    messages, code = _drained(page)
    assert json.loads(messages[-1])["type"] == "refused"
    assert code == 1008


def test_a_flood_of_messages_is_hung_up_on(recorder: Recorder) -> None:
    page = recorder.socket("/ws/page/0")
    page.send(json.dumps(HELLO))
    for _ in range(2_000):
        try:
            page.send('{"type": "resume", "t": 1}')
        except ConnectionClosed:
            break
    assert "too many messages" in _drained(page)[0][-1]


def test_a_bucket_lets_a_burst_through_and_then_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bucket = Bucket(rate=10, burst=5)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]
    now[0] += 0.2
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_recording_connects_to_nobody(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is opened towards anybody from opening the study to publishing its tables."""
    from gazeseg.record.session import Session

    def refuse(*_: object) -> None:
        raise AssertionError("an external connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setitem(os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:4318")
    monkeypatch.setitem(os.environ, "FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    opened = study(shapes)
    app = record_app(opened)

    async def start() -> None:
        async with app.router.lifespan_context(app):
            await asyncio.sleep(0)

    asyncio.run(start())
    session = Session(opened, "anna")
    session.begin(0.0)
    session.skip(1.0)
    opened.publish()
    session.close()
