import dataclasses

import numpy as np
import pytest
import torch

from gazeseg.errors import ConfigError
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, check_method, make_batch
from gazeseg.methods.gazemedseg import GazeMedSeg, GazeMedSegConfig


def _make(levels=2, num_classes=2, **keys):
    method = {"name": "gazemedseg", **keys}
    return create(method, network=NETWORK, in_channels=3, num_classes=num_classes, levels=levels, seed=0)


def _batch(levels=2):
    return make_batch(frozenset({"pseudo"}), in_channels=3, num_classes=2, levels=levels)


def _same_start(method):
    first, second = (list(network.parameters()) for network in method.networks)
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_profiles_fill_what_is_left_open():
    paper, released = GazeMedSegConfig().resolved(), GazeMedSegConfig(profile="released").resolved()
    assert (paper.init, paper.lpp.similarity, paper.lpp.pad) == ("independent", "cosine", "exclude")
    assert (released.init, released.lpp.similarity, released.lpp.pad) == ("deepcopy", "dot", "zero")
    assert (paper.lpp.kernel, paper.lpp.dilation, paper.lpp.temperature) == (5, 2, 1)
    assert (paper.consistency, paper.consistency_weight, paper.inference) == ("prop", 3, "mean_logit")


def test_a_given_key_wins_over_the_profile():
    config = _make(profile="released", init="independent", lpp={"pad": "exclude"}).config
    assert (config.init, config.lpp.similarity, config.lpp.pad) == ("independent", "dot", "exclude")


def test_the_configuration_of_a_method_is_resolved_and_repeats_it():
    config = _make(profile="released").config
    assert GazeMedSegConfig.model_validate(config.model_dump()).resolved() == config


def test_levels_start_different_in_the_paper_and_equal_in_the_released_code():
    assert not _same_start(_make())
    assert _same_start(_make(profile="released"))


def test_levels_that_start_equal_are_apart_in_memory():
    first, second = _make(profile="released").networks
    assert first.head.weight.data_ptr() != second.head.weight.data_ptr()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_one_network_a_level(levels):
    method = _make(levels=levels)
    out = method.training_step(_batch(levels), 0)
    assert len(method.networks) == levels
    assert ("consistency" in out.losses) == (levels > 1)
    assert {f"seg/{i}" for i in range(levels)} <= set(out.logs)
    assert method.predict_levels(torch.randn(2, 3, 32, 40)).shape == (levels, 2, 2, 32, 40)


def test_the_terms_are_weighted_and_logged_apart():
    batch = _batch()
    out = _make(consistency_weight=3).training_step(batch, 0)
    raw = sum(out.logs[f"consistency/{i}"] for i in range(2))
    torch.testing.assert_close(out.losses["consistency"], 3 * raw)
    torch.testing.assert_close(out.losses["seg"], out.logs["seg/0"] + out.logs["seg/1"])
    assert -2 <= raw.item() <= 0
    assert "consistency" not in _make(consistency_weight=0).training_step(batch, 0).losses


def test_options_change_the_consistency_alone():
    batch = _batch()
    options = ({}, {"consistency": "pure"}, {"lpp": {"temperature": 0.1}}, {"lpp": {"similarity": "dot"}})
    outs = [_make(**keys).training_step(batch, 0).losses for keys in options]
    assert len({out["seg"].item() for out in outs}) == 1
    assert len({round(out["consistency"].item(), 7) for out in outs}) == len(options)


def test_seg_ignores_255_without_a_constant():
    batch = _batch()
    method = _make()
    ignored = dataclasses.replace(batch, pseudo=torch.full_like(batch.pseudo, 255))
    assert method.training_step(ignored, 0).losses["seg"] == 0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_prediction_averages_logits_or_probabilities(num_classes):
    images = torch.randn(2, 3, 32, 32)
    method = _make(num_classes=num_classes, inference="mean_prob").eval()
    torch.testing.assert_close(method.predict(images), method.predict_levels(images).mean(dim=0))
    logits = torch.stack([network(images) for network in method.networks]).mean(dim=0)
    expected = torch.cat([1 - logits.sigmoid(), logits.sigmoid()], dim=1) if num_classes == 2 else logits.softmax(dim=1)
    by_logit = _make(num_classes=num_classes).eval()
    torch.testing.assert_close(by_logit.predict(images), expected)


def test_mean_prob_survives_a_collapsed_level():
    images = torch.randn(1, 3, 32, 32)
    by_logit, by_probability = _make().eval(), _make(inference="mean_prob").eval()
    for method in (by_logit, by_probability):
        with torch.no_grad():
            for network, bias in zip(method.networks, (4.0, -60.0), strict=True):
                network.head.weight.zero_()
                network.head.bias.fill_(bias)
    assert (by_logit.predict(images)[:, 1] < 1e-6).all()
    assert (by_probability.predict(images)[:, 1] > 0.45).all()


def test_another_number_of_levels_is_refused():
    with pytest.raises(ConfigError, match="3 pseudo-mask levels, but 2 networks"):
        _make().training_step(_batch(3), 0)
    with pytest.raises(ConfigError, match="at least one level"):
        _make(levels=0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lpp": {"kernel": 4}}, "must be odd"),
        ({"lpp": {"similarty": "dot"}}, "did you mean 'similarity'"),
        ({"profile": "papr"}, "profile"),
        ({"consistncy": "pure"}, "did you mean 'consistency'"),
    ],
)
def test_wrong_keys_are_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        _make(**keys)


@pytest.mark.parametrize(
    "config", [GazeMedSegConfig(profile="released"), GazeMedSegConfig(consistency="pure", inference="mean_prob")]
)
def test_the_contract_holds_for_other_configurations(config):
    check_method(GazeMedSeg, config)


@pytest.mark.real
def test_a_step_equals_the_published_loss(golden, monkeypatch):
    values = {key: torch.tensor(value) for key, value in np.load(golden / "gazemedseg_released.npz").items()}
    method = _make(profile="released")
    plain = iter(values["logits"][:2])
    propagated = iter(values["logits_prop"][:2])
    for network in method.networks:
        monkeypatch.setattr(network, "features", lambda images: images)
        monkeypatch.setattr(network.head, "forward", lambda maps: next(plain))
    monkeypatch.setattr("gazeseg.methods.gazemedseg.propagate_logits", lambda *arguments: next(propagated))
    target = values["target"].long().expand(-1, 2, -1, -1)
    batch = dataclasses.replace(_batch(), image=torch.zeros(2, 3, 12, 10), pseudo=target)
    total = sum(method.training_step(batch, 0).losses.values())
    assert total.item() == pytest.approx(values["step_loss_2_levels"].item(), abs=1e-6)
