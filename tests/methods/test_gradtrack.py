import contextlib
import copy
import dataclasses
import inspect
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazeseg.config import AugmentConfig, DataConfig, NetworkConfig, PartialConfig, PseudoConfig, RunConfig, TrainConfig
from gazeseg.data.cache import open_store
from gazeseg.data.images import read_image
from gazeseg.data.loader import TrainLoader
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.errors import ConfigError
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, check_method, make_batch
from gazeseg.methods.gradtrack import GradTrack, GradTrackConfig, TrackAttentionConfig, TrackMapsConfig
from gazeseg.predict.predictor import Predictor
from gazeseg.supervision.track import track_maps, unit_track
from gazeseg.train import checkpoint
from gazeseg.train.run import train
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.trainer import fit

FOUR = NetworkConfig(name="small_unet", features=(4, 8, 8, 8, 8))
LITE = NetworkConfig(name="efficientnet_lite0", features=(16, 8, 8, 8, 8), pretrained=False)


def _make(network=FOUR, num_classes=2, levels=1, **keys) -> GradTrack:
    method = {"name": "gradtrack", **keys}
    return create(method, network=network, in_channels=3, num_classes=num_classes, levels=levels, seed=0)


def _batch(size=(48, 64), **keys):
    return make_batch(GradTrack.needs, in_channels=3, num_classes=2, size=size, levels=1, **keys)


def _stirred(method):
    """Past the start, where the attention is flat and passes no gradient down."""
    for module in method.attention.attention:
        torch.nn.init.normal_(module.attend.weight)
    return method


def test_defaults_are_those_of_the_specification():
    config = _make().config
    assert (config.tracks.levels, config.tracks.keep, config.tracks.rhos) == (4, "last", (1, 0.75, 0.5, 0.25))
    assert (config.maps.mode, config.maps.duration_gamma, config.tracks.n_min) == ("dist", 0.5, 3)
    assert config.maps.sigma * 224 == pytest.approx(20.4, abs=0.02)
    assert (config.lambda_att, config.stage_weights) == (1, (0.25,) * 4)
    assert (config.ta.enabled, config.ta.reduction, config.ta.bias, config.ta.loss) == (True, 4, -2, "bce_soft")
    assert GradTrack.reference.status == "reconstruction"
    assert "reconstruction" in GradTrack.summary


def test_the_resolved_configuration_repeats_the_method():
    config = _make(tracks={"preset": "R3", "levels": 2}).config
    again = GradTrackConfig.model_validate(config.model_dump(mode="json")).resolved(4)
    assert again == config
    assert (config.tracks.keep, config.tracks.rhos) == ("first", (0.5, 1))


def test_a_given_key_wins_over_the_preset():
    config = _make(tracks={"preset": "R1", "rhos": [1, 1, 0.5], "keep": "first"}).config
    assert (config.tracks.levels, config.tracks.rhos, config.tracks.keep) == (3, (1, 1, 0.5), "first")


@pytest.mark.parametrize(
    ("network", "levels", "stages", "finest", "deepest"),
    [
        (FOUR, None, 4, (0, 1, 2, 3), (0, 1, 2, 3)),
        (FOUR, 1, 4, (3,), (0,)),
        (FOUR, 3, 4, (1, 2, 3), (0, 1, 2)),
        (NETWORK, None, 2, (0, 1), (0, 1)),
        (NetworkConfig(name="basic_unet", features=(4, 8, 8, 8, 16, 12)), None, 4, (0, 1, 2, 3), (0, 1, 2, 3)),
        (LITE, None, 5, (1, 2, 3, 4), (0, 1, 2, 3)),
        (LITE.model_copy(update={"features": None}), None, 5, (0, 1, 2, 3), (0, 1, 2, 3)),  # four of five: to half size
    ],
)
def test_k_levels_sit_at_the_finest_or_deepest_stages(network, levels, stages, finest, deepest):
    for place, expected in (("finest", finest), ("deepest", deepest)):
        method = _make(network, tracks={"levels": levels, "stages": place})
        assert method.attention.stages == expected
        size = (64, 96)
        _, attention = method._forward(torch.randn(1, 3, *size))
        cells = [2 ** (stages - 1 - stage) for stage in expected]
        assert [tuple(a.shape) for a in attention] == [(1, 1, size[0] // c, size[1] // c) for c in cells]


def test_targets_are_the_numpy_maps_averaged_over_the_cells():
    method, size = _make(tracks={"n_min": 1}), (48, 64)
    batch = _batch(size)
    _, attention = method._forward(batch.image)
    targets = method._targets(batch, attention)
    for b in range(2):
        maps = track_maps(unit_track(batch.track[b].numpy(), size), size, method.ladder)
        for s, cells in enumerate((8, 4, 2, 1)):
            wanted = maps[s].reshape(size[0] // cells, cells, size[1] // cells, cells).mean(axis=(1, 3))
            np.testing.assert_allclose(targets[s][b, 0].numpy(), wanted, atol=1e-5)


def test_the_loss_is_that_of_the_specification():
    weights = (0.1, 0.2, 0.3, 0.4)
    method = _stirred(_make(lambda_att=0.7, stage_weights=weights))
    batch = _batch()
    out = method.training_step(batch, 0)
    logits, attention = method._forward(batch.image)
    targets = method._targets(batch, attention)
    mask = batch.pseudo[:, 0]
    per_image = [
        F.binary_cross_entropy_with_logits(z[0][m != 255], m[m != 255].float())
        for z, m in zip(logits, mask, strict=True)
    ]
    torch.testing.assert_close(out.losses["seg"], torch.stack(per_image).mean())
    terms = [F.binary_cross_entropy_with_logits(a, t) for a, t in zip(attention, targets, strict=True)]
    att = sum(w * term for w, term in zip(weights, terms, strict=True))
    torch.testing.assert_close(out.losses["att"], 0.7 * att)
    floor = sum(w * F.binary_cross_entropy(t, t) for w, t in zip(weights, targets, strict=True))
    torch.testing.assert_close(out.logs["att_excess"], (att - floor).detach())
    assert out.logs["att_excess"] > 0
    assert [out.logs[f"att/{s}"].item() for s in range(4)] == pytest.approx([t.item() for t in terms])


def test_the_attention_loss_alone_teaches_the_encoder():
    method = _stirred(_make())
    method.training_step(_batch(), 0).losses["att"].backward()
    encoder = [p for name, p in method.network.named_parameters() if ".stem" in name or ".encoder" in name]
    assert encoder
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder)
    assert method.network.head.weight.grad is None


def test_images_without_gaze_contribute_nothing_to_the_attention_loss():
    method = _stirred(_make())
    batch = _batch()
    silent = dataclasses.replace(batch, track_length=torch.tensor([5, 0]))
    one = dataclasses.replace(
        batch, **{f: getattr(batch, f)[:1] for f in ("image", "pseudo", "track", "track_length")}, ids=batch.ids[:1]
    )
    torch.testing.assert_close(
        method.training_step(silent, 0).losses["att"], method.training_step(one, 0).losses["att"]
    )
    none = method.training_step(dataclasses.replace(batch, track_length=torch.zeros(2, dtype=torch.int64)), 0)
    assert none.losses["att"] == 0
    assert none.logs["att_excess"] == 0


def test_without_attention_it_is_the_plain_network():
    method, plain = _make(ta={"enabled": False}), create(
        {"name": "gaze_unet"}, network=FOUR, in_channels=3, num_classes=2, levels=1, seed=0
    )  # fmt: skip
    batch = _batch()
    out = method.training_step(batch, 0)
    assert set(out.losses) == {"seg"}
    torch.testing.assert_close(out.losses["seg"], plain.training_step(batch, 0).losses["bce"])
    assert torch.equal(method.eval().predict(batch.image), plain.eval().predict(batch.image))


def test_without_the_attention_loss_the_attention_stays():
    out = _make(lambda_att=0).training_step(_batch(), 0)
    assert set(out.losses) == {"seg"}
    assert "att_excess" not in out.logs


def test_squared_error_takes_the_place_of_the_cross_entropy():
    method = _make(ta={"loss": "mse"})
    out = method.training_step(_batch(), 0)
    torch.testing.assert_close(out.logs["att_excess"], out.losses["att"].detach())
    assert out.losses["att"] < 0.5


def test_the_foreground_shares_feed_the_collapse_watch():
    method = _make()
    batch = dataclasses.replace(_batch(), pseudo=torch.zeros(2, 1, 48, 64, dtype=torch.int64))
    batch.pseudo[0, 0, :12] = 1
    batch.pseudo[1] = 255
    torch.nn.init.zeros_(method.network.head.weight)
    for bias, share in ((-1.0, 0.0), (1.0, 1.0)):
        torch.nn.init.constant_(method.network.head.bias, bias)
        logs = method.training_step(batch, 0).logs
        assert logs["foreground"].item() == share
        assert logs["foreground_target"].item() == 0.25


def test_prediction_knows_no_gaze():
    assert list(inspect.signature(GradTrack.predict).parameters) == ["self", "images"]
    method = _stirred(_make()).eval()
    images = torch.randn(2, 3, 48, 64)
    before = method.predict(images)
    with torch.no_grad():
        method.training_step(_batch(seed=1), 0)
    assert torch.equal(method.predict(images), before)


def test_nothing_waits_for_a_value_of_the_device(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **keys: contextlib.nullcontext())  # meta has none
    out = _make().to("meta").training_step(_batch().to("meta"), 0)  # reading a value there is an error
    assert {"seg", "att"} == set(out.losses)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tracks": {"levels": 5}}, "levels"),
        ({"tracks": {"levels": 3, "rhos": [1, 0.5]}}, "method.tracks.rhos has 2 values for 3 levels"),
        ({"tracks": {"rhos": [1, 0]}}, "above 0 and at most 1"),
        ({"stage_weights": [1, 1]}, "method.stage_weights has 2 values for 4 levels"),
        ({"tracks": {"preset": "R4"}}, "preset"),
        ({"tracks": {"pre_set": "R1"}}, "did you mean 'preset'"),
        ({"level": 1}, "method.level is 1"),
    ],
)
def test_wrong_keys_are_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        _make(**keys)


def test_more_levels_than_stages_are_refused():
    with pytest.raises(ConfigError, match=r"4 levels, but the network has 2 decoder stages.*levels to 2 or less"):
        _make(NETWORK, tracks={"levels": 4})


@pytest.mark.parametrize(
    "config",
    [
        GradTrackConfig(maps=TrackMapsConfig(mode="kde"), ta=TrackAttentionConfig(loss="mse")),
        GradTrackConfig(ta=TrackAttentionConfig(enabled=False)),
    ],
)
def test_the_contract_holds_for_other_configurations(config):
    check_method(GradTrack, config)


def test_an_explanation_sets_each_attention_beside_its_target():
    method = _stirred(_make()).eval()
    batch = _batch((50, 70), batch_size=1)
    with torch.no_grad():
        layers = method.explain(batch)
    assert [layer.row for layer in layers] == ["prediction"] + [f"stage {s}" for s in range(4) for _ in range(3)]
    assert [layer.kind for layer in layers[1:4]] == ["attention", "target", "difference"]
    for attention, target, difference in zip(layers[1::3], layers[2::3], layers[3::3], strict=True):
        assert attention.values.shape == target.values.shape == difference.values.shape == (50, 70)
        torch.testing.assert_close(difference.values, attention.values - target.values)
        assert target.values.max() <= 1
    assert "the whole track" in layers[2].title
    assert "last 25%" in layers[11].title
    maps = track_maps(unit_track(batch.track[0].numpy(), (50, 70)), (50, 70), method.ladder)
    np.testing.assert_allclose(layers[11].values.numpy(), maps[3], atol=1e-5)
    with torch.no_grad():
        without = method.explain(dataclasses.replace(batch, track_length=torch.zeros(1, dtype=torch.int64)))
    assert [layer.kind for layer in without] == ["probability"] + ["attention"] * 4


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    dataset = make_demo_dataset(tmp_path_factory.mktemp("demo") / "DS", cases=12, size=(48, 48))
    config = resolve_config(dataset, {"crf": {"mode": "off"}})
    make_masks(dataset, dataset.root / "pseudo", config, jobs=1)
    return open_store(
        dataset,
        dataset.split("train"),
        size=(32, 48),
        fields={"heatmap"},
        pseudo=dataset.root / "pseudo",
        cache_dir=dataset.root / ".cache",
    )


def _loader(store, augment=None, batch_size=4) -> TrainLoader:
    return TrainLoader(
        store,
        data=DataConfig(augment=augment or AugmentConfig(rotate_deg=20)),
        pseudo=PseudoConfig(thresholds=(0.5,), source="heatmap"),
        partial=PartialConfig(),
        needs=GradTrack.needs,
        batch_size=batch_size,
        seed=0,
    )


def test_maps_move_with_the_image_when_it_is_flipped(store):
    still = _loader(store, AugmentConfig(flip_horizontal=0, flip_vertical=0)).batch(0)
    both = _loader(store, AugmentConfig(flip_horizontal=1, flip_vertical=1)).batch(0)
    torch.testing.assert_close(both.image, still.image.flip(2, 3))
    method = _make()
    sizes = [torch.empty(1, 1, 4 * 2**k, 6 * 2**k) for k in range(4)]
    for target, flipped in zip(method._targets(still, sizes), method._targets(both, sizes), strict=True):
        assert target.amax(dim=(1, 2, 3)).min() > 0.2
        torch.testing.assert_close(flipped, target.flip(2, 3), atol=1e-5, rtol=0)


class _Interrupted:
    """A loader that is cut off at some step."""

    def __init__(self, loader, step):
        self.loader, self.step = loader, step

    def batch(self, step):
        if step == self.step:
            raise KeyboardInterrupt
        return self.loader.batch(step)


def test_an_interrupted_run_ends_with_the_same_bits(store, tmp_path):
    config = TrainConfig(
        iterations=9, batch_size=4, lr=5e-3, optimizer="adamw", threads=1, device="cpu", checkpoint_every=3, log_every=2
    )
    start = _make()
    whole, cut = copy.deepcopy(start), copy.deepcopy(start)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    loader = _loader(store)
    fit(whole, loader, config=config, folder=RunFolder(tmp_path / "whole"))
    with contextlib.suppress(KeyboardInterrupt):
        fit(cut, _Interrupted(loader, 5), config=config, folder=RunFolder(tmp_path / "cut"))
    assert checkpoint.load(RunFolder(tmp_path / "cut")).step == 3
    again = _make()
    fit(again, loader, config=config, folder=RunFolder(tmp_path / "cut"), resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    rows = [
        [
            {k: v for k, v in row.items() if k not in ("time_s", "it_per_s", "loader_share", "memory_mb")}
            for row in RunFolder(tmp_path / n).metrics()
        ]
        for n in ("whole", "cut")
    ]
    assert rows[0] == rows[1]


def test_a_trained_run_predicts_the_same_without_any_gaze_file(tmp_path):
    dataset = make_demo_dataset(tmp_path / "DS", cases=12, size=(40, 40))
    make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {"crf": {"mode": "off"}}), jobs=1)
    config = RunConfig(
        method={"name": "gradtrack"},
        data=DataConfig(path=dataset.root, size=(32, 32)),
        network=FOUR,
        train=TrainConfig(iterations=3, batch_size=4, optimizer="adamw", lr=0.01, threads=1, device="cpu"),
    )
    run = train(config, tmp_path / "run")
    images = [read_image(case.image) for case in dataset.split("test")]
    before = Predictor.load(run.path).probabilities(images)
    shutil.rmtree(dataset.root / "gaze")
    shutil.rmtree(dataset.root / "pseudo")
    for ours, theirs in zip(Predictor.load(run.path).probabilities(images), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
