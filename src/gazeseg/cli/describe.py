"""``gazeseg describe``: a validated description of each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gazeseg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gazeseg.data.dataset import Dataset
    from gazeseg.text.describe import Describer, Outcome
    from gazeseg.text.schema import Domain


def describe(
    dataset: Path,
    file: Path | None = None,
    /,
    *,
    provider: Literal["rules", "openai", "file"] = "rules",
    base_url: str = "https://api.openai.com/v1",
    model: str | None = None,
    send_images: bool = False,
    rate: float | None = None,
    timeout: float = 60.0,
    domain: Literal["polyp", "skin", "prostate", "generic"] | None = None,
    pseudo: Path | None = None,
    workers: int | None = None,
    out: Path | None = None,
) -> None:
    """Describe every image that may be learnt from: where, outline, characteristics, area, confidence, remarks.

    Example: `gazeseg describe DS` or `gazeseg describe DS --provider openai --model gpt-4o --send-images`

    `rules` measures the image inside the gaze pseudo-mask, offline: a stand-in for a vision-language model. `openai`
    asks any OpenAI-compatible endpoint; the key is read from the environment variable OPENAI_API_KEY. `file` takes
    descriptions made elsewhere: `gazeseg describe DS FILE.jsonl --provider file`. A second run asks for nothing twice.

    Args:
        dataset: The data set folder.
        file: JSON lines with case_id and the six fields, for `--provider file`.
        provider: Who describes.
        base_url: The endpoint that `/chat/completions` is below.
        model: The model's name at the endpoint.
        send_images: Agree that the pixels of the images leave this machine; file names and headers never do.
        rate: Most requests a minute.
        timeout: Longest wait for an answer, in seconds.
        domain: Which vocabulary; by default that of the data set's modality.
        pseudo: The pseudo-mask folder that `rules` looks into; by default `DS/pseudo`.
        workers: Images at a time; by default one a core, 4 for `openai`.
        out: Where the descriptions go; by default `DS/text`.
    """
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.pseudo import PseudoFolder
    from gazeseg.text import describe as text
    from gazeseg.text.schema import domain_of

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers must be 1 or more, got {workers}")
    if (file is not None) != (provider == "file"):
        raise ConfigError("descriptions made elsewhere are taken with: gazeseg describe DS FILE.jsonl --provider file")
    data = Dataset.load(dataset)
    folder = out or data.root / "text"
    chosen = domain or domain_of(data.info.modality)
    if file is not None:
        _report(text.import_descriptions(data, file, folder, chosen), data)
        return
    describer: Describer
    if provider == "rules":
        describer = text.RuleDescriber(data, PseudoFolder.load(pseudo or data.root / "pseudo"), chosen)
    else:
        describer = _endpoint(data, chosen, base_url, model, rate, timeout, send_images=send_images)
        workers = workers or 4
    _report(text.describe(data, describer, folder, chosen, workers=workers), data)


def _endpoint(
    data: Dataset,
    domain: Domain,
    base_url: str,
    model: str | None,
    rate: float | None,
    timeout: float,
    *,
    send_images: bool,
) -> Describer:
    from gazeseg.console import say
    from gazeseg.text.describe import cases_to_describe
    from gazeseg.text.openai import OpenAIDescriber

    if model is None:
        raise ConfigError("--provider openai needs the name of a model: --model NAME")
    describer = OpenAIDescriber(data, domain, base_url=base_url, model=model, rate=rate, timeout_s=timeout)
    count = len(cases_to_describe(data))
    if not send_images:
        raise ConfigError(
            f"this would send the pixels of up to {count} images to {describer.host}; add --send-images if you may"
        )
    say(
        f"sending the pixels of up to {count} images to {describer.host} (described ones are not sent again; no file "
        "names, no headers)"
    )
    return describer


def _report(outcome: Outcome, data: Dataset) -> None:
    """Say what there is now; end with an error if an image is left."""
    from gazeseg.console import warn
    from gazeseg.data.text import STAND_IN

    for case_id, reason in outcome.failures.items():
        warn(f"{case_id}: {reason}")
    if outcome.silent:
        some = ", ".join(outcome.silent[:5]) + (", ..." if len(outcome.silent) > 5 else "")
        warn(f"{len(outcome.silent)} images have no gaze to look at and no description: {some}")
    providers = {entry.provider for entry in outcome.entries}
    note = f"; by rules, a {STAND_IN}" if "rules" in providers else ""
    known = f", {outcome.cached} of them known before" if outcome.cached else ""
    print(f"{outcome.path}: {len(outcome.entries)} descriptions{known}{note}")
    left = len(outcome.failures) + outcome.untried
    if left:
        untried = f", {outcome.untried} of them not tried" if outcome.untried else ""
        raise DataError(
            f"{left} images have no description{untried} (reasons above); those that have one are kept: give the same "
            "command again to go on"
        )
    print(f"next: gazeseg encode {data.root}")
