"""From the images of a data set to ``DS/text/descriptions.jsonl``, one validated description an image.

Cases of the test split are left out: text is something to learn with. What was described is kept at once, so a run that
fails half-way goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from gazeseg.console import make_progress
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.images import write_bytes
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.data.text import DESCRIPTIONS, STAND_IN, strangers_message
from gazeseg.errors import DataError, GazeSegError, suggest
from gazeseg.text import rules
from gazeseg.text.cache import DescriptionCache
from gazeseg.text.schema import FIELDS, Description, Domain, prompt_hash, read_description

GIVE_UP_AFTER = 5
"""Images in a row for which a provider could not be reached; the rest is then left for the next run."""


class UnreachableError(DataError):
    """A provider does not answer at all: not a matter of this image."""


class RefusedError(DataError):
    """A provider will refuse every image: a wrong key, model or address."""


class Describer(Protocol):
    """A way to describe an image."""

    name: str  # rules, openai
    model: str
    prompt_hash: str

    def hash(self, case: Case) -> str:
        """Return what identifies everything that is looked at."""

    def describe(self, case: Case) -> Description | None:
        """Describe one image; None where there is nothing to describe.

        Raises:
            UnreachableError: if nobody answers.
            RefusedError: if no image will be answered.
            GazeSegError: if this image cannot be described.
        """


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of ``descriptions.jsonl``."""

    case_id: str
    description: Description
    domain: Domain
    provider: str
    model: str
    prompt_hash: str
    image_hash: str

    def line(self) -> str:
        """Return the entry as JSON; the description of a stand-in says what it is."""
        row: dict[str, Any] = {"case_id": self.case_id, "description": self.description.model_dump(mode="json")}
        row |= {key: getattr(self, key) for key in ("domain", "provider", "model", "prompt_hash", "image_hash")}
        if self.provider == "rules":
            row["note"] = STAND_IN
        return json.dumps(row, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of :func:`describe` left."""

    path: Path
    entries: tuple[Entry, ...]
    cached: int  # of the entries, were known before
    silent: tuple[str, ...]  # cases without gaze, about which the rules say nothing
    failures: Mapping[str, str]  # case -> reason
    untried: int  # cases left when the provider was given up


class RuleDescriber:
    """The offline stand-in: rules on the image inside the broad gaze pseudo-mask, see :mod:`gazeseg.text.rules`."""

    name = "rules"
    model = rules.VERSION

    def __init__(self, dataset: Dataset, folder: PseudoFolder, domain: Domain) -> None:
        """Look at the pseudo-masks of ``folder``, the level of the lowest threshold."""
        self.prompt_hash = prompt_hash(domain)  # the vocabulary is part of it
        self._dataset, self._folder, self._domain = dataset, folder, domain
        self._level = int(np.argmin(folder.thresholds))

    def hash(self, case: Case) -> str:
        """Hash the image and the pseudo-mask.

        Raises:
            DataError: if a case that should have a pseudo-mask has none.
        """
        mask = self._folder.file("levels", case.case_id)
        if mask.is_file():
            return file_hash(case.image, mask)
        if case.split == "train" or len(self._dataset.fixations[case.case_id]):
            raise DataError(f"{mask}: no pseudo-mask of case '{case.case_id}'; run: gazeseg masks {self._dataset.root}")
        return file_hash(
            case.image
        )  # nobody looked at it, as at the validation cases of a data set with simulated gaze

    def describe(self, case: Case) -> Description | None:
        """Describe the inside of the pseudo-mask; None without gaze."""
        if not self._folder.file("levels", case.case_id).is_file():
            return None
        mask = self._folder.levels(case.case_id)[self._level].astype(bool)
        return rules.describe_by_rules(self._dataset.image(case), mask, self._domain)


def file_hash(*files: Path | None) -> str:
    """Hash the contents of files.

    Raises:
        DataError: if one is gone.
    """
    digest = hashlib.sha256()
    for file in files:
        if file is not None:
            try:
                digest.update(file.read_bytes())
            except OSError as error:
                raise DataError(f"{file}: cannot be read ({error.strerror}); restore it or import again") from None
        digest.update(b"|")
    return digest.hexdigest()[:32]


def cases_to_describe(dataset: Dataset) -> tuple[Case, ...]:
    """Return the cases that may be learnt from and have an image.

    Raises:
        DataError: if there is none.
    """
    cases = tuple(case for case in dataset.cases if case.split != "test" and case.image is not None)
    if not cases:
        raise DataError(f"{dataset.root}: no image to describe; import with --images DIR and a split other than test")
    return cases


def describe(dataset: Dataset, describer: Describer, out: Path, domain: Domain, *, workers: int | None) -> Outcome:
    """Describe every case of the data set that may be learnt from, and write ``descriptions.jsonl``.

    Args:
        dataset: The data set.
        describer: Who describes.
        out: The folder of the texts.
        domain: Whose vocabulary.
        workers: Images at a time; None: one a core.

    Raises:
        RefusedError: if the provider refuses every image; what was done before is kept.
        DataError: if nothing can be written.
    """
    cases = cases_to_describe(dataset)
    cache = DescriptionCache(
        out / "cache",
        provider=describer.name,
        model=describer.model,
        prompt_hash=describer.prompt_hash,
        domain=domain,
    )
    hashes: dict[str, str] = {}
    failures: dict[str, str] = {}
    for case in cases:
        try:
            hashes[case.case_id] = describer.hash(case)
        except DataError as error:
            failures[case.case_id] = str(error)
    todo = [case for case in cases if case.case_id in hashes and hashes[case.case_id] not in cache]
    cached = len(hashes) - len(todo)
    refusal: RefusedError | None = None
    tried = 0
    for case, answer in _answers(describer, todo, workers or os.cpu_count() or 1):
        tried += 1
        if isinstance(answer, RefusedError):
            refusal = answer
        elif isinstance(answer, GazeSegError):
            failures[case.case_id] = str(answer)
        else:
            cache.add(hashes[case.case_id], answer)
    entries, silent = [], []
    for case in cases:
        known = hashes.get(case.case_id, "")
        if known in cache:
            found = cache[known]
            if found is None:
                silent.append(case.case_id)
            else:
                ours = (describer.name, describer.model, describer.prompt_hash, known)
                entries.append(Entry(case.case_id, found, domain, *ours))
    if refusal is not None and not entries:
        raise refusal
    path = write_descriptions(out, entries)
    if refusal is not None:
        raise RefusedError(f"{refusal} ({len(entries)} images were described before and are kept)")
    return Outcome(path, tuple(entries), cached, tuple(silent), failures, len(todo) - tried)


def _answers(
    describer: Describer, todo: Sequence[Case], workers: int
) -> Iterator[tuple[Case, Description | GazeSegError | None]]:
    """Yield the answer to each case as it comes; leave the rest where the provider is gone or refuses everything."""
    stop, lock = threading.Event(), threading.Lock()
    lost = 0

    def ask(case: Case) -> Description | GazeSegError | Literal["untried"] | None:
        nonlocal lost
        if stop.is_set():
            return "untried"
        answer: Description | GazeSegError | None
        try:
            answer = describer.describe(case)
        except GazeSegError as error:
            answer = error
        with lock:  # counted here, so that no other request goes out meanwhile
            lost = lost + 1 if isinstance(answer, UnreachableError) else 0
            if lost >= GIVE_UP_AFTER or isinstance(answer, RefusedError):
                stop.set()
        return answer

    with make_progress() as progress, ThreadPoolExecutor(workers) as pool:
        task = progress.add_task(f"describing ({describer.name})", total=len(todo), note="")
        waiting = {pool.submit(ask, case): case for case in todo}
        try:
            for future in as_completed(waiting):
                answer = future.result()
                if answer != "untried":
                    yield waiting[future], answer
                    progress.advance(task)
        finally:
            stop.set()  # interrupted: what is asked for now is the last


def import_descriptions(dataset: Dataset, file: Path, out: Path, domain: Domain) -> Outcome:
    """Take descriptions made elsewhere: JSON lines with ``case_id`` and the six fields, or ``descriptions.jsonl``.

    Raises:
        DataError: if a line is broken or of no image of the data set; then nothing is written.
    """
    entries = read_descriptions(file, domain)
    known = {case.case_id for case in dataset.cases}
    strangers = [entry.case_id for entry in entries if entry.case_id not in known]
    if strangers:
        raise DataError(f"{file}: {strangers_message(strangers, known)}")
    return Outcome(write_descriptions(out, entries), tuple(entries), 0, (), {}, 0)


def write_descriptions(out: Path, entries: Sequence[Entry]) -> Path:
    """Write ``descriptions.jsonl``, whole or not at all."""
    path = out / DESCRIPTIONS
    write_bytes(path, "".join(entry.line() + "\n" for entry in entries).encode())
    return path


def read_descriptions(path: Path, domain: Domain = "generic") -> list[Entry]:
    """Read descriptions, each validated against the vocabulary of its domain.

    Args:
        path: JSON lines.
        domain: Of lines that do not say theirs.

    Raises:
        DataError: if the file is missing or empty, or a line is broken, empty or there twice.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise DataError(f"{path}: {reason}; make descriptions with: gazeseg describe DS") from None
    digest = hashlib.sha256(content).hexdigest()[:12]
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        entry = _entry(line, f"{path}, line {number}", domain, digest)
        if entry.case_id in entries:
            raise DataError(f"{path}, line {number}: case '{entry.case_id}' is described twice; keep one of the two")
        entries[entry.case_id] = entry
    if not entries:
        raise DataError(f"{path}: no description in it; make descriptions with: gazeseg describe DS")
    return list(entries.values())


def _entry(line: str, where: str, domain: Domain, digest: str) -> Entry:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: broken JSON ({error}); correct the line or describe again") from None
    if not isinstance(row, dict) or not isinstance(row.get("case_id"), str):
        raise DataError(f"{where}: expected an object with a case_id and the fields {', '.join(FIELDS)}; correct it")
    values = row.get("description", {key: value for key, value in row.items() if key in FIELDS})
    own = row.get("domain", domain)
    if own not in get_args(Domain):
        raise DataError(f"{where}: unknown domain '{own}'{suggest(str(own), get_args(Domain))}")
    description = read_description(values, own, f"{where} (case '{row['case_id']}')")
    return Entry(
        case_id=row["case_id"],
        description=description,
        domain=own,
        provider=str(row.get("provider", "file")),
        model=str(row.get("model", "")),
        prompt_hash=str(row.get("prompt_hash", digest)),
        image_hash=str(row.get("image_hash", "")),
    )
