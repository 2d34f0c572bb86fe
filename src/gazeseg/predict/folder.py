"""Masks for whatever lies in a folder, or for one file: at native size, in the geometry of what they were made from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from gazeseg.console import say, track, warn
from gazeseg.data.images import safe_name
from gazeseg.errors import DataError
from gazeseg.predict.outputs import OutputFolder
from gazeseg.predict.predictor import Predictor
from gazeseg.predict.sources import find_sources
from gazeseg.predict.sources.base import Frames, Source, UnfitError
from gazeseg.predict.uncertainty import Uncertain
from gazeseg.predict.writers import Format, choose_formats, dicom_seg, nifti, png
from gazeseg.types import Float32Array, UInt8Array

_WORKERS = 2  # decoding and encoding threads; the codecs release the interpreter lock
_AHEAD = 4  # sources decoded before they are asked for, and masks waiting to be written


def predict_folder(
    predictor: Predictor,
    inputs: Path,
    out: Path,
    *,
    probabilities: bool = False,
    format: str | None = None,
    uncertainty: Doubt | None = None,
) -> dict[Path, str]:
    """Segment every image, NIfTI file and DICOM series below ``inputs`` and write ``out/<same folders>/<stem>...``.

    Masks hold class indices at native size. Those of images are upright as a viewer displays the image (EXIF applied);
    NIfTI and DICOM SEG lie where their source lies; by default DICOM that no SEG can refer to becomes PNG. Two sources
    that differ in their ending alone keep it: ``a.jpg`` and ``a.png`` become ``a.jpg.png`` and ``a.png.png``. Hidden
    files and what lies in ``out`` are left out, files of other kinds get a warning. What an earlier call finished is
    not done again: see :class:`~gazeseg.predict.outputs.OutputFolder`.

    Args:
        predictor: The model.
        inputs: A folder, searched through, or one file of any ending; any names.
        out: Where masks go; made if missing.
        probabilities: Also write each foreground class's probability below ``out/probabilities/<class>``: float32
            NIfTI where the source has a regular grid in space, else 16-bit PNG, round(65535 p).
        format: ``png``, ``nifti`` or ``dicom-seg``; ``None``: as the source, see
            :data:`gazeseg.predict.writers.FORMATS`.
        uncertainty: Also write the maps ``out/uncertainty/entropy`` and ``disagreement``, and ``out/review.csv``: every
            frame with the Dice to expect, the lowest first. Probabilities are calibrated then.

    Returns:
        The sources that could not be done, each with the reason; the others are done.

    Raises:
        ConfigError: if a source cannot be written in ``format``.
        DataError: if ``inputs`` is missing or holds nothing to segment, ``out`` is the same folder, holds something
            else, or cannot be written.
        MissingDependencyError: for DICOM or NIfTI without the extra ``medical``.
    """
    inputs, out = Path(inputs), Path(out)
    found = find_sources(inputs, out)
    formats = choose_formats(found.sources, format)
    if found.others:
        warn(
            f"{inputs}: {len(found.others)} files are no images by their ending or content and are left out, "
            f"e.g. '{found.others[0].name}'"
        )
    options = {"format": format or "as the source", "probabilities": probabilities, **predictor.identity}
    options |= {"uncertainty": uncertainty.identity if uncertainty is not None else "none"}
    folder = OutputFolder.open(out, options)
    todo = [source for source in found.sources if not folder.is_done(source)]
    if len(todo) < len(found.sources):
        say(f"{len(found.sources) - len(todo)} of {len(found.sources)} are done already")
    failures = dict(found.failures)
    with ThreadPoolExecutor(_WORKERS) as pool:
        written: deque[Future[None]] = deque()
        answer = _answer(predictor, probabilities=probabilities, uncertainty=uncertainty)
        for job in _segment(answer, predictor.batch_size, _read_ahead(todo, pool), failures):
            form = formats[job.source.kind]
            written.append(pool.submit(_write_or_say, predictor, job, form, folder, failures, chosen=bool(format)))
            if len(written) > _AHEAD:
                written.popleft().result()
        for future in written:
            future.result()
    if uncertainty is not None:
        folder.write_review(found.sources)
    return failures


@dataclass(frozen=True, slots=True)
class Doubt:
    """How uncertainty is computed: see :meth:`gazeseg.predict.predictor.Predictor.uncertain`."""

    temperature: float = 1.0
    others: tuple[Predictor, ...] = ()

    @property
    def identity(self) -> str:
        """What decides the figures, for records."""
        return " ".join([f"T={self.temperature:.4f}", *(str(other.identity["weights"]) for other in self.others)])


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is kept of one frame."""

    mask: UInt8Array  # (H, W)
    foreground: Float32Array | None = None  # (K - 1, H, W)
    doubt: Uncertain | None = None


@dataclass(slots=True)
class _Job:
    """One source on its way through the network."""

    source: Source
    frames: Frames
    answers: list[_Answer] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.answers) == len(self.frames.images)


def _answer(
    predictor: Predictor, *, probabilities: bool, uncertainty: Doubt | None
) -> Callable[[Sequence[UInt8Array]], list[_Answer]]:
    """Return what maps a batch of images to what is kept of them: no more than was asked for."""

    def masks_alone(images: Sequence[UInt8Array]) -> list[_Answer]:
        return [_Answer(mask) for mask in predictor.masks(images)]

    def with_probabilities(images: Sequence[UInt8Array]) -> list[_Answer]:
        rows = predictor.probabilities(images)
        return [_Answer(values.argmax(axis=0).astype(np.uint8), values[1:]) for values in rows]

    def with_doubt(images: Sequence[UInt8Array]) -> list[_Answer]:
        doubt = uncertainty or Doubt()
        rows = predictor.uncertain(images, temperature=doubt.temperature, others=doubt.others)
        return [_Answer(row.mask, row.probabilities[1:] if probabilities else None, row) for row in rows]

    if uncertainty is not None:
        return with_doubt
    return with_probabilities if probabilities else masks_alone


def _read_ahead(sources: Sequence[Source], pool: ThreadPoolExecutor) -> Iterator[tuple[Source, Frames | DataError]]:
    """Decode in the background, a few sources ahead."""
    waiting: deque[tuple[Source, Future[Frames | DataError]]] = deque()
    rest = iter(sources)
    for _ in track(sources, "predict", len(sources)):
        while len(waiting) < _AHEAD and (following := next(rest, None)) is not None:
            waiting.append((following, pool.submit(_read, following)))
        source, future = waiting.popleft()
        yield source, future.result()


def _read(source: Source) -> Frames | DataError:
    """Return the frames, or what is wrong with them."""
    try:
        return source.read()
    except DataError as error:
        return error


def _segment(
    answer: Callable[[Sequence[UInt8Array]], list[_Answer]],
    batch_size: int,
    read: Iterator[tuple[Source, Frames | DataError]],
    failures: dict[Path, str],
) -> Iterator[_Job]:
    """Run frames through the network in full batches, whatever source they are of; yield finished sources in order."""
    jobs: deque[_Job] = deque()
    queue: deque[tuple[_Job, UInt8Array]] = deque()

    def flush(minimum: int) -> Iterator[_Job]:
        while queue and len(queue) >= minimum:
            batch = [queue.popleft() for _ in range(min(len(queue), batch_size))]
            for (job, _), found in zip(batch, answer([image for _, image in batch]), strict=True):
                job.answers.append(found)
        while jobs and jobs[0].complete:
            yield jobs.popleft()

    for source, frames in read:
        if isinstance(frames, DataError):
            failures[source.path] = str(frames).removeprefix(f"{source.path}: ")
            continue
        for note in frames.notes:
            warn(f"{source.path}: {note}")
        job = _Job(source, frames)
        jobs.append(job)
        queue.extend((job, image) for image in frames.images)
        yield from flush(batch_size)
    yield from flush(1)


def _write_or_say(
    predictor: Predictor, job: _Job, form: Format, folder: OutputFolder, failures: dict[Path, str], *, chosen: bool
) -> None:
    """Write one source's files. What the format cannot hold becomes PNG, or a failure where the format was chosen."""
    try:
        files = _write(predictor, job, form, folder.folder)
    except UnfitError as error:
        if chosen:
            failures[job.source.path] = f"{error}, so it cannot be written as {form}; use --format png"
            return
        warn(f"{job.source.path}: {error}, so its masks are PNG")
        files = _write(predictor, job, "png", folder.folder)
    doubts = zip(job.frames.names, job.answers, strict=True)
    folder.add(job.source, files, {name: a.doubt.expected_dice for name, a in doubts if a.doubt is not None})


def _write(predictor: Predictor, job: _Job, form: Format, out: Path) -> list[Path]:
    """Write masks, and the maps that were asked for; return the files."""
    frames, name, answers = job.frames, job.source.name, job.answers
    masks = np.stack([found.mask for found in answers])
    maps: dict[PurePosixPath, list[Float32Array]] = {}
    for found in answers:
        for label, values in zip(
            predictor.task.classes[1:], () if found.foreground is None else found.foreground, strict=False
        ):
            maps.setdefault(PurePosixPath("probabilities", safe_name(label)), []).append(values)
        if found.doubt is not None:
            maps.setdefault(PurePosixPath("uncertainty", "entropy"), []).append(found.doubt.entropy)
            maps.setdefault(PurePosixPath("uncertainty", "disagreement"), []).append(found.doubt.disagreement)
    write_maps = png.write_maps if frames.grid is None else nifti.write_maps
    files = [path for kind, values in maps.items() for path in write_maps(out / kind / name, np.stack(values), frames)]
    if form == "png":
        return files + png.write_masks(out / name, masks, frames)
    if form == "nifti":
        return files + nifti.write_masks(out / name, masks, frames)
    method = str(predictor.config.method.get("name", ""))
    return files + dicom_seg.write_masks(out / name, masks, frames, classes=predictor.task.classes, method=method)
