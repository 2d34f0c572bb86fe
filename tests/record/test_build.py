"""The committed pages are those that the sources make."""

import hashlib
from importlib import resources
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"
FIXED = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.mjs")


def test_the_committed_build_is_that_of_the_sources() -> None:
    if not WEB.is_dir():
        pytest.skip("the sources of the pages are not in this installation")
    names = sorted([*FIXED, *(f"src/{file.name}" for file in (WEB / "src").iterdir())])
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (WEB / name).read_bytes() + b"\0")
    built = (resources.files("gazeseg") / "web" / "static" / "sources.sha256").read_text().strip()
    assert built == digest.hexdigest(), "build again: cd web && npm ci && npm run build"
