"""PNG, JPEG, TIFF and BMP: one picture, no place in space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gazeseg.data.images import read_image
from gazeseg.predict.sources.base import Frames, Kind, Source, stem_of


@dataclass(frozen=True, slots=True)
class ImageSource(Source):
    """One image file, read as :func:`gazeseg.data.images.read_image` does."""

    kind: ClassVar[Kind] = "image"

    @classmethod
    def at(cls, path: Path, base: Path) -> ImageSource:
        """Name the source after its place below ``base``."""
        relative = path.relative_to(base)
        return cls(path, stem_of(relative, relative.suffix), stem_of(relative, ""))

    def read(self) -> Frames:
        """Decode the image."""
        return Frames((read_image(self.path),), (self.name.name,))
