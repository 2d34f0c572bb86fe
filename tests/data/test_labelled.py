"""Whose masks may be seen: how it is written, and that subsets are whole patients, nested and in order."""

import itertools

import pytest

from gazeseg.config import DataConfig, build
from gazeseg.data.dataset import Case
from gazeseg.data.labelled import labelled_patients
from gazeseg.errors import ConfigError, DataError

CASES = [Case(f"{p}{n}", p, "train", None, None, 1, 1) for p in "abcdefghij" for n in range(2)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("3 patients", "3 patients"), ("1 patients", "1 patient"), ("10 %", 0.1), ("10%", 0.1), (0.25, 0.25),
        (1, 1.0), (["a", "b"], ("a", "b")), ("0.5", 0.5),
    ],
)  # fmt: skip
def test_every_spelling_is_read_and_read_again(written, read):
    found = build(DataConfig, {"labelled": written}, "data").labelled
    assert found == read
    assert build(DataConfig, {"labelled": found}, "data").labelled == read


@pytest.mark.parametrize("written", ["0 patients", "three", 0, 1.5, "150 %", [], ["a", "a"], "-1 %"])
def test_what_names_no_subset_is_refused(written):
    with pytest.raises(ConfigError, match=r"data\.labelled|labelled"):
        build(DataConfig, {"labelled": written}, "data")


def test_subsets_are_nested_and_follow_the_order():
    order = ("j", "c", "a")
    assert labelled_patients(CASES, "2 patients", order) == {"j", "c"}
    assert labelled_patients(CASES, 0.29, order) == {"j", "c"}  # rounded down, as 5 % of 70 patients are 3
    sizes = [labelled_patients(CASES, f"{n} patients", order) for n in range(1, 11)]
    assert all(small < large for small, large in itertools.pairwise(sizes))
    assert labelled_patients(CASES, 1.0) == set("abcdefghij")
    assert labelled_patients(CASES, ("b", "d"), order) == {"b", "d"}


def test_a_patient_that_is_not_there_is_named():
    with pytest.raises(DataError, match=r"no training patient 'k'"):
        labelled_patients(CASES, ("a", "k"))
    with pytest.raises(DataError, match=r"11 patients asked for, but only 10"):
        labelled_patients(CASES, "11 patients")
