from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeseg.data.schema import Case
from gazeseg.data.split import (
    check_splits,
    group_split,
    read_split_list,
    read_split_lists,
    shared_images,
    split_checksum,
)
from gazeseg.errors import DataError


def case(case_id, patient_id, split="none"):
    return Case(case_id, patient_id, split, None, None, 8, 8)


@given(
    patients=st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda p: len(set(p)) > 1),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_a_split_keeps_patients_whole(patients, fraction, seed):
    cases = [case(str(index), f"p{patient}") for index, patient in enumerate(patients)]
    rest, held_out = group_split(cases, fraction, seed)
    assert sorted([*rest, *held_out], key=lambda c: int(c.case_id)) == cases
    assert not {c.patient_id for c in rest} & {c.patient_id for c in held_out}
    assert rest
    assert held_out
    assert [c for c in cases if c in rest] == list(rest)
    assert group_split(cases, fraction, seed) == (rest, held_out)
    backwards = group_split(cases[::-1], fraction, seed)
    assert {c.case_id for c in backwards[1]} == {c.case_id for c in held_out}


def test_the_share_is_met_and_the_seed_matters():
    cases = [case(str(index), f"p{index // 3}") for index in range(300)]
    sizes = {len(group_split(cases, 0.1, seed)[1]) for seed in range(5)}
    assert sizes == {30}
    assert len({group_split(cases, 0.1, seed)[1] for seed in range(5)}) == 5


def test_one_patient_cannot_be_split():
    with pytest.raises(DataError, match=r"1 patient\(s\) cannot be split"):
        group_split([case("a", "p"), case("b", "p")], 0.5, 0)
    with pytest.raises(DataError, match="fraction between 0 and 1, got 1"):
        group_split([case("a", "p"), case("b", "q")], 1.0, 0)


def test_overlaps_are_errors():
    fine = [case("a", "p", "train"), case("b", "p", "train"), case("c", "q", "test"), case("d", "p", "none")]
    check_splits(fine)
    with pytest.raises(DataError, match="case 'c' is in test and train"):
        check_splits([*fine, case("c", "q", "train")])
    with pytest.raises(
        DataError, match=r"patient 'p' is in test and train \(and 1 more\); a patient may be in one split"
    ):
        check_splits([*fine, case("e", "p", "test"), case("f", "q", "val")])
    check_splits([replace(c, split="none") for c in fine])


def test_the_checksum_by_hand():
    # printf 'a\nb' | sha256sum
    assert split_checksum(["b", "a"]) == "7e18f737311b2dc3"


def test_lists_may_name_files_and_come_from_anywhere(tmp_path):
    (tmp_path / "train.txt").write_bytes("\ufeffa.png\r\n\r\n images/b.jpg \r\n".encode())
    (tmp_path / "test.txt").write_text("u\u0308\nd.x")  # decomposed, as some file systems keep it
    found = read_split_lists(tmp_path, ["a", "b", "ü", "d.x", "e"])
    assert found == {"a": "train", "b": "train", "ü": "test", "d.x": "test"}


def test_broken_lists(tmp_path):
    with pytest.raises(DataError, match=r"no split list; expected train\.txt, val\.txt, test\.txt"):
        read_split_lists(tmp_path, ["a"])
    train = tmp_path / "train.txt"
    train.write_text("case-1\ncase-3\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: no image 'case-3'; did you mean 'case-"):
        read_split_lists(tmp_path, ["case-1", "case-2"])
    assert read_split_lists(tmp_path, ["case-1"], strict=False) == {"case-1": "train"}
    (tmp_path / "test.txt").write_text("case-1.png\n")
    with pytest.raises(DataError, match=r"test\.txt, line 1: 'case-1\.png' is listed already in train; remove one"):
        read_split_lists(tmp_path, ["case-1", "case-3"])
    train.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a list of ids"):
        read_split_lists(tmp_path, ["case-1"])


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "count", "checksum"),
    [
        ("kvasir-seg/train.txt", 900, "8f6bd134617d78ef"),
        ("kvasir-seg/test.txt", 100, "462faf32e5fc7a7b"),
        ("nci-isbi/train.txt", 789, "5b8b090114c35af8"),
        ("nci-isbi/test.txt", 117, "1f565f21ba4995d2"),
    ],
)
def test_published_checksums(real_data, name, count, checksum):
    ids = read_split_list(real_data / name)
    assert len(ids) == count
    assert split_checksum(ids) == checksum


def test_shared_images_are_found_by_content(tmp_path):
    content = {"a": b"one picture", "b": b"two picture", "c": b"one picture", "d": b"another", "e": b"one picture"}
    made = []
    for name, split in zip("abcde", ("train", "train", "test", "val", "none"), strict=True):
        (tmp_path / f"{name}.png").write_bytes(content[name])
        made.append(replace(case(name, name, split), image=tmp_path / f"{name}.png"))
    [twins] = shared_images(made)  # b has the length of a; e is in no split
    assert [entry.case_id for entry in twins] == ["a", "c"]
    assert shared_images(made[:2]) == []
    assert shared_images([replace(made[0], image=None), made[2]]) == []
