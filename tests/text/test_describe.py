"""From images to descriptions.jsonl: by rules and from a file; resumed, refused, never of the test split."""

import dataclasses
import json

import numpy as np
import pytest

from gazeseg.data.pseudo import PseudoFolder
from gazeseg.errors import DataError
from gazeseg.text import describe as module
from gazeseg.text.cache import DescriptionCache
from gazeseg.text.describe import (
    RuleDescriber,
    UnreachableError,
    describe,
    import_descriptions,
    read_descriptions,
)
from gazeseg.text.rules import describe_by_rules
from gazeseg.text.schema import read_description


def by_rules(dataset) -> RuleDescriber:
    return RuleDescriber(dataset, PseudoFolder.load(dataset.root / "pseudo"), "polyp")


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rules_describe_the_broad_pseudo_mask_of_what_may_be_learnt_from(dataset):
    out = dataset.root / "text"
    outcome = describe(dataset, by_rules(dataset), out, "polyp", workers=2)
    assert outcome.silent == ("Doe^Jane 0",)  # nobody looked at it
    assert not outcome.failures
    found = rows(out / "descriptions.jsonl")
    assert [row["case_id"] for row in found] == [f"Doe^Jane {k}" for k in range(1, 6)]  # the last one is for test
    folder = PseudoFolder.load(dataset.root / "pseudo")
    for row in found:
        case = dataset.case(row["case_id"])
        broad = folder.levels(case.case_id)[int(np.argmin(folder.thresholds))] > 0
        expected = describe_by_rules(dataset.image(case), broad, "polyp")
        assert row["description"] == json.loads(expected.model_dump_json())
        assert row["provider"] == "rules"
        assert "stand-in" in row["note"]


def test_cases_beside_the_training_split_need_no_gaze(dataset):
    cases = [dataclasses.replace(case, split="val") if case.split == "train" else case for case in dataset.cases]
    made = dataclasses.replace(dataset, cases=tuple(cases))

    def without_mask(case_id):
        PseudoFolder.load(dataset.root / "pseudo").file("levels", case_id).unlink()
        return describe(made, by_rules(made), dataset.root / "text", "polyp", workers=1)

    outcome = without_mask("Doe^Jane 0")  # nobody looked at it, so `masks` makes none
    assert (outcome.silent, outcome.failures, len(outcome.entries)) == (("Doe^Jane 0",), {}, 5)
    assert list(without_mask("Doe^Jane 1").failures) == ["Doe^Jane 1"]  # this one should have one


def test_the_truth_is_never_looked_at(dataset, monkeypatch):
    def forbidden(*_):
        raise AssertionError("a mask was read")

    monkeypatch.setattr(type(dataset), "mask", forbidden)
    assert describe(dataset, by_rules(dataset), dataset.root / "text", "polyp", workers=1).entries


def test_a_second_run_describes_only_what_changed(dataset, monkeypatch):
    out, seen = dataset.root / "text", []
    plain = RuleDescriber.describe
    monkeypatch.setattr(RuleDescriber, "describe", lambda self, case: seen.append(case.case_id) or plain(self, case))
    first = describe(dataset, by_rules(dataset), out, "polyp", workers=2)
    content = (out / "descriptions.jsonl").read_bytes()
    assert sorted(seen) == [f"Doe^Jane {k}" for k in range(6)]
    again = describe(dataset, by_rules(dataset), out, "polyp", workers=2)
    assert len(seen) == 6
    assert (again.cached, len(again.entries)) == (6, len(first.entries))
    assert (out / "descriptions.jsonl").read_bytes() == content
    mask = PseudoFolder.load(dataset.root / "pseudo").file("levels", "Doe^Jane 2")
    mask.write_bytes(mask.read_bytes() + b"\0")
    describe(dataset, by_rules(dataset), out, "polyp", workers=2)
    assert seen[6:] == ["Doe^Jane 2"]


def test_a_line_cut_short_by_a_kill_is_made_again(dataset):
    out = dataset.root / "text"
    describe(dataset, by_rules(dataset), out, "polyp", workers=1)
    whole = (out / "descriptions.jsonl").read_bytes()
    (cache,) = (out / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:-40])
    (out / "descriptions.jsonl").unlink()
    outcome = describe(dataset, by_rules(dataset), out, "polyp", workers=1)
    assert outcome.cached == 5
    assert (out / "descriptions.jsonl").read_bytes() == whole
    assert describe(dataset, by_rules(dataset), out, "polyp", workers=1).cached == 6


def test_a_broken_image_is_listed_and_the_others_are_kept(dataset):
    dataset.cases[2].image.write_bytes(b"no image")
    dataset.cases[3].image.unlink()
    PseudoFolder.load(dataset.root / "pseudo").file("levels", "Doe^Jane 4").unlink()
    outcome = describe(dataset, by_rules(dataset), dataset.root / "text", "polyp", workers=2)
    assert sorted(outcome.failures) == ["Doe^Jane 2", "Doe^Jane 3", "Doe^Jane 4"]
    assert "broken image" in outcome.failures["Doe^Jane 2"]
    assert "gazeseg masks" in outcome.failures["Doe^Jane 4"]
    assert [entry.case_id for entry in outcome.entries] == ["Doe^Jane 1", "Doe^Jane 5"]


def test_a_provider_that_is_gone_is_given_up(dataset, monkeypatch):
    monkeypatch.setattr(module, "GIVE_UP_AFTER", 2)

    def gone(self, case):
        raise UnreachableError("nobody there")

    monkeypatch.setattr(RuleDescriber, "describe", gone)
    outcome = describe(dataset, by_rules(dataset), dataset.root / "text", "polyp", workers=1)
    assert len(outcome.failures) + outcome.untried == 6
    assert outcome.untried >= 3
    assert not outcome.entries


def test_without_images_there_is_nothing_to_describe(dataset):
    table = (dataset.root / "cases.csv").read_text(encoding="utf-8").replace(",train,", ",test,")
    (dataset.root / "cases.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match="no image to describe"):
        module.cases_to_describe(type(dataset).load(dataset.root))


def test_descriptions_made_elsewhere_are_taken(dataset, tmp_path, answer):
    file = tmp_path / "mine.jsonl"
    flat = {"case_id": "Doe^Jane 1", **answer}
    nested = {"case_id": "Doe^Jane 2", "description": answer, "provider": "rules", "model": "rules-0"}
    file.write_text(f"\ufeff{json.dumps(flat)}\n\n{json.dumps(nested)}\n", encoding="utf-8")
    outcome = import_descriptions(dataset, file, tmp_path / "text", "polyp")
    assert [(entry.provider, entry.model) for entry in outcome.entries] == [("file", ""), ("rules", "rules-0")]
    assert "stand-in" in rows(tmp_path / "text" / "descriptions.jsonl")[1]["note"]  # a stand-in stays one
    again = read_descriptions(tmp_path / "text" / "descriptions.jsonl")
    assert [entry.description for entry in again] == [entry.description for entry in outcome.entries]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no description in it"),
        ("{", "line 1: broken JSON"),
        ("[]", "line 1: expected an object with a case_id"),
        ('{"case_id": "Doe^Jane 1"}', "line 1 .*Doe"),
        ('{"case_id": "Doe^Jane 1", "description": {}}', "line 1 .*location"),
        ('{"case_id": "Doe^Jane 1", "domain": "polyps", "description": {}}', "did you mean 'polyp'"),
        ("GOOD\nGOOD", "line 2: case 'Doe.Jane 1' is described twice"),
        ("STRANGER", "not in the data set: 'Doe.Jane 9'"),
    ],
    ids=["empty", "cut", "list", "no fields", "empty description", "domain", "twice", "stranger"],
)
def test_broken_descriptions_are_refused_and_nothing_is_written(dataset, tmp_path, answer, content, said):
    file = tmp_path / "mine.jsonl"
    good = json.dumps({"case_id": "Doe^Jane 1", **answer})
    file.write_text(content.replace("GOOD", good).replace("STRANGER", good.replace("Jane 1", "Jane 9")))
    with pytest.raises(DataError, match=said):
        import_descriptions(dataset, file, tmp_path / "text", "polyp")
    assert not (tmp_path / "text").exists()


def test_the_cache_is_apart_by_model_prompt_and_domain(tmp_path, answer):
    description = read_description(answer, "polyp", "here")
    base = {"provider": "openai", "model": "m", "prompt_hash": "p", "domain": "polyp"}
    DescriptionCache(tmp_path, **base).add("hash", description)
    assert DescriptionCache(tmp_path, **base)["hash"] == description
    for change in ({"model": "n"}, {"prompt_hash": "q"}, {"domain": "generic"}, {"provider": "rules"}):
        assert "hash" not in DescriptionCache(tmp_path, **(base | change))
