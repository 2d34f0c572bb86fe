"""The store of text embeddings: what it refuses, what it hands out, and the shuffled control."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from gazeseg.config import TextConfig
from gazeseg.data.text import NO_FIELD, CaseTexts, TextStore, load_text, read_embeddings, write_embeddings
from gazeseg.errors import DataError

SHUFFLED = TextConfig(control="shuffled_cases")


def make_text(lengths=(3, 1, 4), dim=5, prefix="c") -> TextStore:
    """Row r of the tokens is r + 1 throughout."""
    count = sum(lengths)
    return TextStore(
        ids=tuple(f"{prefix}{i}" for i in range(len(lengths))),
        tokens=np.repeat(np.arange(1, count + 1, dtype=np.float16)[:, None], dim, axis=1),
        lengths=np.array(lengths, dtype=np.int64),
        fields=np.resize(np.array([NO_FIELD, 0, 1], np.uint8), count),
        encoder="made",
        provider="rules",
        prompt_hash="0" * 12,
        field_names=("location", "boundary"),
    )


def test_a_file_holds_what_others_can_read(tmp_path):
    store = make_text()
    write_embeddings(tmp_path / "text" / "embeddings.safetensors", store)
    with safe_open(tmp_path / "text" / "embeddings.safetensors", framework="np") as file:
        assert file.get_tensor("tokens").dtype == np.float16
        assert file.get_tensor("lengths").tolist() == [3, 1, 4]
        assert file.get_tensor("fields").dtype == np.uint8
        assert json.loads(file.metadata()["ids"]) == ["c0", "c1", "c2"]
        assert file.metadata()["dim"] == "5"
    again = read_embeddings(tmp_path / "text" / "embeddings.safetensors")
    for field in dataclasses.fields(TextStore):
        assert np.array_equal(getattr(again, field.name), getattr(store, field.name)), field.name
    assert [path.name for path in (tmp_path / "text").iterdir()] == ["embeddings.safetensors"]


def test_padding_is_zero_and_a_case_without_text_has_none():
    texts = CaseTexts.make(make_text(), ["c2", "no text", "c1"], TextConfig())
    tokens, lengths, fields = texts.padded(np.array([0, 1, 2]))
    assert lengths.tolist() == [4, 0, 1]
    assert tokens[:, :, 0].tolist() == [[5, 6, 7, 8], [0, 0, 0, 0], [4, 0, 0, 0]]
    assert fields.tolist() == [[0, 1, NO_FIELD, 0], [NO_FIELD] * 4, [NO_FIELD] * 4]
    tokens, lengths, _ = texts.padded(np.array([1]))
    assert tokens.shape == (1, 1, 5)
    assert lengths.tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 30), seed=st.integers(0, 5))
def test_shuffled_text_is_the_same_text_at_other_images(count, seed):
    store = make_text(tuple(1 + i % 3 for i in range(count)))
    ids = [*store.ids, "without"]
    texts = CaseTexts.make(store, ids, TextConfig(control="shuffled_cases", seed=seed))
    true = store.lookup(ids)
    assert (texts.places[:-1, 0] != true[:-1, 0]).all()
    assert sorted(map(tuple, texts.places)) == sorted(map(tuple, true))
    assert texts.places[-1].tolist() == [0, 0]
    backwards = CaseTexts.make(store, ids[::-1], TextConfig(control="shuffled_cases", seed=seed))
    assert np.array_equal(backwards.places[::-1], texts.places)  # the order of the cases decides nothing


def test_one_text_cannot_be_shuffled():
    with pytest.raises(DataError, match="two images with text, got 1"):
        CaseTexts.make(make_text((3,)), ["c0", "without"], SHUFFLED)


def test_a_stand_in_and_a_control_say_so():
    store = make_text()
    assert "stand-in" in store.label("none")
    assert "shuffled between images" in store.label("shuffled_cases")
    assert dataclasses.replace(store, provider="openai gpt").label("none") == "openai gpt"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lengths": np.array([3, 1, 5])}, "sum to 9"),
        ({"lengths": np.array([3, 5])}, "lengths"),
        ({"lengths": np.array([8, 0, 0])}, "no token"),
        ({"tokens": np.ones((8, 5), np.float32)}, "float32"),
        ({"tokens": np.ones(8, np.float16)}, "tokens"),
        ({"tokens": np.full((8, 5), np.nan, np.float16)}, "NaN"),
        ({"tokens": np.zeros((8, 5), np.float16)}, "padding"),
        ({"fields": np.full(8, 2, np.uint8)}, "unnamed field"),
        ({"fields": np.zeros(7, np.uint8)}, "fields"),
        ({"ids": ("c0", "c0", "c1")}, "twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts_that_do_not_fit_are_refused(tmp_path, change, said):
    file = tmp_path / "embeddings.safetensors"
    broken = dataclasses.replace(make_text(), **change)
    with pytest.raises(DataError, match=said):
        write_embeddings(file, broken)
    assert not file.exists()
    metadata = {"encoder": "made", "dim": "5", "provider": "rules", "prompt_hash": "", "field_names": '["a", "b"]'}
    tensors = {name: np.ascontiguousarray(getattr(broken, name)) for name in ("tokens", "lengths", "fields")}
    save_file(tensors, file, metadata | {"ids": json.dumps(broken.ids)})
    with pytest.raises(DataError, match=said):
        read_embeddings(file)


def test_another_dimension_than_the_file_says_is_refused(tmp_path):
    file, store = tmp_path / "embeddings.safetensors", make_text()
    write_embeddings(file, store)
    with safe_open(file, framework="np") as opened:
        metadata = opened.metadata() | {"dim": "768"}
    save_file({name: getattr(store, name) for name in ("tokens", "lengths", "fields")}, file, metadata)
    with pytest.raises(DataError, match=r"says 768 .* holds 5"):
        read_embeddings(file)


@pytest.mark.parametrize("content", [b"", b"not a tensor file", None], ids=["empty", "noise", "no metadata"])
def test_a_broken_file_is_named(tmp_path, content):
    file = tmp_path / "embeddings.safetensors"
    if content is None:
        save_file({"tokens": np.ones((1, 1), np.float16)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"embeddings\.safetensors.*gazeseg encode"):
        read_embeddings(file)


def test_missing_embeddings_say_what_to_run(tmp_path):
    with pytest.raises(DataError, match=rf"gazeseg describe {tmp_path} && gazeseg encode {tmp_path}$"):
        load_text(tmp_path / "text", tmp_path, [])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "descriptions.jsonl").touch()
    with pytest.raises(DataError, match=rf"run: gazeseg encode {tmp_path} --out {elsewhere}$"):
        load_text(elsewhere, tmp_path, [])


def test_text_of_images_outside_the_data_set_is_refused_by_name(tmp_path):
    write_embeddings(tmp_path / "embeddings.safetensors", make_text((1,) * 7))
    with pytest.raises(DataError, match=r"6 image\(s\) that are not in the data set: 'c1', 'c2', .*\.\.\."):
        load_text(Path(tmp_path), tmp_path, ["c0", "d0"])
    assert load_text(Path(tmp_path), tmp_path, [f"c{i}" for i in range(9)]).dim == 5
