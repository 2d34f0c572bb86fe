"""Configuration: scalars, nesting, precedence, and errors that name the key."""

from pathlib import Path

import pytest

from gazeseg.config import RunConfig, build, merge, parse_overrides, parse_yaml, read_yaml, write_yaml
from gazeseg.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("off", "off"), ("yes", "yes"), ("true", True), ("1e-3", 0.001), ("2.5E4", 25000.0), ("-.5", -0.5)),
        *(("3", 3), ("null", None), ("1.", 1.0), ("+1e2", 100.0), ("e3", "e3"), ("1.2.3", "1.2.3")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_overrides_nest_and_the_last_one_wins():
    tokens = ["--train.lr", "1e-3", "--data.size=96,64", "--method.lpp.kernel", "3", "--train.lr=2e-3"]
    assert parse_overrides(tokens) == {
        "train": {"lr": 0.002},
        "data": {"size": [96, 64]},
        "method": {"lpp": {"kernel": 3}},
    }


def test_negative_numbers_are_values_not_options():
    assert parse_overrides(["--a.b", "-3"]) == {"a": {"b": -3}}


@pytest.mark.parametrize("tokens", [["--train.lr"], ["stray"], ["--train", "3"]])
def test_tokens_that_are_no_keys_are_refused(tokens):
    with pytest.raises(ConfigError):
        parse_overrides(tokens)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": {"lrr": 1}}, "unknown key 'train.lrr'; did you mean 'lr'"),
        ({"trian": {}}, "unknown key 'trian'; did you mean 'train'"),
        ({"train": {"lr": -1}}, "key 'train.lr'"),
        ({"pseudo": {"thresholds": [1.5]}}, "between 0 and 1"),
        ({"data": {"augment": {"rotate": 3}}}, "did you mean 'rotate_deg'"),
    ],
)
def test_errors_name_the_file_and_the_key(values, said):
    with pytest.raises(ConfigError, match=r"^run\.yaml: ") as caught:
        build(RunConfig, merge({"method": {"name": "full"}}, values), "run.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_written_configuration_reads_back_equal(tmp_path):
    config = build(RunConfig, {"method": {"name": "full"}, "train": {"lr": 1e-3}, "pseudo": {"thresholds": [0.5]}}, "x")
    write_yaml(tmp_path / "c.yaml", config)
    assert build(RunConfig, read_yaml(tmp_path / "c.yaml"), "c.yaml") == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configurations_are_valid(path):
    from gazeseg.methods import create

    config = build(RunConfig, read_yaml(path), path.name)
    create(
        config.method,
        network=config.network.model_copy(update={"name": "small_unet", "features": None}),
        in_channels=3,
        num_classes=2,
        levels=2,
        seed=0,
    )


def test_the_small_configurations_share_one_budget():
    small = {path.stem: read_yaml(path) for path in CONFIGS if path.stem.endswith("_small")}
    assert len(small) == 7
    steps = {name: config["train"].pop("iterations") for name, config in small.items()}
    assert steps == {name: 1500 if "fgi" in name else 3000 for name in small}  # a step of FGI costs several plain ones
    for section in ("data", "network", "train"):
        assert all(config[section] == small["kvasir_full_small"][section] for config in small.values()), section


@pytest.mark.parametrize(("text", "said"), [("a: [", "not a YAML file"), ("- 1", "expected sections")])
def test_broken_files_are_named(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_yaml(tmp_path / "c.yaml")
