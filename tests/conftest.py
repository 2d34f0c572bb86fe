"""Fixtures for every test: where the real data and the published values lie, when they are there."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch loads: parallel test processes share few cores

SHARED = Path(os.environ.get("GAZESEG_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set GAZESEG_SHARED to the folder that holds {name}/")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets."""
    return _folder("data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of values computed with the published code."""
    return _folder("golden")
