"""What the page and gaze devices may send, and nothing else: bounded, typed, refused as a whole if it does not fit.

``docs/record.md`` documents the protocol of devices for those who write a client.
"""

from __future__ import annotations

import math
import struct
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from gazeseg.config import Section
from gazeseg.errors import DataError
from gazeseg.types import FloatArray

MAX_BATCH: Final = 5000
"""Samples in one message: 5 s at 1000 Hz, so that a client that waited can catch up."""

BINARY_MAGIC: Final = b"GZ01"
_HEADER: Final = struct.Struct("<4sII")  # magic, sequence number, samples
_WIDTH: Final = 4  # time_ms, x, y, pupil


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be finite")
    return value


Number = Annotated[float, AfterValidator(_finite)]
Column = Annotated[list[float | None], Field(max_length=MAX_BATCH)]


class Hello(Section):
    """The first message of a page: the display as the browser sees it, CSS px."""

    type: Literal["hello"]
    t: Number
    width: int = Field(gt=0, le=100_000)
    height: int = Field(gt=0, le=100_000)
    screen_width: int = Field(gt=0, le=100_000)
    screen_height: int = Field(gt=0, le=100_000)
    left: Number = 0.0
    top: Number = 0.0
    scale: float = Field(1.0, gt=0.05, lt=20)


class Step(Section):
    """A key that the reader pressed."""

    type: Literal["begin", "scan", "finish", "accept", "redo", "undo", "pause", "resume", "revisit", "targets"]
    t: Number


class Skip(Section):
    """Leave an image out."""

    type: Literal["skip"]
    t: Number
    reason: str = Field("", max_length=500)


class View(Section):
    """Where the image lies on the page from ``t`` on."""

    type: Literal["view"]
    t: Number
    left: Number
    top: Number
    zoom: float = Field(gt=1e-3, lt=1e3)


class PointerSamples(Section):
    """The pointer as gaze, px of the page; null is a pointer that left it."""

    type: Literal["samples"]
    seq: int = Field(ge=0)
    t_ms: Column
    x_px: Column
    y_px: Column


class TargetShown(Section):
    """A calibration target that was on the page, and while it counted."""

    type: Literal["target"]
    t: Number
    x: Number
    y: Number
    from_ms: Number
    to_ms: Number


class TargetsDone(Section):
    """All targets were shown."""

    type: Literal["targets_done"]
    t: Number
    purpose: Literal["calibration", "validation"]


PageMessage = Hello | Step | Skip | View | PointerSamples | TargetShown | TargetsDone
_PAGE: Final[TypeAdapter[PageMessage]] = TypeAdapter(Annotated[PageMessage, Field(discriminator="type")])


class DeviceSamples(Section):
    """A batch of a device in JSON."""

    seq: int = Field(ge=0)
    t_ms: Column
    x: Column
    y: Column
    pupil: Column | None = None


def parse_page(text: str) -> PageMessage:
    """Read a message of the page.

    Raises:
        DataError: saying what does not fit.
    """
    try:
        return _PAGE.validate_json(text)
    except ValidationError as error:
        raise DataError(f"message refused: {_first(error)}") from None


def parse_device(message: str | bytes) -> tuple[int, FloatArray]:
    """Read a batch of a device: JSON text, or the binary form.

    Returns:
        Its sequence number, and samples (N, 4) of time_ms, x, y, pupil; NaN = lost.

    Raises:
        DataError: saying what does not fit.
    """
    if isinstance(message, bytes):
        return _parse_binary(message)
    try:
        batch = DeviceSamples.model_validate_json(message)
    except ValidationError as error:
        raise DataError(f"batch refused: {_first(error)}") from None
    return batch.seq, columns(batch.t_ms, batch.x, batch.y, batch.pupil)


def encode_binary(seq: int, samples: FloatArray) -> bytes:
    """Return the binary form of samples (N, 4): what a client sends."""
    return _HEADER.pack(BINARY_MAGIC, seq, len(samples)) + np.ascontiguousarray(samples, "<f8").tobytes()


def columns(*values: list[float | None] | None) -> FloatArray:
    """(N, 4) samples of the columns time_ms, x, y and, where there is one, pupil; null becomes NaN.

    Raises:
        DataError: if columns differ in length, or a time is null.
    """
    time_ms = values[0] or []
    out = np.full((len(time_ms), _WIDTH), np.nan)
    for index, column in enumerate(values):
        if column is None:
            continue
        if len(column) != len(time_ms):
            raise DataError(f"batch refused: {len(time_ms)} times, but a column of {len(column)}; send equal lengths")
        out[:, index] = np.array(column, dtype=np.float64)  # None becomes NaN
    return _checked(out)


def _parse_binary(message: bytes) -> tuple[int, FloatArray]:
    if len(message) < _HEADER.size:
        raise DataError(f"batch refused: {len(message)} bytes, a header takes {_HEADER.size}")
    magic, seq, count = _HEADER.unpack_from(message)
    expected = _HEADER.size + count * _WIDTH * 8
    if magic != BINARY_MAGIC or len(message) != expected or count > MAX_BATCH:
        raise DataError(
            f"batch refused: {len(message)} bytes beginning {magic!r} with {count} samples; expected {BINARY_MAGIC!r}, "
            f"{expected} bytes and at most {MAX_BATCH} samples"
        )
    values = np.frombuffer(message, "<f8", offset=_HEADER.size).astype(np.float64)
    return seq, _checked(values.reshape(-1, _WIDTH))


def _checked(samples: FloatArray) -> FloatArray:
    """Refuse samples without a time; a position that is not there at all is not there in part."""
    if not np.isfinite(samples[:, 0]).all():
        raise DataError("batch refused: a sample without a finite time")
    lost = ~np.isfinite(samples[:, 1:3]).all(axis=1)
    samples[lost, 1:3] = np.nan
    return samples


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
