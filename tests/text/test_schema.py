"""The vocabulary: what passes, what is refused and how; the sentence and the prompt."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeseg.errors import DataError
from gazeseg.text import schema
from gazeseg.text.schema import Domain, domain_of, prompt, prompt_hash, read_description, sentence

GOOD = {
    "location": "upper left",
    "boundary": "smooth and sharp",
    "characteristics": ["round", "sessile"],
    "area_percentage": 12,
    "confidence": "high",
    "remarks": "seen from above",
}


def test_capitals_and_spaces_are_forgiven():
    values = GOOD | {"location": " Upper  LEFT ", "characteristics": ["Round", "sessile "], "remarks": "two\n lines"}
    found = read_description(values, "polyp", "here")
    assert found.location == "upper left"
    assert found.characteristics == ("round", "sessile")
    assert found.remarks == "two lines"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"location": "upper lefft"}, "did you mean 'upper left'"),
        ({"boundary": "spiculated"}, "boundary: 'spiculated' is not in the vocabulary"),
        ({"characteristics": ["round", "sesile"]}, "did you mean 'sessile'"),
        ({"characteristics": ["pigment network"]}, "pigment network"),
        ({"characteristics": []}, "characteristics"),
        ({"characteristics": ["round", "Round"]}, "twice"),
        ({"characteristics": "round"}, "characteristics"),
        ({"area_percentage": 101}, "area_percentage"),
        ({"area_percentage": 3.5}, "area_percentage"),
        ({"confidence": 0.9}, "confidence"),
        ({"remarks": "x" * 201}, "remarks"),
        ({"colour": "red"}, "colour"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(change, said):
    with pytest.raises(DataError, match=f"^here: .*{said}") as caught:
        read_description(GOOD | change, "polyp", "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [{}, None, [], "text", {key: GOOD[key] for key in ("location", "boundary")}])
def test_an_empty_or_partial_description_is_refused(values):
    with pytest.raises(DataError, match=r"^here: "):
        read_description(values, "polyp", "here")


def test_each_domain_has_its_own_terms():
    assert read_description(GOOD | {"characteristics": ["pigment network"]}, "skin", "here").characteristics
    assert read_description(GOOD | {"characteristics": ["peripheral zone bright"]}, "prostate", "here").characteristics
    assert [domain_of(name) for name in ("colonoscopy", "Dermoscopy", "T2 MR", "")] == [
        *("polyp", "skin", "prostate", "generic")
    ]


def test_spans_are_the_values_of_the_fields_in_order():
    one = sentence(read_description(GOOD, "polyp", "here"))
    values = [one.text[start:end] for start, end in one.spans]
    assert values == ["upper left", "smooth and sharp", "round, sessile", "12 percent", "high", "seen from above"]
    assert len(values) == len(schema.FIELDS)


@settings(max_examples=50, deadline=None)
@given(remarks=st.text(max_size=200))
def test_any_remark_stays_in_its_place(remarks):
    description = read_description(GOOD | {"remarks": remarks}, "polyp", "here")
    one = sentence(description)
    start, end = one.spans[-1]
    assert one.text[end:] == "."
    assert one.text[start:end]
    assert [one.text[s:e] for s, e in one.spans[:-1]][-1] == "high"


@pytest.mark.parametrize("domain", get_args(Domain))
def test_the_prompt_lists_every_word_that_is_accepted(domain):
    text = prompt(domain)
    for term in (*schema.LOCATIONS, *schema.BOUNDARIES, *schema.CHARACTERISTICS[domain], *schema.CONFIDENCES):
        assert json.dumps(term) in text
    for field in schema.FIELDS:
        assert f'"{field}"' in text
    assert "mask" not in text
    assert len(prompt_hash(domain)) == 12


def test_other_words_are_another_prompt(monkeypatch):
    before = {prompt_hash(domain) for domain in get_args(Domain)}
    assert len(before) == len(get_args(Domain))
    monkeypatch.setattr(schema, "PROMPT_VERSION", 2)
    assert prompt_hash("polyp") not in before
