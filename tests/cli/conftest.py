"""A small folder of images, masks and gaze, as a lab would have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.cli import main


@dataclass(frozen=True)
class Lab:
    """Paths of the lab's files."""

    root: Path
    names = tuple(f"scan {k}é" for k in range(8))  # a space and a letter outside ASCII on purpose
    header = "case_id,reader_id,x,y,onset_ms,duration_ms"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def masks(self) -> Path:
        return self.root / "masks"

    @property
    def gaze(self) -> Path:
        return self.root / "gaze.csv"

    @property
    def splits(self) -> Path:
        return self.root / "splits"

    def write_gaze(self, rows: list[str], header: str = header) -> None:
        self.gaze.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")

    def import_arguments(self, out: Path) -> list[str]:
        return [
            *("import", "folder", "--images", str(self.images), "--masks", str(self.masks)),
            *("--gaze", str(self.gaze), "--splits", str(self.splits), "--out", str(out)),
        ]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Eight 40 x 48 images with a bright disc, looked at in its middle."""
    lab = Lab(tmp_path / "läb files")
    for folder in (lab.images, lab.masks, lab.splits):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    y, x = np.mgrid[:40, :48]
    for name in lab.names:
        cy, cx = rng.uniform(14, 26), rng.uniform(14, 34)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 81
        image = rng.integers(40, 80, (40, 48, 3)) + 120 * disc[..., None]
        Image.fromarray(image.astype(np.uint8)).save(lab.images / f"{name}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(lab.masks / f"{name}.png")
        rows += [f"{name},r1,{(cx + d) / 48:.4f},{(cy + d) / 40:.4f},{300 * i},250" for i, d in enumerate((-3, 0, 3))]
    lab.write_gaze(rows)
    (lab.splits / "train.txt").write_text("\n".join(lab.names[:6]), encoding="utf-8")
    (lab.splits / "test.txt").write_text("\n".join(lab.names[6:]), encoding="utf-8")
    return lab


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Run a command line that must end with status 2 and exactly one line on stderr; return that line."""

    def run(arguments: list[str]) -> str:
        capsys.readouterr()
        assert main(arguments) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gazeseg: ")]
        assert len(lines) == 1
        return lines[0]

    return run
