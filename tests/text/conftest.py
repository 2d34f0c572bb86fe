"""A small data set with gaze and pseudo-masks, and an endpoint on this machine that can misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.types import Fixations

ANSWER = {
    "location": "centre",
    "boundary": "smooth and sharp",
    "characteristics": ["round", "sessile"],
    "area_percentage": 20,
    "confidence": "high",
    "remarks": "",
}
SECRETS = ("Doe^Jane", "1970-01-01", "Hospital of Testing", "4815162342")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven 48 x 64 photographs whose files tell about the patient; the last one is for test."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "files"
    folder.mkdir()
    cases, gaze = [], []
    y, x = np.mgrid[:48, :64]
    for k in range(7):
        name = f"Doe^Jane {k}"
        disc = (y - 24) ** 2 + (x - 28 - k) ** 2 < 100
        pixels = (rng.integers(60, 90, (48, 64, 3)) + 90 * disc[..., None]).astype(np.uint8)
        exif = Image.Exif()
        exif[0x010E], exif[0x013B], exif[0x0132] = SECRETS[2], SECRETS[0], SECRETS[1]
        Image.fromarray(pixels).save(folder / f"{name}.jpg", exif=exif, comment=SECRETS[3].encode(), quality=95)
        cases.append(Case(name, f"p{k}", "test" if k == 6 else "train", folder / f"{name}.jpg", None, 48, 64))
        if k:  # nobody looked at the first
            gaze.append(
                Fixations(
                    28.0 + k + np.arange(3), np.full(3, 24.0), np.arange(3) * 300.0, np.full(3, 250.0), (48, 64), name
                )
            )
    info = DatasetInfo(name="discs", modality="colonoscopy", roots=Roots(images=folder), gaze=GazeInfo(kind="recorded"))
    made = write_dataset(tmp_path / "ds", info, cases, gaze)
    make_masks(
        made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}, "maps": {"sigma": 120}}), jobs=1
    )
    return made


@dataclass
class Reply:
    """What the endpoint sends back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drip_s: float = 0.0  # between single bytes


def completion(content: Any) -> Reply:
    """A chat completion with ``content``, which is an object or the words themselves."""
    words = content if isinstance(content, str) else json.dumps(content)
    return Reply(body=json.dumps({"choices": [{"message": {"role": "assistant", "content": words}}]}).encode())


class Endpoint:
    """A chat endpoint: ``script`` gets the number of the request, from 0, and what was sent."""

    def __init__(self) -> None:
        self.script: Callable[[int, dict[str, Any]], Reply] = lambda number, body: completion(ANSWER)
        self.requests: list[tuple[str, dict[str, str], bytes, float]] = []
        endpoint, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    number = len(endpoint.requests)
                    endpoint.requests.append((self.path, dict(self.headers), sent, time.monotonic()))
                reply = endpoint.script(number, json.loads(sent))
                time.sleep(reply.wait_s)
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    if reply.drip_s:
                        for byte in reply.body:
                            self.wfile.write(bytes([byte]))
                            time.sleep(reply.drip_s)
                    else:
                        self.wfile.write(reply.body)
                except OSError:
                    pass  # the client has hung up

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go down: nothing listens at the address any more."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that answers well until told otherwise."""
    made = Endpoint()
    yield made
    made.stop()


@pytest.fixture
def reply() -> type[Reply]:
    """Make a raw reply."""
    return Reply


@pytest.fixture
def say() -> Callable[[Any], Reply]:
    """Make a chat completion."""
    return completion


@pytest.fixture
def answer() -> dict[str, Any]:
    """A description that fits."""
    return dict(ANSWER)


@pytest.fixture
def secrets() -> tuple[str, ...]:
    """What the image files hold beside pixels."""
    return SECRETS
