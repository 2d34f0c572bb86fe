"""Print the speed ledger: each hot stage, the published way and ours in the same run.

Usage: python benchmarks/speed.py [--json FILE] [--only NAME]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> int:
    """Run every module of ``stages`` and print its rows; exit 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--only", help="one stage module, e.g. crf")
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"  # ratios are stated single-threaded; set before the stages load NumPy and torch
    names = sorted(path.stem for path in (HERE / "stages").glob("*.py"))
    if arguments.only and arguments.only not in names:
        parser.error(f"no stage '{arguments.only}'; known: {', '.join(names)}")
    rows = []
    print(f"{'stage':<44}{'published':>12}{'ours':>10}{'ratio':>8}  {'goal':<30}error")
    for name in [arguments.only] if arguments.only else names:
        for row in importlib.import_module(f"stages.{name}").rows():
            mark = "" if row.met else "   MISSED"
            print(
                f"{row.stage:<44}{row.published_ms:>9.2f} ms{row.ours_ms:>7.2f} ms{row.ratio:>7.1f}x  "
                f"{row.goal:<30}{row.error}{mark}",
                flush=True,
            )
            rows.append(
                {
                    "stage": row.stage,
                    "published_ms": row.published_ms,
                    "ours_ms": row.ours_ms,
                    "ratio": row.ratio,
                    "error": row.error,
                    "goal": row.goal,
                    "met": row.met,
                }
            )
    if arguments.json:
        document = {
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
