"""Load on the recorder: 1000 Hz from one device for ten minutes, and four readers at 120 Hz at once.

    python benchmarks/record_load.py                      # ten minutes of 1000 Hz, then one minute of four readers
    python benchmarks/record_load.py --seconds 60         # shorter

The server is the real one in a process of its own, the clients are real WebSockets. Every acknowledged batch is timed
from sending to its answer; afterwards the sample files are read back and every sample is looked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect

from gazeseg.data.dataset import Case, DatasetInfo, Roots, write_dataset
from gazeseg.record.messages import encode_binary
from gazeseg.record.store import read_samples

GOAL_MS = 50.0
BATCH_S = 0.02


def make_data(root: Path) -> Path:
    (root / "images").mkdir()
    path = root / "images" / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)).save(path)
    info = DatasetInfo(name="load", roots=Roots(images=root / "images"))
    write_dataset(root / "ds", info, [Case("a", "a", "train", path, None, 480, 640)], [])
    return root / "ds"


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(await socket.recv())
        if message["type"] == kind:
            return message


async def stream(url: str, headers: dict[str, str], reader: int, hz: float, seconds: float) -> tuple[list[float], int]:
    """Send gaze at a rate to a reader who looks at an image; latencies in ms of every batch, and samples sent."""
    async with (
        connect(f"{url}/ws/page/{reader}", additional_headers=headers, proxy=None) as page,
        connect(f"{url}/ws/gaze/{reader}", additional_headers=headers, proxy=None) as device,
    ):
        size = {"width": 1000, "height": 800, "screen_width": 1000, "screen_height": 800}
        await page.send(json.dumps({"type": "hello", "t": 1e3 * time.monotonic() - 5e3, **size}))
        await until(page, "state")
        await page.send(json.dumps({"type": "begin", "t": 1e3 * time.monotonic() - 1e5}))
        await until(page, "state")
        listening = asyncio.create_task(_ignore(page))
        start, sent, latencies = time.monotonic(), 0, []
        count = int(hz * seconds)
        seq = 0
        while sent < count:
            await asyncio.sleep(max(0.0, start + (seq + 1) * BATCH_S - time.monotonic()))
            due = min(int((time.monotonic() - start) * hz), count, sent + 4000)
            if due <= sent:
                continue
            t = 1e3 * start + np.arange(sent, due) * 1e3 / hz
            batch = np.stack(
                [t, np.arange(sent, due, dtype=float), np.full(due - sent, 5.0), np.full(due - sent, 3.0)], 1
            )
            began = time.perf_counter()
            await device.send(encode_binary(seq, batch))
            answer = json.loads(await device.recv())
            latencies.append(1e3 * (time.perf_counter() - began))
            if answer["type"] != "ack" or answer["stored"] != len(batch):
                raise SystemExit(f"lost: {answer}")
            sent, seq = due, seq + 1
        listening.cancel()
        return latencies, sent


async def _ignore(page: ClientConnection) -> None:
    async for _ in page:
        pass


def check(data: Path, reader: str, sent: int) -> None:
    samples = read_samples(next((data / "record" / reader / "samples").glob("*.csv")))
    if not np.array_equal(samples[:, 1], np.arange(sent)):
        raise SystemExit(f"{reader}: {len(samples)} samples on the disk, {sent} sent")


def measure(readers: int, hz: float, seconds: float) -> bool:
    names = [f"r{k}" for k in range(readers)]
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        words = ["record", str(data), "--source", "websocket", "--reader", *names]
        command = [sys.executable, "-m", "gazeseg", *words]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 -- our own command
        try:
            found = re.search(r"http://([\d.:]+)/\?token=(\S+)", server.stdout.readline() if server.stdout else "")
            if found is None:
                raise SystemExit("the recorder did not start")
            time.sleep(5)  # the server compiles its preview once, behind the scenes
            headers = {"Authorization": f"Bearer {found[2]}"}

            async def run() -> list[tuple[list[float], int]]:
                url = f"ws://{found[1]}"
                return await asyncio.gather(*(stream(url, headers, k, hz, seconds) for k in range(readers)))

            results = asyncio.run(run())
            for name, (_, sent) in zip(names, results, strict=True):
                check(data, name, sent)
        finally:
            server.terminate()
            server.wait()
    latencies = np.concatenate([latency for latency, _ in results])
    p50, p99 = np.percentile(latencies, [50, 99])
    total = sum(sent for _, sent in results)
    print(
        f"{readers} x {hz:g} Hz, {seconds:g} s: {total} samples, none lost; acknowledged after p50 {p50:.1f} ms, p99 "
        f"{p99:.1f} ms, worst {latencies.max():.1f} ms ({len(latencies)} batches; goal p99 < {GOAL_MS:g} ms)"
    )
    return bool(p99 < GOAL_MS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the 1000 Hz stream; four readers: at most 60")
    asked = parser.parse_args()
    passed = [measure(1, 1000, asked.seconds), measure(4, 120, min(asked.seconds, 60))]
    sys.exit(not all(passed))
