"""Reference client of the recorder's gaze protocol: sends a look that circles over the display.

Start ``gazeseg record DS --source websocket``, then this with the address that it printed::

    python examples/gaze_client.py 'http://127.0.0.1:PORT/?token=...'

Replace ``samples()`` by what your tracker says. Needs ``pip install websockets numpy`` and nothing of gazeseg.
"""

import json
import math
import struct
import sys
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.sync.client import connect

RATE_HZ = 120
BATCH = 6  # samples: a message every 50 ms


def samples() -> Iterator[tuple[float, float, float, float]]:
    """Yield time_ms, x, y in px of the display (NaN where the eye is lost) and the pupil, forever."""
    start = time.monotonic()
    while True:
        now = time.monotonic()
        angle = (now - start) * 2 * math.pi / 5
        yield 1e3 * now, 960 + 200 * math.cos(angle), 540 + 150 * math.sin(angle), 3.5
        time.sleep(1 / RATE_HZ)


def main(address: str, reader: int = 0) -> None:
    """Send batches in the binary form and check that each is acknowledged."""
    parts = urlsplit(address)
    token = parse_qs(parts.query)["token"][0]
    url = f"ws://{parts.netloc}/ws/gaze/{reader}"
    with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as socket:
        batch = []
        seq = 0
        for sample in samples():
            batch.append(sample)
            if len(batch) < BATCH:
                continue
            socket.send(struct.pack("<4sII", b"GZ01", seq, len(batch)) + np.array(batch, "<f8").tobytes())
            answer = json.loads(socket.recv())
            if answer["type"] == "error":
                sys.exit(answer["message"])
            print(f"\rbatch {answer['seq']}: {answer['stored']} of {answer['received']} samples in a viewing", end="")
            batch, seq = [], seq + 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
