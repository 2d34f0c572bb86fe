"""Descriptions already made, so that a second run asks for nothing twice and a killed one goes on.

One file a (provider, model, prompt): ``DS/text/cache/<key>.jsonl``, a line an image: its hash and its description.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from gazeseg.errors import DataError
from gazeseg.text.schema import Description, Domain, read_description


class DescriptionCache:
    """Append-only; a line that a kill cut short is asked for again."""

    def __init__(self, folder: Path, *, provider: str, model: str, prompt_hash: str, domain: Domain) -> None:
        """Open or begin the cache of one way to describe."""
        key = hashlib.sha256(json.dumps([provider, model, prompt_hash, domain]).encode()).hexdigest()[:16]
        self.path = folder / f"{provider}-{key}.jsonl"
        self._lock = threading.Lock()
        self._known: dict[str, Description | None] = {}
        self._cut = False  # the last line has no end
        if self.path.is_file():
            content = self.path.read_text(encoding="utf-8", errors="replace")
            self._cut = bool(content) and not content.endswith("\n")
            for line in content.split("\n"):
                try:
                    row: dict[str, Any] = json.loads(line)
                    values = row["description"]
                    self._known[row["image_hash"]] = (
                        None if values is None else read_description(values, domain, str(self.path))
                    )
                except (json.JSONDecodeError, KeyError, TypeError, DataError):
                    continue  # cut short, or of another vocabulary: made again

    def __contains__(self, image_hash: str) -> bool:
        return image_hash in self._known

    def __getitem__(self, image_hash: str) -> Description | None:
        return self._known[image_hash]

    def add(self, image_hash: str, description: Description | None) -> None:
        """Keep a description; it is on disk when this returns.

        Raises:
            DataError: if it cannot be written.
        """
        values = None if description is None else description.model_dump(mode="json")
        line = json.dumps({"image_hash": image_hash, "description": values}, ensure_ascii=False)
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as stream:
                    stream.write(f"\n{line}\n" if self._cut else f"{line}\n")
            except OSError as error:
                raise DataError(
                    f"{self.path}: cannot be written ({error.strerror or error}); free some space, or name another "
                    "folder with --out"
                ) from None
            self._cut = False
            self._known[image_hash] = description
