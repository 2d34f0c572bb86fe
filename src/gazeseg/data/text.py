"""The text embeddings of a data set: written once by ``gazeseg encode``, read by the loader.

::

    DS/text/descriptions.jsonl       one description an image, see :mod:`gazeseg.text.schema`
    DS/text/embeddings.safetensors   tokens (sum T, D) float16, lengths (N,) int64, fields (sum T,) uint8

``tokens`` holds the rows of all images one after the other, in the order of ``ids`` in the file's metadata; ``fields``
says which field of the description a token belongs to, 255 where it is a special token or a word of the template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gazeseg.config import TextConfig
from gazeseg.data.images import write_bytes
from gazeseg.errors import DataError, near_miss
from gazeseg.types import UInt8Array

DESCRIPTIONS: Final = "descriptions.jsonl"
EMBEDDINGS: Final = "embeddings.safetensors"
NO_FIELD: Final = 255
"""Field index of a token that belongs to no field of the description, and of padding."""

STAND_IN: Final = "stand-in for a vision-language model"
CONTROL_LABELS: Final = {"shuffled_cases": "shuffled between images"}

_TENSORS: Final = ("tokens", "lengths", "fields")
_SHOWN: Final = 5  # ids named in an error

HalfArray = npt.NDArray[np.float16]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextStore:
    """Token embeddings by case.

    Shapes: tokens (S, D) float16 and fields (S,) uint8 with S the sum of ``lengths`` (N,).
    """

    ids: tuple[str, ...]
    tokens: HalfArray
    lengths: IntArray
    fields: UInt8Array
    encoder: str
    provider: str  # who wrote the descriptions: "rules" is a stand-in
    prompt_hash: str
    field_names: tuple[str, ...]

    @property
    def dim(self) -> int:
        """Numbers a token."""
        return int(self.tokens.shape[1])

    def label(self, control: str) -> str:
        """Say where the text comes from and which control it is under, for tables."""
        origin = f"{self.provider} ({STAND_IN})" if "rules" in self.provider.split(", ") else self.provider
        return origin if control == "none" else f"{origin}, {CONTROL_LABELS[control]} (control)"

    def lookup(self, case_ids: Sequence[str]) -> IntArray:
        """Return (N, 2): first token and number of tokens of each case; a case without text has none."""
        ends = np.cumsum(self.lengths)
        place = {
            case_id: (int(end - length), int(length))
            for case_id, end, length in zip(self.ids, ends, self.lengths, strict=True)
        }
        return np.array([place.get(case_id, (0, 0)) for case_id in case_ids], dtype=np.int64).reshape(-1, 2)

    def require_known(self, case_ids: Iterable[str], path: Path) -> None:
        """Refuse text of images that are not in the data set.

        Raises:
            DataError: naming them.
        """
        known = set(case_ids)
        strangers = [case_id for case_id in self.ids if case_id not in known]
        if strangers:
            raise DataError(f"{path}: {strangers_message(strangers, known)}")

    def summary(self) -> dict[str, Any]:
        """Say what the text is, for ``environment.json``."""
        return {
            "provider": self.provider,
            "prompt_hash": self.prompt_hash,
            "encoder": self.encoder,
            "dim": self.dim,
            "images": len(self.ids),
            "tokens": len(self.tokens),
            "checksum": hashlib.sha256(json.dumps(self.ids).encode() + self.tokens.tobytes()).hexdigest()[:16],
        }


@dataclass(frozen=True, slots=True)
class CaseTexts:
    """The texts of some cases in a fixed order, as a loader hands them out: ``places`` (N, 2) as of ``lookup``."""

    store: TextStore
    places: IntArray

    @classmethod
    def make(cls, store: TextStore, case_ids: Sequence[str], config: TextConfig) -> CaseTexts:
        """Look the cases up, and exchange the texts among those that have one if the control says so.

        ``shuffled_cases`` moves every text to another case, in one cycle drawn from ``config.seed``: which words there
        are stays the same, and no image keeps its own.

        Raises:
            DataError: if fewer than two cases have text to exchange.
        """
        places = store.lookup(case_ids)
        if config.control == "shuffled_cases":
            described = [row for row in sorted(range(len(case_ids)), key=case_ids.__getitem__) if places[row, 1]]
            if len(described) < 2:
                raise DataError(
                    f"text.control {config.control} needs two images with text, got {len(described)}; describe more"
                )
            cycle = np.random.default_rng(config.seed).permutation(described)
            shuffled = places.copy()
            shuffled[cycle] = places[np.roll(cycle, 1)]
            places = shuffled
        return cls(store, places)

    def padded(self, rows: IntArray) -> tuple[HalfArray, IntArray, UInt8Array]:
        """Return tokens (B, T, D), lengths (B,) and fields (B, T) of some rows; T is the longest text, at least 1.

        Padding is 0 in the tokens and 255 in the fields.
        """
        places = self.places[rows]
        longest = max(1, int(places[:, 1].max(initial=0)))
        tokens = np.zeros((len(rows), longest, self.store.dim), dtype=np.float16)
        fields = np.full((len(rows), longest), NO_FIELD, dtype=np.uint8)
        for b, (start, length) in enumerate(places.tolist()):
            tokens[b, :length] = self.store.tokens[start : start + length]
            fields[b, :length] = self.store.fields[start : start + length]
        return tokens, places[:, 1], fields


def strangers_message(strangers: Sequence[str], known: Iterable[str]) -> str:
    """Say in one line which images are not in the data set, and what to do."""
    some = ", ".join(f"'{case_id}'" for case_id in strangers[:_SHOWN]) + (", ..." if len(strangers) > _SHOWN else "")
    near = near_miss(strangers[0], known) if len(strangers) == 1 else ""
    return (
        f"text for {len(strangers)} image(s) that are not in the data set: {some}{near}; describe and encode this "
        "data set anew, or remove them from the descriptions and encode again"
    )


def write_embeddings(path: Path, store: TextStore) -> None:
    """Write the embeddings of a data set as one file, whole or not at all.

    Raises:
        DataError: if the arrays do not fit together, or the file cannot be written.
    """
    _check(path, store)
    metadata = {
        "ids": json.dumps(store.ids),
        "encoder": store.encoder,
        "dim": str(store.dim),
        "provider": store.provider,
        "prompt_hash": store.prompt_hash,
        "field_names": json.dumps(store.field_names),
    }
    tensors = {name: np.ascontiguousarray(getattr(store, name)) for name in _TENSORS}
    write_bytes(path, save(tensors, metadata))


def read_embeddings(path: Path) -> TextStore:
    """Read what :func:`write_embeddings` wrote.

    Raises:
        DataError: if the file is broken, or its parts do not fit together.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        store = TextStore(
            ids=tuple(json.loads(metadata["ids"])),
            encoder=metadata["encoder"],
            provider=metadata["provider"],
            prompt_hash=metadata["prompt_hash"],
            field_names=tuple(json.loads(metadata["field_names"])),
            **tensors,
        )
        dim = int(metadata["dim"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not the text embeddings of a data set ({' '.join(str(error).split())}); run gazeseg encode again"
        ) from None
    _check(path, store)
    if dim != store.dim:
        raise DataError(f"{path}: says {dim} numbers a token and holds {store.dim}; run gazeseg encode again")
    return store


def load_text(folder: Path, root: Path, known: Iterable[str]) -> TextStore:
    """Read the embeddings below ``folder`` for the data set in ``root``.

    Args:
        folder: Where ``gazeseg encode`` wrote.
        root: The data set folder, named in errors.
        known: Ids of the data set's cases.

    Raises:
        DataError: if there are none, they are broken, or they are of other images.
    """
    path = folder / EMBEDDINGS
    if not path.is_file():
        where = "" if folder == root / "text" else f" --out {folder}"
        described = "" if (folder / DESCRIPTIONS).is_file() else f"gazeseg describe {root}{where} && "
        raise DataError(f"{path}: no text embeddings there; run: {described}gazeseg encode {root}{where}")
    store = read_embeddings(path)
    store.require_known(known, path)
    return store


def _check(path: Path, store: TextStore) -> None:
    """Refuse arrays that do not fit together, and tokens that a network would mistake or choke on."""
    tokens, lengths, fields = store.tokens, store.lengths, store.fields
    if tokens.ndim != 2 or tokens.dtype != np.float16 or lengths.shape != (len(store.ids),):
        raise DataError(
            f"{path}: expected float16 tokens (S, D) and {len(store.ids)} lengths, got {tokens.dtype} {tokens.shape} "
            f"and {lengths.shape}; run gazeseg encode again"
        )
    faults = {
        "an image is there twice": len(set(store.ids)) < len(store.ids),
        "an image has no token": bool((lengths < 1).any()),
        f"the lengths sum to {int(lengths.sum())}, but there are {len(tokens)} tokens": lengths.sum() != len(tokens),
        f"{len(tokens)} tokens, but fields {fields.shape}": fields.shape != (len(tokens),),
        "a token belongs to an unnamed field": bool(((fields >= len(store.field_names)) & (fields != NO_FIELD)).any()),
        "a token holds NaN or infinity": not np.isfinite(tokens).all(),
        "a token is all zero, which means padding": not tokens.any(axis=1).all(),
    }
    for message, wrong in faults.items():
        if wrong:
            raise DataError(f"{path}: {message}; run gazeseg encode again")
