"""Decode once: the training data as memory-mapped uint8 arrays at network size.

One file a field, ``<field>-<key>.npy``, where the key is a hash of everything that decides the content (case ids, the
size and time of every source file, network size, pseudo-mask configuration). So methods that need different fields
share the decoded images, a second run decodes nothing, and a changed file, size or configuration simply has another
name. The folder can be deleted at any time.

A file is an ordinary ``.npy`` followed by one CRC-32 a case. It is written under a temporary name and renamed when
whole; on opening, length, header and checksums must fit, otherwise it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gazeseg.config import GazeConfig, SoftSource
from gazeseg.console import track
from gazeseg.data.controls import behind_maps, controlled
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.errors import DataError, suggest
from gazeseg.gaze.control import changes_maps
from gazeseg.supervision.levels import nested_levels
from gazeseg.types import IGNORE, Fixations, Float32Array, UInt8Array

SOFT: Final[tuple[SoftSource, ...]] = ("heatmap", "crf", "prompt")
FIELDS: Final = ("mask", *SOFT, "levels")
FORMAT: Final = 1  # part of every key: raise it when the same sources would give other bytes
STALE_S: Final = 24 * 3600  # a temporary file this old belongs to a run that was killed

_Decode = Callable[[Case], UInt8Array]


@dataclass(frozen=True, slots=True)
class Store:
    """Cases at network size (h, w); N cases, C channels, L thresholds. A field that was not asked for is ``None``."""

    cases: tuple[Case, ...]
    size: tuple[int, int]  # (h, w)
    num_classes: int
    image: UInt8Array  # (N, h, w, C), as are the others a read-only memory map
    mask: UInt8Array | None  # (N, h, w) class index; 255 throughout for a case without a mask
    heatmap: UInt8Array | None  # (N, h, w) round(255 * value)
    crf: UInt8Array | None  # (N, h, w) round(255 * value)
    levels: UInt8Array | None  # (N, L, h, w) 0 or 1, thresholded at native size
    fixations: tuple[Fixations, ...]  # (N,) in pixels of the original images: those behind heatmap, crf and levels
    prompt: UInt8Array | None = None  # (N, h, w) round(255 * value)
    tracks: tuple[Fixations, ...] | None = None  # (N,) of Batch.track where a control changes it alone; None: the same

    @property
    def ids(self) -> tuple[str, ...]:
        """Case ids in the order of the arrays."""
        return tuple(case.case_id for case in self.cases)

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3."""
        return int(self.image.shape[3])

    def __len__(self) -> int:
        return len(self.cases)


def open_store(
    dataset: Dataset,
    cases: Sequence[Case],
    *,
    size: tuple[int, int],
    fields: Iterable[str] = (),
    pseudo: Path | None = None,
    thresholds: tuple[float, ...] | None = None,
    source: SoftSource = "crf",
    gaze: GazeConfig | None = None,
    cache_dir: Path,
    jobs: int | None = None,
) -> Store:
    """Open the decoded arrays of ``cases``, making first what is not there yet.

    Mask files are looked at only if ``fields`` has ``mask``. Images are resized bilinearly with antialiasing, soft maps
    bilinearly without, masks and levels to the nearest neighbour.

    Args:
        dataset: Where images, masks and fixations come from.
        cases: Which cases, in this order.
        size: (h, w) of the network input.
        fields: Beyond the image: ``mask``, ``heatmap``, ``crf``, ``prompt``, ``levels``.
        pseudo: The pseudo-mask folder; needed for all but ``mask``.
        thresholds: Levels to cut at native size; None: those of the pseudo-mask folder. Only for ``levels``.
        source: Which soft map the ``levels`` are cut from.
        gaze: The control that the fixations are under; that of ``pseudo`` must be the same. None: no control.
        cache_dir: Where the arrays are kept; made if missing.
        jobs: Decoding threads (the codecs release the interpreter lock); None: one a core.

    Raises:
        DataError: if a source file is missing or broken, or the cache cannot be written.
    """
    wanted = _checked_fields(fields, cases, dataset, pseudo)
    folder = PseudoFolder.load(pseudo) if pseudo is not None and wanted & {*SOFT, "levels"} else None
    if thresholds is None and folder is not None:
        thresholds = folder.thresholds
    plans = [_image_plan(dataset, cases, size)]
    if "mask" in wanted:
        plans.append(_mask_plan(dataset, cases, size))
    if folder is not None:
        plans.extend(_map_plan(folder, cases, size, kind) for kind in SOFT if kind in wanted)
        if "levels" in wanted:
            plans.append(_levels_plan(folder, cases, size, thresholds or (), source))

    arrays = {plan.field: _open_array(cache_dir / plan.file_name, plan.shape) for plan in plans}
    missing = [plan for plan in plans if arrays[plan.field] is None]
    if missing:
        try:
            _build(missing, cases, cache_dir, jobs or os.cpu_count() or 1)
        except OSError as error:
            raise DataError(
                f"{cache_dir}: the cache cannot be written ({error.strerror or error}); "
                "choose a writable folder with room: --data.cache DIR"
            ) from None
        for plan in missing:
            arrays[plan.field] = _open_array(cache_dir / plan.file_name, plan.shape)
            if arrays[plan.field] is None:
                raise DataError(
                    f"{cache_dir / plan.file_name}: what was just written does not read back; "
                    "check the disk or choose another folder: --data.cache DIR"
                )
    seen, tracked = dataset, None
    if gaze is not None and gaze.control != "none":
        seen, tracked = behind_maps(dataset, gaze), controlled(dataset, gaze)
    image = arrays["image"]
    assert image is not None  # noqa: S101 -- for the type checker; its plan is always there
    return Store(
        cases=tuple(cases),
        size=size,
        num_classes=dataset.num_classes,
        image=image,
        mask=arrays.get("mask"),
        heatmap=arrays.get("heatmap"),
        crf=arrays.get("crf"),
        prompt=arrays.get("prompt"),
        levels=arrays.get("levels"),
        fixations=tuple(seen.fixations[case.case_id] for case in cases),
        tracks=tuple(tracked.fixations[case.case_id] for case in cases) if tracked else None,
    )


def resize_image(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize uint8 (H, W, C) to (h, w, C): Pillow's bilinear filter, widened when shrinking so that nothing aliases.

    Training and prediction both call this. Above a factor of six a box filter goes first (``reducing_gap``), which is
    as good to the eye and several times faster on photographs.
    """
    if image.shape[:2] == tuple(size):
        return image
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    small = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small).reshape(*size, image.shape[2])


def resize_map(values: Float32Array, size: tuple[int, int]) -> Float32Array:
    """Resize float (H, W) to (h, w) bilinearly, pixel centres at integers + 0.5, edges repeated, no antialiasing.

    The same as ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)``.
    """
    out = values
    for axis, length in enumerate(size):
        old = out.shape[axis]
        if old == length:
            continue
        position = np.clip((np.arange(length) + 0.5) * (old / length) - 0.5, 0, old - 1)
        low = position.astype(np.intp)
        high = np.minimum(low + 1, old - 1)
        weight = (position - low).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        below = out.take(low, axis=axis)
        out = below + weight * (out.take(high, axis=axis) - below)
    return out


def resize_labels(labels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize class indices (..., H, W) to (..., h, w): the pixel under each new pixel's centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp) for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[..., rows[:, None], columns[None, :]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """One array of the cache: its name, its shape and how to make a row of it."""

    field: str
    key: str
    shape: tuple[int, ...]
    decode: _Decode

    @property
    def file_name(self) -> str:
        return f"{self.field}-{self.key}.npy"


def _checked_fields(
    fields: Iterable[str], cases: Sequence[Case], dataset: Dataset, pseudo: Path | None
) -> frozenset[str]:
    wanted = frozenset(fields)
    for unknown in sorted(wanted - set(FIELDS)):
        raise DataError(f"the cache has no field '{unknown}'{suggest(unknown, FIELDS)}")
    if not cases:
        raise DataError(f"{dataset.root}: no case to read; check the splits with: gazeseg check {dataset.root}")
    if "mask" in wanted and all(case.mask is None for case in cases):
        raise DataError(f"{dataset.root}: masks are needed but no case has one; import the data set with --masks DIR")
    if pseudo is None and wanted - {"mask"}:
        raise DataError(
            f"{dataset.root}: {', '.join(sorted(wanted - {'mask'}))} needs a pseudo-mask folder; "
            f"make one with: gazeseg masks {dataset.root}"
        )
    return wanted


def _image_plan(dataset: Dataset, cases: Sequence[Case], size: tuple[int, int]) -> _Plan:
    channels = dataset.info.channels
    key = _key("image", cases, [case.image for case in cases], size, channels)
    shape = (len(cases), *size, channels)
    return _Plan("image", key, shape, lambda case: resize_image(dataset.image(case), size))


def _mask_plan(dataset: Dataset, cases: Sequence[Case], size: tuple[int, int]) -> _Plan:
    def decode(case: Case) -> UInt8Array:
        if case.mask is None:
            return np.full(size, IGNORE, np.uint8)
        return resize_labels(dataset.mask(case), size)

    files = [case.mask for case in cases]
    key = _key("mask", cases, files, size, [dataset.num_classes, dataset.info.mask_encoding])
    return _Plan("mask", key, (len(cases), *size), decode)


def _map_plan(folder: PseudoFolder, cases: Sequence[Case], size: tuple[int, int], kind: SoftSource) -> _Plan:
    folder.require_soft(kind)

    def decode(case: Case) -> UInt8Array:
        small = resize_map(folder.soft(kind, case.case_id), size)
        levels: UInt8Array = np.rint(small * np.float32(255)).astype(np.uint8)
        return levels

    return _Plan(kind, _map_key(folder, cases, kind, kind, size), (len(cases), *size), decode)


def _levels_plan(
    folder: PseudoFolder,
    cases: Sequence[Case],
    size: tuple[int, int],
    thresholds: tuple[float, ...],
    source: SoftSource,
) -> _Plan:
    folder.require_soft(source)

    def decode(case: Case) -> UInt8Array:
        return resize_labels(nested_levels(folder.soft(source, case.case_id), thresholds).labels, size)

    key = _map_key(folder, cases, "levels", source, size, [source, list(thresholds)])
    return _Plan("levels", key, (len(cases), len(thresholds), *size), decode)


def _map_key(
    folder: PseudoFolder, cases: Sequence[Case], field: str, kind: str, size: tuple[int, int], extra: Any = None
) -> str:
    maps = folder.config.maps
    made_by = [maps.model_dump(mode="json", exclude=set(maps.inactive))]
    if kind == "crf":
        made_by.append(folder.config.crf.model_dump(mode="json"))
    if kind == "prompt":
        made_by.append(folder.config.prompt.model_dump(mode="json"))
    if changes_maps(folder.config.gaze):  # without a control nothing is added, so that older caches stay good
        made_by.append(folder.config.gaze.model_dump(mode="json"))
    return _key(field, cases, [folder.file(kind, case.case_id) for case in cases], size, [made_by, extra])


def _key(field: str, cases: Sequence[Case], files: Sequence[Path | None], size: tuple[int, int], extra: Any) -> str:
    """Hash what decides an array. Folder names stay out of it, so a data set that moves keeps its cache."""
    stats: list[Any] = []
    for case, file in zip(cases, files, strict=True):
        if file is None:
            stats.append(None)
            continue
        try:
            stat = file.stat()
        except OSError as error:
            mend = (
                "restore the file or remove the case" if field in ("image", "mask") else "run gazeseg masks once more"
            )
            raise DataError(
                f"{file}: the {field} of case '{case.case_id}' cannot be read ({error.strerror}); {mend}"
            ) from None
        stats.append([file.name, stat.st_size, stat.st_mtime_ns])
    document = json.dumps([FORMAT, field, [case.case_id for case in cases], stats, list(size), extra])
    return hashlib.sha256(document.encode()).hexdigest()[:20]


def _open_array(path: Path, shape: tuple[int, ...]) -> UInt8Array | None:
    """Map a finished array, or return None if there is none that is whole."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != np.uint8 or not array.flags.c_contiguous:
            return None
        with path.open("rb") as file:
            start = array.offset + array.nbytes
            file.seek(start)
            trailer = file.read()
    except (OSError, ValueError, EOFError):
        return None
    if len(trailer) != 4 * shape[0]:
        return None
    expected = np.frombuffer(trailer, dtype="<u4")
    whole = all(zlib.crc32(row.data) == checksum for row, checksum in zip(array, expected, strict=True))
    return np.asarray(array) if whole else None


class _Writer:
    """Fills a temporary file row by row from many threads, then renames it.

    Plain writes and no memory map: a full disk is then an ``OSError``, not the end of the process.
    """

    def __init__(self, plan: _Plan, cache_dir: Path) -> None:
        self.plan = plan
        self._target = cache_dir / plan.file_name
        handle, name = tempfile.mkstemp(prefix=f".{plan.field}-", suffix=".tmp", dir=cache_dir)
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._lock = threading.Lock()
        self._checksums: npt.NDArray[np.uint32] = np.zeros(plan.shape[0], dtype="<u4")
        header = {"descr": "|u1", "fortran_order": False, "shape": plan.shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        self._row_bytes = int(np.prod(plan.shape[1:]))

    def write(self, row: int, values: UInt8Array) -> None:
        content = np.ascontiguousarray(values)
        self._checksums[row] = zlib.crc32(content.data)
        with self._lock:
            self._file.seek(self._start + row * self._row_bytes)
            self._file.write(content.data)

    def finish(self) -> None:
        with self._file:
            self._file.seek(self._start + self.plan.shape[0] * self._row_bytes)
            self._file.write(self._checksums.tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
        os.chmod(self._temporary, 0o644)  # mkstemp's 0600 would lock out others who share the data set
        os.replace(self._temporary, self._target)

    def discard(self) -> None:
        """Remove what is left of an unfinished file; after ``finish`` there is nothing left."""
        with contextlib.suppress(OSError):  # on a full disk the flush fails once more; the first error is reported
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def _build(plans: Sequence[_Plan], cases: Sequence[Case], cache_dir: Path, jobs: int) -> None:
    """Decode every case once into all missing arrays."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    for old in cache_dir.glob(".*.tmp"):
        if time.time() - old.stat().st_mtime > STALE_S:
            old.unlink(missing_ok=True)
    writers: list[_Writer] = []
    try:
        writers.extend(_Writer(plan, cache_dir) for plan in plans)

        def decode(row: int) -> None:
            for writer in writers:
                writer.write(row, writer.plan.decode(cases[row]))

        with ThreadPoolExecutor(jobs) as pool:
            for _ in track(pool.map(decode, range(len(cases))), "decoding images", len(cases)):
                pass
        for writer in writers:
            writer.finish()
    finally:
        for writer in writers:
            writer.discard()
