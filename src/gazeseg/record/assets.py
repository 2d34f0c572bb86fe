"""The built front end: every file is read at the start, so that no name from outside ever reaches the file system."""

from __future__ import annotations

from importlib import resources
from typing import Final

from gazeseg.errors import DataError

_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


def load_assets() -> dict[str, tuple[bytes, str]]:
    """Return (content, media type) by URL path.

    Raises:
        DataError: if the installation lacks the built files.
    """
    folder = resources.files("gazeseg") / "web" / "static"
    found: dict[str, tuple[bytes, str]] = {}
    if folder.is_dir():
        for file in folder.iterdir():
            kind = _KINDS.get(file.name.rpartition(".")[2])
            if kind is not None:
                found["/" if file.name == "index.html" else f"/{file.name}"] = (file.read_bytes(), kind)
    if "/" not in found:
        raise DataError("the built pages are missing from this installation; install gazeseg again")
    return found
