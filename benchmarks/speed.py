"""Print the speed ledger: each hot stage, the published way and ours in the same run.

Usage: python benchmarks/speed.py [--json FILE] [--only NAME]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> int:
    """Print the rows of one stage module or of all; exit 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--only", help="one stage module, e.g. crf")
    arguments = parser.parse_args()
    names = sorted(path.stem for path in (HERE / "stages").glob("*.py"))
    if arguments.only and arguments.only not in names:
        parser.error(f"no stage '{arguments.only}'; known: {', '.join(names)}")
    if arguments.only:
        rows = run_stage(arguments.only)
    else:
        print(f"{'stage':<46}{'published':>12}{'ours':>12}{'ratio':>8}  {'goal':<30}error", flush=True)
        rows = [row for name in names for row in run_apart(name)]
    if arguments.json:
        machine = platform.processor() or platform.machine()
        document = {"machine": machine, "python": platform.python_version(), "rows": rows}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in rows) else 1


def run_stage(name: str) -> list[dict[str, object]]:
    """Time one stage in this process, print its rows and return them."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"  # ratios are stated single-threaded; set before the stage loads NumPy and torch
    rows: list[dict[str, object]] = []
    for row in importlib.import_module(f"stages.{name}").rows():
        mark = "" if row.met else "   MISSED"
        print(
            f"{row.stage:<46}{row.published_ms:>9.2f} ms{row.ours_ms:>9.2f} ms{row.ratio:>7.1f}x  "
            f"{row.goal:<30}{row.error}{mark}",
            flush=True,
        )
        rows.append({**dataclasses.asdict(row), "ratio": row.ratio, "met": bool(row.met)})  # a NumPy bool is no JSON
    return rows


def run_apart(name: str) -> list[dict[str, object]]:
    """Time one stage in a process of its own: what one leaves in memory must not change the page faults of the next."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / "speed.py"), "--only", name, "--json", str(file)]
        subprocess.run(command, check=False)  # noqa: S603 -- ourselves; status 1 is a missed goal
        if not file.is_file():
            raise SystemExit(f"stage {name} failed, see above")
        return list(json.loads(file.read_text(encoding="utf-8"))["rows"])


if __name__ == "__main__":
    raise SystemExit(main())
