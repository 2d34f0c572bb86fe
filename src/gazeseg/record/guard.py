"""Who may talk to the server, and how much: everything is checked here, before any route sees it.

- the Host header names the loopback address that was bound, so that a name that an attacker controls cannot be
  pointed at it (DNS rebinding);
- an Origin header, which every browser sends with WebSockets and with requests of other sites, is our own;
- a token, new with every start, comes as a cookie (``HttpOnly``, ``SameSite=Strict``) or as ``Authorization: Bearer``;
- bodies and the rate of requests are bounded;
- every answer carries a strict Content-Security-Policy: scripts, styles and connections from this server alone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY: Final = 64 * 1024
HEADERS: Final = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
)
_ENTRY: Final = "Open the address that gazeseg printed in its terminal: it carries the key of this start.\n"


class Bucket:
    """A rate limit: ``rate`` a second on average, ``burst`` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        """Start full."""
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, time.monotonic()

    def take(self, amount: float = 1.0) -> bool:
        """Take an amount; False where it is not there."""
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if amount > self._level:
            return False
        self._level -= amount
        return True


class Guard:
    """ASGI middleware around the application."""

    def __init__(self, app: App, *, token: str, port: int) -> None:
        """Let those in who know ``token`` and speak to the loopback address at ``port``."""
        self._app = app
        self._token = token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._cookie = f"gazeseg-{port}"  # cookies do not tell ports apart
        self._requests = Bucket(rate=100, burst=300)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request or a WebSocket, then hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "") not in self._hosts:
            await _refuse(scope, send, 403, "this server answers on the loopback address alone\n")
        elif self._foreign(headers):
            await _refuse(scope, send, 403, "requests of other sites are refused\n")
        elif not self._requests.take():
            await _refuse(scope, send, 429, "too many requests\n")
        elif self._enters(scope):
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, b"", [("location", "/"), ("set-cookie", cookie)])
        elif not self._knows(headers):
            await _refuse(scope, send, 401, _ENTRY)
        elif scope["type"] == "websocket" and "origin" not in headers and "authorization" not in headers:
            await _refuse(scope, send, 403, "a browser sends an Origin, a device the token as Authorization: Bearer\n")
        else:
            await self._app(scope, _bounded(receive), _with_headers(send))

    def _foreign(self, headers: dict[str, str]) -> bool:
        """True for what the page of another site sent."""
        if headers.get("origin", "") not in {"", *self._origins}:
            return True
        return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"

    def _enters(self, scope: Scope) -> bool:
        """True for the address with the token in it, which is seen once and turned into a cookie."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            return False
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _knows(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not given:
            try:
                cookies = SimpleCookie(headers.get("cookie", ""))
            except CookieError:
                return False
            given = cookies[self._cookie].value if self._cookie in cookies else ""
        return secrets.compare_digest(given.encode(), self._token.encode())


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that is too long: the route sees an end of the connection."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > MAX_BODY:
                return {"type": "http.disconnect"}
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            own = {name for name, _ in message.get("headers", [])}
            added = [(name.encode(), value.encode()) for name, value in HEADERS if name.encode() not in own]
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000 + status})  # before accept: the server answers 403
        return
    await _answer(send, status, text.encode(), [("content-type", "text/plain; charset=utf-8")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in (*headers, *HEADERS)]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
