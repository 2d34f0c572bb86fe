"""EyeLink .asc: line by line in Python against block by block, ten minutes at 1000 Hz; see main() for two hours."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from ledger import Row, time_pair

from gazeseg.gaze.io.eyelink import read
from gazeseg.gaze.io.trial import ReadOptions

TRIAL = 30_000  # samples: half a minute an image
GOAL = 5.0
LIMITS = (60.0, 2.0)  # s, GB: two hours at 1000 Hz


def write(path: Path, samples: int) -> Path:
    rng = np.random.default_rng(0)
    clock = 2000
    with path.open("w") as stream:
        stream.write("** CONVERTED FROM a.edf\nMSG\t1000 DISPLAY_COORDS 0 0 1919 1079\n")
        for k in range(samples // TRIAL):
            stream.write(f"MSG\t{clock} TRIALID case{k:04d}\nSTART\t{clock + 1} \tRIGHT\tSAMPLES\tEVENTS\n")
            stream.write("SAMPLES\tGAZE\tRIGHT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2\n")
            x, y = 960 + 200 * np.sign(np.sin(np.arange(TRIAL) / 300)) + rng.normal(size=(2, TRIAL))
            rows = enumerate(zip(x.tolist(), y.tolist(), strict=True), clock + 1)
            stream.writelines(f"{t}\t  {a:6.1f}\t  {b:6.1f}\t 1130.0\t...\n" for t, (a, b) in rows)
            clock += TRIAL + 10
            stream.write(f"END\t{clock} \tSAMPLES\tEVENTS\nMSG\t{clock + 1} TRIAL_RESULT 0\n")
            clock += 500
    return path


def line_by_line(path: Path) -> np.ndarray:
    """The plain way: split every line, convert every number."""
    rows = []
    with path.open() as stream:
        for line in stream:
            if line[0].isdigit():
                words = line.split()
                rows.append([float("nan") if word == "." else float(word) for word in words[:4]])
    return np.array(rows)


def _read(path: Path) -> np.ndarray:
    options = ReadOptions(lambda name: name if name.startswith("case") else None)
    return np.concatenate([trial.samples.x for trial in read(path, options).trials])


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.asc", 600_000)
        slow, fast = time_pair(partial(line_by_line, path), partial(_read, path), inner=1)
        same = np.array_equal(line_by_line(path)[:, 1], _read(path))
    met = slow >= GOAL * fast and same
    name = "EyeLink .asc, 10 min at 1000 Hz"
    return [Row(name, slow, fast, "equal" if same else "differs", f">= {GOAL:g}x, equal", met)]


def main() -> int:
    """Read two hours at 1000 Hz and hold time and memory to their limits."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "two_hours.asc", 7_200_000)
        start, cpu = time.perf_counter(), time.process_time()
        samples = len(_read(path))
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{samples:,} samples: {wall:.1f} s ({cpu:.1f} s of one core), {memory:.2f} GB at most")
    return int(wall > LIMITS[0] or memory > LIMITS[1])


if __name__ == "__main__":
    sys.exit(main())
