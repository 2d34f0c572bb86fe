"""A data set of generated shapes, and the recorder as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from scipy.ndimage import gaussian_filter
from websockets.sync.client import ClientConnection, connect

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, Roots, write_dataset
from gazeseg.record.config import RecordConfig
from gazeseg.record.server import Bound, bind
from gazeseg.record.study import Study
from gazeseg.types import UInt8Array

SIZE = (240, 320)


def draw_shape(index: int, size: tuple[int, int] = SIZE) -> tuple[UInt8Array, UInt8Array]:
    """An ellipse on tissue-like noise: image (H, W, 3), mask (H, W) of 0 and 255; the same index, the same picture."""
    rng = np.random.default_rng([7, index])
    height, width = size
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0.35, 0.65) * height, rng.uniform(0.35, 0.65) * width
    a, b = rng.uniform(0.17, 0.26) * height, rng.uniform(0.13, 0.2) * width
    inside = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 <= 1
    texture = 10 * gaussian_filter(rng.normal(size=size), 6) / 0.05 + rng.normal(0, 3, size)
    soft = gaussian_filter(inside.astype(float), 1.5)[..., None]
    colour = np.array([120, 62, 52]) * (1 - soft) + np.array([205, 148, 128]) * soft
    image = np.clip(colour + 0.25 * texture[..., None], 0, 255).astype(np.uint8)
    return image, inside.astype(np.uint8) * 255


def make_shapes(root: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """A data set ``root/ds`` of ``count`` shapes, without gaze."""
    cases = []
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        image, mask = draw_shape(index, size)
        name = f"case{index:02d}"
        paths = root / "images" / f"{name}.png", root / "masks" / f"{name}.png"
        Image.fromarray(image).save(paths[0])
        Image.fromarray(mask).save(paths[1])
        cases.append(Case(name, name, "train", *paths, *size))
    info = DatasetInfo(name="generated shapes", roots=Roots(images=root / "images", masks=root / "masks"))
    write_dataset(root / "ds", info, cases, [])
    return root / "ds"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Four shapes."""
    return make_shapes(tmp_path / "shapes", 4)


@dataclass
class Recorder:
    """A running ``gazeseg record`` or ``gazeseg review``."""

    process: subprocess.Popen[str] | None  # None: a thread of the test
    url: str  # with the token
    port: int
    token: str

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> HTTPResponse:
        """GET with the token as a device sends it."""
        wanted = {"Authorization": f"Bearer {self.token}", **headers}
        request = urllib.request.Request(self.origin + path, headers=wanted)  # noqa: S310 -- our own address
        return urllib.request.urlopen(request, timeout=10)  # noqa: S310

    def socket(self, path: str) -> ClientConnection:
        """A WebSocket as a device opens it."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, max_size=None).__enter__()

    def kill(self) -> None:
        """Without a chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start(*arguments: str) -> Recorder:
    """Start a verb that serves and wait for the address it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gazeseg", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
        if found:
            return Recorder(process, found[0], int(found[1]), found[2])
    raise AssertionError(f"no address printed: {''.join(lines)}")


@pytest.fixture
def live() -> Iterator[Callable[[FastAPI], Recorder]]:
    """Serve applications in threads: the real server and real sockets, without the time that a process takes."""
    running: list[tuple[Bound, threading.Thread]] = []

    def run(app: FastAPI) -> Recorder:
        bound = bind(app)
        thread = threading.Thread(target=bound.run, daemon=True)
        thread.start()
        running.append((bound, thread))
        return Recorder(None, bound.url, bound.port, bound.token)

    yield run
    for bound, thread in running:
        bound.server.should_exit = True
        thread.join(10)


def study(data: Path, *readers: str, **keys: Any) -> Study:
    """Open a data set for recording with a protocol that differs from the default in ``keys``."""
    return Study.open(Dataset.load(data), RecordConfig(**keys), readers or ("anna",))


@pytest.fixture
def serve() -> Iterator[Callable[..., Recorder]]:
    """Start verbs that are stopped at the end of the test."""
    running: list[Recorder] = []

    def run(*arguments: str) -> Recorder:
        running.append(start(*arguments))
        return running[-1]

    yield run
    for recorder in running:
        if recorder.process is not None and recorder.process.poll() is None:
            recorder.process.terminate()
            try:
                recorder.process.wait(10)
            except subprocess.TimeoutExpired:
                recorder.kill()
