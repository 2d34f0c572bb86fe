"""Bind, print the address, serve until somebody stops it."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import Final

import uvicorn
from fastapi import FastAPI

from gazeseg.errors import DataError
from gazeseg.record.guard import Guard

HOST: Final = "127.0.0.1"
MAX_MESSAGE: Final = 1 << 20  # bytes of a WebSocket message: 5,000 samples of the binary form are 160 kB


@dataclass(frozen=True, slots=True)
class Bound:
    """A server that listens already, its port, and the secret of this start."""

    server: uvicorn.Server
    listener: socket.socket
    port: int
    token: str

    @property
    def url(self) -> str:
        """What a person opens."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def run(self) -> None:
        """Serve until interrupted."""
        self.server.run(sockets=[self.listener])


def bind(app: FastAPI, *, port: int = 0) -> Bound:
    """Put the guard around an application and listen on the loopback address.

    Args:
        app: What to serve.
        port: 0 takes a free one.

    Raises:
        DataError: if the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise DataError(f"port {port}: {error.strerror}; choose another with --port") from None
    listener.listen(64)  # before the address is printed: who opens it at once waits instead of failing
    bound = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        Guard(app, token=token, port=bound),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # loopback has room; compressing costs latency
        limit_concurrency=64,
        timeout_graceful_shutdown=3,
    )
    return Bound(uvicorn.Server(config), listener, bound, token)


def serve(app: FastAPI, *, port: int = 0) -> None:
    """Serve an application until interrupted; print how to open it.

    Raises:
        DataError: if the port is taken.
    """
    bound = bind(app, port=port)
    print(f"open {bound.url}", flush=True)
    print("stop with Ctrl+C; everything accepted is on the disk", flush=True)
    bound.run()
