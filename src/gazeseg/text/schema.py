"""What a description may say: six fields, closed vocabularies, one fixed sentence, and the prompt that asks for it.

The fields are those of FGI (TMI 2025, arXiv 2504.11368). The paper's vocabularies and prompt are unknown; these are
ours. A description is of one image: never of a mask, and never of a patient.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from gazeseg.errors import DataError, suggest

Domain = Literal["polyp", "skin", "prostate", "generic"]
"""What the images show; decides the vocabulary. ``generic`` has the words that fit any image."""

FIELDS: Final = ("location", "boundary", "characteristics", "area_percentage", "confidence", "remarks")
LOCATIONS: Final = (
    *("upper left", "upper centre", "upper right", "middle left", "centre", "middle right"),
    *("lower left", "lower centre", "lower right", "several places", "whole image", "not visible"),
)
BOUNDARIES: Final = (
    *("smooth and sharp", "smooth and blurred", "irregular and sharp", "irregular and blurred"),
    *("partly hidden", "not visible"),
)
CONFIDENCES: Final = ("low", "medium", "high")
MOST_REMARKS: Final = 200  # characters
MOST_TERMS: Final = 6

_COMMON: Final = (
    *("round", "oval", "elongated", "lobulated", "several parts"),
    *("much brighter than around", "brighter than around", "as bright as around", "darker than around"),
    *("much darker than around", "smooth texture", "mixed texture", "coarse texture", "bright reflections"),
)
_COLOUR: Final = ("redder than around", "paler than around", "yellower than around", "bluer than around")
CHARACTERISTICS: Final[dict[Domain, tuple[str, ...]]] = {
    "generic": (*_COMMON, *_COLOUR, "same colour as around"),
    "polyp": (
        *(*_COMMON, *_COLOUR, "same colour as around", "flat", "sessile", "pedunculated", "depressed", "ulcerated"),
        *("visible vessels", "pit pattern", "covered by mucus", "covered by stool", "seen through liquid"),
    ),
    "skin": (
        *(*_COMMON, *_COLOUR, "same colour as around", "one colour", "two colours", "many colours", "symmetric"),
        *("asymmetric", "pigment network", "dots or globules", "streaks", "blue-white veil", "regression structures"),
        *("crusted", "visible vessels", "crossed by hair"),
    ),
    "prostate": (
        *(*_COMMON, "homogeneous signal", "heterogeneous signal", "transition zone visible"),
        *("peripheral zone bright", "nodular", "symmetric", "asymmetric", "capsule visible"),
    ),
}
SUBJECTS: Final[dict[Domain, tuple[str, str]]] = {  # what the image is, what is to be described
    "generic": ("a medical image", "most conspicuous lesion or structure"),
    "polyp": ("a colonoscopy frame", "polyp"),
    "skin": ("a dermoscopic photograph", "skin lesion"),
    "prostate": ("an axial T2-weighted magnetic resonance slice of the pelvis", "prostate gland"),
}
_MODALITIES: Final[dict[str, Domain]] = {
    "colonoscopy": "polyp",
    "endoscopy": "polyp",
    "dermoscopy": "skin",
    "dermatoscopy": "skin",
    "t2 mr": "prostate",
}

PROMPT_VERSION: Final = 1
_PROMPT: Final = """\
You are shown {image}. Describe the {target} in it for a physician, from what can be seen and nothing else.
Answer with one JSON object and no other text. It has exactly these keys:
"location": one of {locations}
"boundary": one of {boundaries}
"characteristics": a list of 1 to {most_terms} different terms out of {characteristics}
"area_percentage": a whole number from 0 to 100, the share of the image that the {target} covers
"confidence": one of {confidences}
"remarks": a free remark of at most {most_remarks} characters on one line, or ""
Left and right, upper and lower are those of the picture. If there is no {target} in it, say "not visible"."""


def _tidy(value: Any) -> Any:
    """Forgive capitals and spaces around a term."""
    return " ".join(value.lower().split()) if isinstance(value, str) else value


def _one_of(known: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        term = _tidy(value)
        if term not in known:
            raise ValueError(f"'{term[:60]}' is not in the vocabulary{suggest(term, known)}")
        return str(term)

    return AfterValidator(check)


def _one_line(value: str) -> str:
    return " ".join(value.split())


class Description(BaseModel):
    """One image in words. Validate with :func:`read_description`, which knows the vocabulary of the domain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    location: Annotated[str, _one_of(LOCATIONS)]
    boundary: Annotated[str, _one_of(BOUNDARIES)]
    characteristics: tuple[str, ...] = Field(min_length=1, max_length=MOST_TERMS)
    area_percentage: int = Field(ge=0, le=100)
    confidence: Annotated[str, _one_of(CONFIDENCES)]
    remarks: Annotated[str, AfterValidator(_one_line)] = Field("", max_length=MOST_REMARKS)

    @model_validator(mode="after")
    def _check_terms(self, info: ValidationInfo) -> Self:
        known = CHARACTERISTICS[(info.context or {}).get("domain", "generic")]
        terms = tuple(_tidy(term) for term in self.characteristics)
        for term in terms:
            if term not in known:
                raise ValueError(f"characteristics: '{term[:60]}' is not in the vocabulary{suggest(term, known)}")
        if len(set(terms)) < len(terms):
            raise ValueError("characteristics: a term is there twice")
        object.__setattr__(self, "characteristics", terms)
        return self


def read_description(values: Any, domain: Domain, where: str) -> Description:
    """Validate a description against the vocabulary of ``domain``.

    Args:
        values: What should be an object with the six fields; ``remarks`` may be missing.
        domain: Whose vocabulary.
        where: Opens the error: a file and line, or whose answer.

    Raises:
        DataError: naming the first field that does not fit and the nearest known term.
    """
    try:
        return Description.model_validate(values, context={"domain": domain})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        got = "" if first["type"] == "value_error" else f", got {_short(first.get('input'))}"
        raise DataError(f"{where}: {field + ': ' if field else ''}{message}{got}") from None


def domain_of(modality: str) -> Domain:
    """Return the domain of a data set by its ``modality``; ``generic`` for one that has no vocabulary of its own.

    Examples:
        >>> domain_of("T2 MR"), domain_of("ultrasound")
        ('prostate', 'generic')
    """
    return _MODALITIES.get(modality.strip().lower(), "generic")


def prompt(domain: Domain) -> str:
    """Return the instruction that asks for a description; the image goes beside it."""
    image, target = SUBJECTS[domain]

    def listed(terms: tuple[str, ...]) -> str:
        return ", ".join(f'"{term}"' for term in terms)

    return _PROMPT.format(
        image=image,
        target=target,
        locations=listed(LOCATIONS),
        boundaries=listed(BOUNDARIES),
        characteristics=listed(CHARACTERISTICS[domain]),
        confidences=listed(CONFIDENCES),
        most_terms=MOST_TERMS,
        most_remarks=MOST_REMARKS,
    )


def prompt_hash(domain: Domain) -> str:
    """Return what identifies the wording: descriptions asked for in other words are other descriptions."""
    return hashlib.sha256(f"{PROMPT_VERSION}\n{prompt(domain)}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Sentence:
    """The fixed wording of a description; ``spans`` are (start, end) of each field's value, in the order of FIELDS."""

    text: str
    spans: tuple[tuple[int, int], ...]


def sentence(description: Description) -> Sentence:
    """Write a description as the sentence that is encoded.

    Examples:
        >>> sentence(Description(location="centre", boundary="smooth and sharp", characteristics=("round",),
        ...                      area_percentage=12, confidence="high")).text
        'Location: centre. Boundary: smooth and sharp. Characteristics: round. Area: 12 percent. Confidence: high. Remarks: none.'
    """  # noqa: E501 -- the sentence is one line
    parts = (
        ("Location: ", description.location, ". "),
        ("Boundary: ", description.boundary, ". "),
        ("Characteristics: ", ", ".join(description.characteristics), ". "),
        ("Area: ", f"{description.area_percentage} percent", ". "),
        ("Confidence: ", description.confidence, ". "),
        ("Remarks: ", re.sub(r"[.\s]+$", "", description.remarks) or "none", "."),
    )
    text, spans = "", []
    for before, value, after in parts:
        start = len(text) + len(before)
        spans.append((start, start + len(value)))
        text += before + value + after
    return Sentence(text, tuple(spans))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
