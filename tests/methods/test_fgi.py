import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from gazeseg.config import NetworkConfig, RunConfig, TrainConfig, build
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.data.text import TextStore, write_embeddings
from gazeseg.errors import ConfigError, DataError
from gazeseg.losses import broad_target, narrow_target, partial_cross_entropy, ramp_up
from gazeseg.methods import create
from gazeseg.methods.contract import NETWORK, check_method, make_batch
from gazeseg.methods.fgi import FGI
from gazeseg.methods.fgi_config import PROFILES, FGIConfig
from gazeseg.nets import build_network
from gazeseg.train import checkpoint
from gazeseg.train.run import train
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.trainer import fit
from gazeseg.types import IGNORE

NEEDS = frozenset({"pseudo", "text", "text_length", "text_fields"})
SWITCHED_OFF = {
    "afc": {"afc": {"weight": 0}},
    "cwc": {"cwc": {"weight": 0}},
    "darm": {"darm": {"rho": 0}},
    "text": {"text": {"enabled": False}},
    "cutmix": {"cutmix": {"enabled": False}},
}


def _make(num_classes=2, network=NETWORK, in_channels=3, **keys):
    darm = {"share": 1.0, **keys.pop("darm", {})}
    method = {"name": "fgi", "fusion": {"position_grid": 48}, "darm": darm, **keys}
    return create(method, network=network, in_channels=in_channels, num_classes=num_classes, levels=2, seed=0)


def _batch(size=(48, 48), num_classes=2, seed=0):
    """Random images; nested square masks with a ring between them."""
    batch = make_batch(NEEDS, in_channels=3, num_classes=num_classes, size=size, seed=seed)
    pseudo = torch.zeros(2, 2, *size, dtype=torch.int64)
    pseudo[:, 1, 8:32, 8:32] = 1
    pseudo[:, 0, 14:26, 14:26] = 1
    pseudo[1, :, :, 40:] = IGNORE
    return dataclasses.replace(batch, pseudo=pseudo)


def _gradients(losses, module):
    gradients = torch.autograd.grad(losses, list(module.parameters()), allow_unused=True, retain_graph=True)
    return [gradient for gradient in gradients if gradient is not None and (gradient != 0).any()]


# profiles and keys


def test_profiles_fill_every_open_key():
    for profile, sections in PROFILES.items():
        config = FGIConfig(profile=profile).resolved()
        for section, keys in sections.items():
            place = getattr(config, section) if section else config
            assert {key: getattr(place, key) for key in keys} == keys
    paper = FGIConfig().resolved()
    assert paper.darm.share == 0.5
    assert (paper.afc.weight, paper.cwc.weight, paper.darm.rho, paper.ramp.iterations) == (0.1, 1.0, 0.3, 4000)
    assert (paper.cwc.tau_pos, paper.cwc.tau_neg, paper.fusion.heads, paper.cutmix.alpha) == (0.8, 0.2, 8, 4.0)


def test_a_given_key_wins_over_the_profile_and_the_resolved_configuration_repeats():
    config = _make(profile="released", afc={"weight": 0.3}, mutual=False).config
    assert (config.afc.weight, config.mutual, config.darm.budget) == (0.3, False, "batch")
    assert FGIConfig.model_validate(config.model_dump()).resolved() == config


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"darm": {"rhoo": 0.2}}, "did you mean 'rho'"),
        ({"fusion": {"heads": 3}}, "heads 3 does not divide the 8 channels"),
        ({"mutual": True, "training": "two_stage"}, "set mutual false"),
        ({"teacher": {"features": (4, 8, 8, 8)}}, "give both networks as many"),
    ],
)
def test_wrong_keys_are_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        _make(**keys)


def test_two_channels_are_for_two_classes():
    with pytest.raises(ConfigError, match="two_channels is for two classes, got 3"):
        _make(num_classes=3, profile="released")


# networks


def test_the_student_is_the_network_that_other_methods_train():
    method = _make()
    plain = build_network(NETWORK, in_channels=3, num_classes=2, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(method.student.parameters(), plain.parameters(), strict=True))
    assert set(method.student.state_dict()) == set(plain.state_dict())


def test_the_student_of_basic_unet_is_the_published_one():
    method = _make(network=NetworkConfig(name="basic_unet", features=(16, 32, 64, 128, 256, 32)))
    assert method.student.encoder_widths == (8, 16, 32, 64, 128)
    assert method.student.head.in_channels == 8


@pytest.mark.parametrize("profile", ["paper", "released"])
def test_predict_takes_images_alone_and_needs_no_afc_heads(profile):
    method, images = _make(profile=profile).eval(), _batch().image
    expected = method.predict(images)
    method.heads, method.fusion, method.teacher = None, None, None
    assert torch.equal(method.predict(images), expected)
    assert not any("heads" in key for key in method.student.state_dict())


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (320, 256), (37, 50)])
def test_any_size_runs(size):
    out = _make().training_step(_batch(size), 0)
    assert all(torch.isfinite(value) for value in out.losses.values())


@pytest.mark.parametrize("features", [None, (8, 16, 24)])
def test_lambda_zero_is_the_teacher_without_text(features):
    batch = _batch()
    fused = _make(fusion={"lambda_init": 0.0}, teacher={"features": features}).eval()
    plain = _make(text={"enabled": False}, teacher={"features": features}).eval()
    assert torch.equal(fused.predict_teacher(batch), plain.predict_teacher(batch))
    assert not torch.equal(
        _make(teacher={"features": features}).eval().predict_teacher(batch), plain.predict_teacher(batch)
    )


def test_the_teacher_of_an_image_without_text_sees_the_image_alone():
    method, batch = _make().eval(), _batch()
    alone = dataclasses.replace(batch, text=None)
    half = dataclasses.replace(batch, text_length=torch.tensor([0, 3]))
    seen, plain = method.predict_teacher(half), method.predict_teacher(alone)
    torch.testing.assert_close(seen[0], plain[0])
    assert not torch.allclose(seen[1], plain[1])
    out = method.train().training_step(dataclasses.replace(batch, text_length=torch.zeros(2, dtype=torch.int64)), 0)
    total = torch.stack(list(out.losses.values())).sum()
    gradients = torch.autograd.grad(total, list(method.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


# losses


def test_the_terms_are_those_of_the_paper():
    method, batch = _make(darm={"rho": 0}, cutmix={"enabled": False}), _batch()
    out = method.training_step(batch, 1000)
    guide, _ = method._teach(batch.image, batch)
    torch.testing.assert_close(out.losses["teacher"], partial_cross_entropy(guide, narrow_target(batch.pseudo)))
    student = method.student(batch.image)
    torch.testing.assert_close(out.losses["student"], partial_cross_entropy(student, broad_target(batch.pseudo)))
    ramp = ramp_up(1000, 4000)
    torch.testing.assert_close(out.losses["afc"], ramp * 0.1 * out.logs["afc"])
    torch.testing.assert_close(out.losses["cwc"], ramp * out.logs["cwc"])
    assert set(out.losses) == {"teacher", "student", "afc", "cwc"}


def test_the_ring_teaches_the_teacher_nothing():
    method, batch = _make(), _batch()
    guide, _ = method._teach(batch.image, batch)
    loss = partial_cross_entropy(guide, narrow_target(batch.pseudo, background=method.config.teacher.background))
    [gradient] = torch.autograd.grad(loss, guide)
    ring = torch.zeros(48, 48, dtype=torch.bool)
    ring[8:32, 8:32] = True
    ring[14:26, 14:26] = False
    assert (gradient[0, 0, ring] == 0).all()
    assert (gradient[0, 0, ~ring] != 0).all()


def test_the_teacher_receives_no_gradient_from_the_student():
    method, batch = _make(cwc={"tau_pos": 0.5, "tau_neg": 0.5}), _batch()
    losses = method.training_step(batch, 0).losses
    of_student = losses["student"] + losses["afc"] + losses["cwc"]
    assert losses["cwc"] > 0
    assert not _gradients(of_student, method.teacher) + _gradients(of_student, method.fusion)
    assert not _gradients(losses["teacher"], method.student)
    assert _gradients(losses["afc"], method.student)
    assert _gradients(losses["cwc"], method.student)


def test_mutual_guidance_reaches_the_teacher():
    method = _make(mutual=True, cwc={"tau_pos": 0.5, "tau_neg": 0.5})
    losses = method.training_step(_batch(), 0).losses
    assert _gradients(losses["mutual"], method.teacher)
    assert not _gradients(losses["mutual"], method.student)


@pytest.mark.parametrize("part", SWITCHED_OFF)
def test_each_mechanism_is_off_by_one_key(part):
    keys = SWITCHED_OFF[part]
    check_method(FGI, FGIConfig(**keys))
    batch = _batch()
    everywhere = {"cwc": {"tau_pos": 0.5, "tau_neg": 0.5}}
    out, full = (_make(**{**everywhere, **k}).training_step(batch, 50) for k in (keys, {}))
    terms = {"afc": {"afc"}, "cwc": {"cwc"}}.get(part, set())
    assert set(full.losses) - set(out.losses) == terms
    gone = {"darm": "darm/", "text": "lambda/", "afc": "afc", "cwc": "cwc"}.get(part)
    assert gone is None or not any(key.startswith(gone) for key in out.logs)
    changed = {"darm": "student", "text": "teacher", "cutmix": "cwc"}.get(part)
    if changed is not None:
        values = [{**o.losses, **o.logs}[changed].item() for o in (out, full)]
        assert values[0] != values[1]


@pytest.mark.parametrize(
    "keys",
    [
        {"profile": "released"},
        {"mutual": True},
        {"darm": {"disagreement": "delta", "delta": 0.01, "clip_to_disagreement": True}},
        {"cwc": {"region": "teacher"}, "fusion": {"form": "projected"}},
    ],
)
def test_the_contract_holds_for_other_configurations(keys):
    check_method(FGI, FGIConfig(**{**keys, "darm": {"share": 1.0, **keys.get("darm", {})}}))


def test_without_text_no_embeddings_are_asked_for():
    assert _make().needs == frozenset({"pseudo", "text"})
    plain = _make(text={"enabled": False})
    assert (plain.needs, plain.text_dim, FGI.needs) == (frozenset({"pseudo"}), None, frozenset({"pseudo", "text"}))
    out = plain.training_step(dataclasses.replace(_batch(), text=None, text_length=None, text_fields=None), 0)
    assert torch.isfinite(out.losses["teacher"])


def test_embeddings_of_another_dimension_are_named():
    with pytest.raises(DataError, match=r"set --method\.text\.dim 768"):
        _make().training_step(dataclasses.replace(_batch(), text=torch.randn(2, 3, 768)), 0)
    with pytest.raises(DataError, match="no 'text'"):
        _make().training_step(dataclasses.replace(_batch(), text=None), 0)


# masking and views


def _certain(method, teacher, student):
    """Make a network's prediction the same everywhere."""
    with torch.no_grad():
        for net, logit in ((method.teacher, teacher), (method.student, student)):
            net.head.weight.zero_()
            net.head.bias.fill_(logit)
    return method


def _seen_by_student(method, batch, step, monkeypatch):
    seen, encode = [], method.student.encode
    monkeypatch.setattr(method.student, "encode", lambda images: seen.append(images) or encode(images))
    out = method.training_step(batch, step)
    return seen[-1], out


def test_darm_hides_where_the_networks_differ_and_drops_the_label(monkeypatch):
    batch = _batch()
    keys = {"cutmix": {"enabled": False}}
    view, out = _seen_by_student(_certain(_make(**keys), 2.0, 2.0), batch, 3, monkeypatch)
    assert torch.equal(view, batch.image)
    assert out.logs["darm/hidden"] == 0
    view, out = _seen_by_student(_certain(_make(**keys), 2.0, -2.0), batch, 3, monkeypatch)
    hidden = (view == 0).all(dim=1)
    assert out.logs["darm/differs"] == 1
    assert out.logs["darm/hidden"].item() == pytest.approx(hidden.float().mean().item())
    assert 0.2 < hidden.float().mean() < 0.5
    kept = broad_target(batch.pseudo).masked_fill(hidden, IGNORE)
    logits = torch.full((2, 1, 48, 48), -2.0)
    torch.testing.assert_close(out.losses["student"], partial_cross_entropy(logits, kept))


def test_darm_leaves_a_share_of_the_images_plain(monkeypatch):
    """A student that sees blocks on the lesions of every image learns to find blocks instead."""
    batch = _batch()
    method = _certain(_make(cutmix={"enabled": False}, darm={"share": 0.5}), 2.0, -2.0)
    untouched = []
    for step in range(40):
        view, out = _seen_by_student(method, batch, step, monkeypatch)
        plain = (view == batch.image).flatten(1).all(dim=1)
        target = broad_target(batch.pseudo).masked_fill((view == 0).all(dim=1), IGNORE)
        torch.testing.assert_close(
            out.losses["student"], partial_cross_entropy(torch.full((2, 1, 48, 48), -2.0), target)
        )
        untouched += plain.tolist()
    assert 0.3 < np.mean(untouched) < 0.7
    assert out.logs["darm/differs"] == 1


@pytest.mark.parametrize(("logit", "share"), [(2.0, 1.0), (-2.0, 0.0)])
@pytest.mark.parametrize("darm", [{}, {"rho": 0}])
def test_the_logged_foreground_is_that_of_the_plain_images(logit, share, darm):
    batch = _batch()
    out = _certain(_make(darm=darm), 2.0, logit).training_step(batch, 3)
    labelled = 2 * 48 * 48 - 8 * 48  # 8 columns of the second image are ignored
    assert out.logs["foreground"] == share
    assert out.logs["foreground_target"].item() == pytest.approx(2 * 24 * 24 / labelled)


def test_the_released_masking_relabels_the_ring_of_the_pseudo_masks(monkeypatch):
    batch = _batch()
    method = _make(profile="released", channels="one_logit", cutmix={"enabled": False})
    view, out = _seen_by_student(_certain(method, 2.0, 2.0), batch, 3, monkeypatch)
    hidden = (view == 0).all(dim=1)
    assert hidden.any()
    assert not hidden[:, :, 38:].any(), "nothing far from the ring"
    target = broad_target(batch.pseudo)
    relabelled = torch.where(hidden & (target != IGNORE), 0, target)
    logits = torch.full((2, 1, 48, 48), 2.0)
    torch.testing.assert_close(out.losses["student"], partial_cross_entropy(logits, relabelled))
    assert out.logs["darm/differs"].item() == pytest.approx((24 * 24 - 12 * 12) / 48**2)


def test_views_are_a_function_of_the_step():
    method, batch = _make(), _batch()
    values = [method.training_step(batch, step).losses["student"].item() for step in (5, 6, 5)]
    torch.rand(7)
    assert method.training_step(batch, 5).losses["student"].item() == values[0] == values[2] != values[1]


def test_views_in_one_pass_are_views_one_by_one(monkeypatch):
    method, batch = _make(), _batch()
    views, _ = _seen_by_student(method, batch, 5, monkeypatch)
    assert views.shape[0] == 4
    torch.testing.assert_close(method.student(views), torch.cat([method.student(x) for x in views.split(1)]))


def test_the_mixed_view_is_noisy_and_teaches_with_mixed_beliefs(monkeypatch):
    method, batch = _make(cutmix={"noise": 0.0}, darm={"rho": 0}), _batch()
    batch = dataclasses.replace(batch, image=torch.stack([torch.zeros(3, 48, 48), torch.ones(3, 48, 48)]))
    view, _ = _seen_by_student(method, batch, 4, monkeypatch)
    mixed = view[2:]
    assert set(mixed.unique().tolist()) <= {0.0, 1.0}
    noisy, _ = _seen_by_student(_make(darm={"rho": 0}), batch, 4, monkeypatch)
    noise = noisy[2:] - mixed
    assert 0.15 < noise.abs().max() <= 0.2
    assert noise.mean().abs() < 0.01


# stages


def test_two_stages_teach_the_teacher_first_and_then_freeze_it():
    method, batch = _make(training="two_stage", teacher_iterations=3), _batch()
    first, second = method.training_step(batch, 2), method.training_step(batch, 3)
    assert set(first.losses) == {"teacher"}
    assert set(second.losses) == {"student", "afc", "cwc"}
    total = torch.stack(list(second.losses.values())).sum()
    assert not _gradients(total, method.teacher) + _gradients(total, method.fusion)
    assert second.losses["afc"].item() == pytest.approx(0.1 * ramp_up(0, 4000) * second.logs["afc"].item())


def _fit(folder, iterations, *, resume=False, keys=None, stop=None):
    """Train on batches that are a function of the step; ``stop`` ends the run there by an error."""
    folder.mkdir(exist_ok=True)

    class Loader:
        def batch(self, step):
            if step == stop:
                raise InterruptedError
            return _batch((48, 48), seed=step)

    method = _make(**(keys or {}))
    config = TrainConfig(
        iterations=iterations, optimizer="adamw", lr=1e-3, threads=1, device="cpu", checkpoint_every=2, log_every=2,
        schedule="constant",
    )  # fmt: skip
    fit(method, Loader(), config=config, folder=RunFolder(folder), resume=resume)
    return method


@pytest.mark.parametrize("keys", [{}, {"profile": "released"}, {"training": "two_stage", "teacher_iterations": 1}])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, keys):
    whole = _fit(tmp_path / "whole", 4, keys=keys)
    with pytest.raises(InterruptedError):
        _fit(tmp_path / "stopped", 4, keys=keys, stop=3)
    resumed = _fit(tmp_path / "stopped", 4, keys=keys, resume=True)
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_frozen_teacher_stays_as_it_is(tmp_path):
    keys = {"training": "two_stage", "teacher_iterations": 2, "fusion": {"form": "projected"}}
    short, long = _fit(tmp_path / "short", 2, keys=keys), _fit(tmp_path / "long", 3, keys=keys)
    for part in ("teacher", "fusion"):
        before, after = getattr(short, part).state_dict(), getattr(long, part).state_dict()
        assert [key for key in before if not torch.equal(before[key], after[key])] == []
    assert not torch.equal(short.student.head.weight, long.student.head.weight)


# on a data set


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    made = make_demo_dataset(tmp_path_factory.mktemp("data") / "DS", cases=9, size=(40, 40))
    make_masks(made, made.root / "pseudo", resolve_config(made, {"crf": {"mode": "off"}}))
    return made


def _run(dataset, out, dim=6, **method):
    values = {
        "method": {"name": "fgi", "text": {"dim": dim}, "fusion": {"position_grid": 32}, **method},
        "data": {"path": str(dataset.root), "size": [32, 32], "cache": str(out.with_name("cache"))},
        "network": {"name": "small_unet", "features": [4, 8, 8]},
        "train": {"iterations": 2, "batch_size": 2, "device": "cpu", "threads": 1},
    }
    return train(build(RunConfig, values, "test"), out)


def _describe(dataset, dim=6):
    ids = tuple(case.case_id for case in dataset.split("train"))[1:]  # the first has no text
    random = np.random.default_rng(0)
    tokens = random.standard_normal((3 * len(ids), dim)).astype(np.float16)
    fields = np.tile(np.array([255, 0, 1], np.uint8), len(ids))
    store = TextStore(ids, tokens, np.full(len(ids), 3), fields, "made", "rules", "0", ("location", "boundary"))
    write_embeddings(dataset.root / "text" / "embeddings.safetensors", store)


def _weights(run):
    return checkpoint.load_weights(run, "last", device="cpu")


def test_training_does_not_look_at_the_masks(dataset, tmp_path):
    _describe(dataset)
    before = _weights(_run(dataset, tmp_path / "before"))
    files = [case.mask for case in dataset.cases]
    kept = {file: file.read_bytes() for file in files}
    for file in files:
        with Image.open(file) as image:
            blank = Image.new(image.mode, image.size)
        blank.save(file)
    after = _weights(_run(dataset, tmp_path / "after" / "run"))
    for file, content in kept.items():
        file.write_bytes(content)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_embeddings_of_another_dimension_are_refused_before_the_run(dataset, tmp_path):
    _describe(dataset, dim=7)
    with pytest.raises(ConfigError, match=r"7 numbers a token.*built for 6; set --method\.text\.dim 7"):
        _run(dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# explanations


def test_an_explanation_shows_both_networks_and_where_each_field_attends():
    method = _make(network=NetworkConfig(name="small_unet", features=(4, 8, 16))).eval()
    batch = _batch()
    one = dataclasses.replace(
        batch,
        image=batch.image[:1],
        pseudo=batch.pseudo[:1],
        text=batch.text[:1],
        text_length=torch.tensor([3]),
        text_fields=torch.tensor([[0, 1, 1]]),
    )
    with torch.no_grad():
        layers = method.explain(one)
        guide, own = method.predict_teacher(one)[0, 1], method.predict(one.image)[0, 1]
    found = {(layer.row, layer.title): layer.values for layer in layers}
    torch.testing.assert_close(found["networks", "student, which predicts"], own)
    torch.testing.assert_close(found["networks", "teacher"], guide)
    torch.testing.assert_close(found["networks", "teacher - student"], guide - own)
    assert found["gaze masks", "narrow mask, for the teacher"].sum() == 12 * 12
    assert found["gaze masks", "broad mask, for the student"].sum() == 24 * 24
    for scale, side in ((1, 24), (2, 12)):
        parts = [found[f"attention, scale {scale}", field] for field in ("location", "boundary")]
        assert parts[0].shape == (side, side)
        torch.testing.assert_close(sum(parts), torch.ones(side, side))
    assert len(layers) == 4 + 2 + 4


def test_an_explanation_without_text_shows_no_attention():
    method = _make().eval()
    batch = dataclasses.replace(
        _batch(), text_length=torch.zeros(2, dtype=torch.int64), text_fields=torch.full((2, 3), 255)
    )
    with torch.no_grad():
        rows = {layer.row for layer in method.explain(batch)}
    assert rows == {"networks", "gaze masks"}


def test_attention_of_every_token():
    shapes = [tuple(x.shape) for x in _make().text_attention(_batch())]
    assert shapes == [(2, 3, 24, 24), (2, 3, 12, 12)]
    assert _make(text={"enabled": False}).text_attention(_batch()) == []
