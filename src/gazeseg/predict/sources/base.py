"""What a reader hands on: the frames of one source as the network wants them, and where they lie in space."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError
from gazeseg.types import FloatArray, UInt8Array

if TYPE_CHECKING:  # an extra
    from pydicom import Dataset

Kind = Literal["image", "nifti", "dicom"]
Scalar = TypeVar("Scalar", bound=np.generic)


class UnfitError(DataError):
    """A source that the chosen format cannot hold; the message says why, not what to do."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a stack of frames (N, H, W) is stored as a volume (X, Y, Z), and where that lies.

    Attributes:
        affine: (4, 4) from stored voxel index (x, y, z) to mm, in NIfTI's frame: right, front, head.
        swapped: False where stored x runs along the rows of a frame, True where it runs down its columns.
        flip_h: True where stored voxels run right to left in a frame.
        flip_v: True where stored voxels run bottom to top in a frame.
        shape: Stored shape, where it is to be kept: a plane has two axes, or three with one slice.
        header: The NIfTI header that describes the stored volume, if it came from one.
    """

    affine: FloatArray
    swapped: bool = False
    flip_h: bool = False
    flip_v: bool = False
    shape: tuple[int, ...] | None = None
    header: Any = None

    def frames(self, volume: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return (N, H, W) as a person would look at them, from (X, Y, Z)."""
        stack = volume.transpose(2, 0, 1) if self.swapped else volume.transpose(2, 1, 0)
        return self._flipped(stack)

    def volume(self, frames: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return the stored volume of frames (N, H, W): the inverse of :meth:`frames`."""
        stack = self._flipped(frames)
        volume = stack.transpose(1, 2, 0) if self.swapped else stack.transpose(2, 1, 0)
        return volume if self.shape is None else volume.reshape(self.shape)

    def _flipped(self, stack: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        axes = tuple(axis for axis, turned in ((1, self.flip_v), (2, self.flip_h)) if turned)
        return np.flip(stack, axes) if axes else stack


@dataclass(frozen=True, slots=True)
class DicomOrigin:
    """The DICOM objects that frames came from, without pixels, for what refers to them."""

    headers: tuple[Dataset, ...]  # one an image, or one multi-frame object
    order: tuple[int, ...]  # frame k of the stack is frame ``order[k]`` of a multi-frame object
    spacing_mm: tuple[float, float, float] | None  # between slices, y, x


@dataclass(frozen=True, slots=True)
class Frames:
    """The content of one source."""

    images: tuple[UInt8Array, ...]  # (H, W, 1) or (H, W, 3)
    names: tuple[str, ...]  # one a frame, for formats that keep one file a frame
    grid: Grid | None = None
    dicom: DicomOrigin | None = None
    notes: tuple[str, ...] = ()  # what the reader had to decide
    no_grid: str = ""  # why a DICOM source has no grid


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """One thing to segment, which becomes one mask: an image, a volume or a series.

    Attributes:
        path: The file, or the folder of a series; opens every message about it.
        name: Where its mask goes below the output folder, without an ending.
        full_name: A longer name, for two sources that share the short one.
    """

    kind: ClassVar[Kind]

    path: Path
    name: PurePosixPath
    full_name: PurePosixPath

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files that it is made of."""
        return (self.path,)

    def stamp(self) -> str:
        """Return a short text that changes when a file of the source is replaced: by sizes and times, not content."""
        states = [(path.name, state.st_size, state.st_mtime_ns) for path in self.parts if (state := path.stat())]
        return hashlib.sha256(repr(states).encode()).hexdigest()[:16]

    @abstractmethod
    def read(self) -> Frames:
        """Decode every frame.

        Raises:
            DataError: if the source is broken, or its geometry contradicts itself.
            MissingDependencyError: without the package that reads it.
        """


def stem_of(relative: Path, suffix: str) -> PurePosixPath:
    """Return a relative path without ``suffix`` (``.nii.gz`` counts as one)."""
    pure = PurePosixPath(relative.as_posix())
    return pure.with_name(pure.name[: -len(suffix)]) if suffix and len(suffix) < len(pure.name) else pure
