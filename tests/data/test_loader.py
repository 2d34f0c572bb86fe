"""Batches: what they hold, that they can be drawn again, and that everything in them moves together."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from gazeseg.config import AugmentConfig, DataConfig, PartialConfig, PseudoConfig, TextConfig
from gazeseg.data.cache import Store
from gazeseg.data.dataset import Case
from gazeseg.data.loader import TrainLoader, batches, labelled_rows, store_fields
from gazeseg.data.text import CaseTexts, TextStore
from gazeseg.errors import ConfigError
from gazeseg.supervision.levels import ternary
from gazeseg.types import Batch, Fixations

NATIVE = (100, 160)
SIZE = (40, 48)
STILL = AugmentConfig(flip_horizontal=0, flip_vertical=0)
EVERYTHING = AugmentConfig(rotate_deg=40, scale=0.3, brightness=0.2, contrast=0.2, saturation=0.2)
ALL_NEEDS = frozenset({"mask", "weak", "pseudo", "gaze_map", "track"})


def make_fixations(x_px=(), y_px=(), image_id: str = "a") -> Fixations:
    count = len(x_px)
    return Fixations(
        np.array(x_px, float), np.array(y_px, float), np.arange(count) * 300.0, np.full(count, 250.0), NATIVE, image_id
    )


def make_store(count: int = 10, *, channels: int = 3, patients: int | None = None) -> Store:
    """Random arrays; a patient has count / patients cases; each case has its index + 1 fixations."""
    rng = np.random.default_rng(0)
    cases = tuple(
        Case(f"c{i}", f"p{i % (patients or count)}", "train", Path(f"{i}.png"), Path(f"{i}.png"), *NATIVE)
        for i in range(count)
    )
    return Store(
        cases=cases,
        size=SIZE,
        num_classes=2,
        image=rng.integers(0, 256, (count, *SIZE, channels), dtype=np.uint8),
        mask=rng.integers(0, 2, (count, *SIZE), dtype=np.uint8),
        heatmap=rng.integers(0, 256, (count, *SIZE), dtype=np.uint8),
        crf=rng.integers(0, 256, (count, *SIZE), dtype=np.uint8),
        levels=rng.integers(0, 2, (count, 2, *SIZE), dtype=np.uint8),
        fixations=tuple(
            make_fixations(rng.uniform(0, 159, i + 1), rng.uniform(0, 99, i + 1), f"c{i}") for i in range(count)
        ),
    )


def make_loader(store: Store, *, augment: AugmentConfig = STILL, **changes) -> TrainLoader:
    share = changes.pop("labelled", 1.0)
    arguments = {
        "data": DataConfig(augment=augment, labelled=share),
        "pseudo": PseudoConfig(thresholds=(0.5, 0.3)),
        "partial": PartialConfig(),
        "needs": ALL_NEEDS,
        "batch_size": 4,
        "seed": 0,
    }
    return TrainLoader(store, **(arguments | changes))


def assert_equal(one: Batch, other: Batch) -> None:
    for field in dataclasses.fields(Batch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


# --- order


def test_a_batch_depends_on_seed_and_step_alone():
    first = make_loader(make_store(), augment=EVERYTHING)
    expected = [first.batch(step) for step in range(8)]
    again = make_loader(make_store(), augment=EVERYTHING)
    for step in (7, 0, 5, 2):
        assert_equal(again.batch(step), expected[step])
    other = make_loader(make_store(), augment=EVERYTHING, seed=1)
    assert [other.batch(step).ids for step in range(8)] != [batch.ids for batch in expected]


def test_every_case_comes_once_an_epoch_and_no_tail_is_dropped():
    loader = make_loader(make_store(10))
    stream = [case_id for step in range(15) for case_id in loader.batch(step).ids]
    epochs = [stream[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == sorted(loader.store.ids) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_larger_than_the_data_set_spans_epochs():
    ids = make_loader(make_store(3), batch_size=8).batch(0).ids
    assert len(ids) == 8
    assert sorted(ids[:3]) == sorted(ids[3:6]) == ["c0", "c1", "c2"]


# --- content


def test_without_augmentation_a_batch_is_what_is_stored():
    store = make_store()
    batch = make_loader(store).batch(0)
    rows = [store.ids.index(case_id) for case_id in batch.ids]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((store.image[rows] / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(batch.image.numpy(), expected, atol=1e-5)
    assert np.array_equal(batch.mask.numpy(), store.mask[rows])
    crf, heat = store.crf[rows] / 255, store.heatmap[rows] / 255
    assert np.array_equal(batch.pseudo.numpy(), np.stack([crf >= 0.5, crf >= 0.3], axis=1))
    assert np.array_equal(batch.weak.numpy(), np.stack([ternary(values, 0.6, 0.3) for values in heat]))
    np.testing.assert_allclose(batch.gaze_map[:, 0].numpy(), heat, atol=1e-6)
    assert batch.labelled.all()
    assert batch.text is None


def test_shapes_and_types_are_those_of_the_contract():
    for augment in (STILL, EVERYTHING):
        batch = make_loader(make_store(), augment=augment).batch(0)
        shapes = {
            "image": ((4, 3, *SIZE), torch.float32),
            "mask": ((4, *SIZE), torch.int64),
            "weak": ((4, *SIZE), torch.int64),
            "pseudo": ((4, 2, *SIZE), torch.int64),
            "gaze_map": ((4, 1, *SIZE), torch.float32),
            "labelled": ((4,), torch.bool),
            "track_length": ((4,), torch.int64),
        }
        for name, (shape, dtype) in shapes.items():
            tensor = getattr(batch, name)
            assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype), name
            assert tensor.is_contiguous() or name == "gaze_map"
        assert batch.track.shape == (4, int(batch.track_length.max()), 4)
        assert batch.track.dtype == torch.float32
        assert 0 <= float(batch.gaze_map.min()) <= float(batch.gaze_map.max()) <= 1


def test_only_what_is_needed_is_there():
    store = dataclasses.replace(make_store(), mask=None, heatmap=None, levels=None)
    batch = make_loader(store, needs=frozenset({"pseudo"})).batch(0)
    assert batch.pseudo is not None
    assert batch.mask is batch.weak is batch.gaze_map is batch.track is None


def test_levels_come_from_the_named_map_or_from_native_size():
    store = make_store()
    heat = make_loader(store, pseudo=PseudoConfig(thresholds=(0.5,), source="heatmap")).batch(0)
    rows = [store.ids.index(case_id) for case_id in heat.ids]
    assert np.array_equal(heat.pseudo[:, 0].numpy(), store.heatmap[rows] >= 128)
    native = make_loader(store, pseudo=PseudoConfig(thresholds=(0.5, 0.3), threshold_at="native")).batch(0)
    assert np.array_equal(native.pseudo.numpy(), store.levels[rows])


def test_a_flat_map_at_the_threshold_stays_foreground_under_any_transform():
    store = make_store()
    flat = dataclasses.replace(store, crf=np.full_like(store.crf, 102))  # 102 / 255 = 0.4 exactly
    loader = make_loader(flat, augment=EVERYTHING, pseudo=PseudoConfig(thresholds=(0.4,)), needs={"pseudo"})
    assert all(set(loader.batch(step).pseudo.unique().tolist()) <= {1, 255} for step in range(10))


def test_a_case_without_gaze_contributes_nothing():
    store = make_store(2)
    off_image = make_fixations((500.0, -3.0), (10.0, 10.0), "c0")
    blank = np.zeros_like(store.heatmap)
    for fixations in (make_fixations(), off_image):
        silent = dataclasses.replace(store, heatmap=blank, crf=blank, fixations=(fixations, store.fixations[1]))
        batch = make_loader(silent, batch_size=2, augment=EVERYTHING).batch(0)
        b = batch.ids.index("c0")
        assert (batch.pseudo[b] == 255).all()
        assert (batch.weak[b] == 255).all()
        assert not batch.gaze_map[b].any()
        assert int(batch.track_length[b]) == 0
        assert not batch.track[b].any()
        assert (batch.pseudo[1 - b] != 255).any()


# --- everything moves together


@pytest.mark.parametrize("augment", [AugmentConfig(), EVERYTHING])
def test_mask_maps_and_fixations_move_with_the_image(augment):
    """One bright disc a case in every field, with a fixation on its centre: they must still coincide afterwards."""
    store = make_store(8)
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    fields = {name: getattr(store, name).copy() for name in ("image", "mask", "heatmap", "crf", "levels")}
    fixations = []
    for i in range(8):
        centre_x, centre_y = rng.uniform(18, 30), rng.uniform(15, 25)  # px of the network image
        disc = (x - centre_x) ** 2 + (y - centre_y) ** 2 < 6**2
        fields["image"][i] = disc[..., None] * 255
        fields["mask"][i] = disc
        fields["heatmap"][i] = fields["crf"][i] = disc * 255
        fields["levels"][i] = disc
        native_x = (centre_x + 0.5) * NATIVE[1] / SIZE[1] - 0.5
        native_y = (centre_y + 0.5) * NATIVE[0] / SIZE[0] - 0.5
        fixations.append(make_fixations((native_x,), (native_y,), f"c{i}"))
    discs = dataclasses.replace(store, fixations=tuple(fixations), **fields)
    native = PseudoConfig(thresholds=(0.5, 0.3), threshold_at="native")
    loaders = make_loader(discs, augment=augment), make_loader(discs, augment=augment, pseudo=native)
    for step in range(4):
        batch, from_levels = (loader.batch(step) for loader in loaders)
        for b in range(4):
            seen = {
                "image": batch.image[b, 0] > 0,
                "mask": batch.mask[b] == 1,
                "weak": batch.weak[b] == 1,
                "pseudo": batch.pseudo[b, 0] == 1,
                "levels": from_levels.pseudo[b, 0] == 1,
                "gaze_map": batch.gaze_map[b, 0] > 0.5,
            }
            for name, found in seen.items():
                rows, columns = (axis.double().mean() for axis in torch.nonzero(found, as_tuple=True))
                assert float(columns) == pytest.approx(float(batch.track[b, 0, 0]), abs=0.5), name
                assert float(rows) == pytest.approx(float(batch.track[b, 0, 1]), abs=0.5), name


def test_what_lies_outside_the_image_is_ignored_in_every_target():
    store = make_store()
    shrinking = AugmentConfig(scale=0.6)
    loader, native = (
        make_loader(store, augment=shrinking, pseudo=PseudoConfig(thresholds=(0.5, 0.3), threshold_at=at))
        for at in ("network", "native")
    )
    seen = 0
    for step in range(4):
        batch = loader.batch(step)
        outside = batch.mask == 255
        seen += int(outside.sum())
        assert (batch.weak[outside] == 255).all()
        assert (batch.gaze_map[:, 0][outside] == 0).all()
        assert (batch.image.permute(0, 2, 3, 1)[outside] == 0).all()
        for target in (batch.pseudo, native.batch(step).pseudo):
            assert torch.equal((target == 255).all(dim=1), outside)
    assert seen > 0


def test_colours_change_the_image_alone():
    store = make_store()
    coloured = AugmentConfig(flip_horizontal=0, flip_vertical=0, brightness=0.3, contrast=0.3, saturation=0.3)
    plain, changed = (make_loader(store, augment=augment).batch(0) for augment in (STILL, coloured))
    assert not torch.allclose(plain.image, changed.image)
    assert_equal(dataclasses.replace(changed, image=plain.image), plain)


def test_a_fixation_keeps_its_place_and_time_in_network_pixels():
    store = dataclasses.replace(make_store(1), fixations=(make_fixations((-0.5, 79.5, 0), (-0.5, 49.5, 99), "c0"),))
    track = make_loader(store, batch_size=1).batch(0).track[0]
    expected = [[-0.5, -0.5, 0, 0.25], [23.5, 19.5, 0.3, 0.25], [0.5 * 48 / 160 - 0.5, 99.5 * 0.4 - 0.5, 0.6, 0.25]]
    np.testing.assert_allclose(track.numpy(), expected, atol=1e-5)


# --- labelled share


def test_the_labelled_share_is_by_patient_nested_and_the_same_for_every_seed():
    store = make_store(40, patients=20)
    few, more = labelled_rows(store, 0.1), labelled_rows(store, 0.5)
    assert (few.sum(), more.sum()) == (4, 20)
    assert not (few & ~more).any()
    patients = np.array([case.patient_id for case in store.cases])
    assert not set(patients[few]) & set(patients[~few])
    assert labelled_rows(store, 1e-6).sum() == 2
    for seed in (0, 1):
        loader = make_loader(store, labelled=0.1, batch_size=40, augment=EVERYTHING, seed=seed)
        batch = loader.batch(0)
        chosen = {case_id for case_id, flag in zip(batch.ids, batch.labelled.tolist(), strict=True) if flag}
        assert chosen == {case_id for case_id, flag in zip(store.ids, few, strict=True) if flag}
        assert (batch.mask[~batch.labelled] == 255).all()
        assert (batch.mask[batch.labelled] != 255).any()
        assert (batch.pseudo[~batch.labelled] != 255).any()  # gaze is no mask


def test_a_case_without_a_mask_is_unlabelled():
    store = make_store(4)
    cases = (dataclasses.replace(store.cases[0], mask=None), *store.cases[1:])
    batch = make_loader(dataclasses.replace(store, cases=cases)).batch(0)
    assert {i for i, flag in zip(batch.ids, batch.labelled.tolist(), strict=True) if not flag} == {"c0"}
    assert make_loader(dataclasses.replace(store, cases=cases), needs={"pseudo"}).batch(0).labelled.all()


# --- validation batches


def test_validation_batches_are_in_order_and_untouched():
    store = make_store(10, channels=1)
    parts = list(batches(store, 4))
    assert [len(part.ids) for part in parts] == [4, 4, 2]
    assert sum((part.ids for part in parts), ()) == store.ids
    assert np.array_equal(torch.cat([part.mask for part in parts]).numpy(), store.mask)
    image = torch.cat([part.image for part in parts]).numpy()
    expected = store.image.transpose(0, 3, 1, 2).astype(float)
    expected = (expected - expected.mean((1, 2, 3), keepdims=True)) / expected.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(image, expected, atol=1e-5)
    assert next(batches(dataclasses.replace(store, mask=None), 4)).mask is None


# --- errors


def test_fields_follow_from_needs():
    assert store_fields({"mask"}, PseudoConfig()) == {"mask"}
    assert store_fields({"weak"}, PseudoConfig()) == {"heatmap"}
    assert store_fields({"pseudo"}, PseudoConfig(source="heatmap")) == {"heatmap"}
    assert store_fields({"pseudo", "gaze_map"}, PseudoConfig(threshold_at="native")) == {"levels", "heatmap"}
    assert store_fields({"track"}, PseudoConfig()) == frozenset()
    with pytest.raises(ConfigError, match=r"needs 'pseudos'.*did you mean 'pseudo'"):
        store_fields({"pseudos"}, PseudoConfig())


def test_settings_that_do_not_fit_are_refused():
    store = make_store()
    with pytest.raises(ConfigError, match="opened without 'crf'"):
        make_loader(dataclasses.replace(store, crf=None))
    with pytest.raises(ConfigError, match=r"--pseudo\.thresholds"):
        make_loader(store, pseudo=PseudoConfig())
    with pytest.raises(ConfigError, match=r"tau_b 0\.7 must be below"):
        make_loader(store, partial=PartialConfig(tau_f=0.6, tau_b=0.7))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("augment", [AugmentConfig(), EVERYTHING])
def test_on_a_gpu_no_batch_waits_for_the_device(augment):
    store = make_store()
    expected = make_loader(store, augment=augment)
    for resident in (True, False):
        loader = make_loader(store, augment=augment, device="cuda", resident=resident)
        loader.batch(0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            batch = loader.batch(1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        host = batch.to("cpu")
        reference = expected.batch(1)
        torch.testing.assert_close(host.image, reference.image, atol=1e-3, rtol=0)
        assert (host.pseudo != reference.pseudo).float().mean() < 1e-3


def make_texts(store: Store, **changes) -> CaseTexts:
    """Case i has i tokens of value i, so the first has none."""
    count = len(store)
    values = np.repeat(np.arange(count), np.arange(count))
    text = TextStore(
        ids=store.ids[1:],
        tokens=np.repeat(values.astype(np.float16)[:, None], 3, axis=1),
        lengths=np.arange(1, count),
        fields=(values % 2).astype(np.uint8),
        encoder="made",
        provider="made",
        prompt_hash="",
        field_names=("location", "boundary"),
    )
    return CaseTexts.make(text, store.ids, TextConfig(**changes))


def test_text_follows_its_image_and_is_padded_with_zeros():
    store = make_store()
    loader = make_loader(store, needs={"text"}, text=make_texts(store), augment=EVERYTHING)
    seen = set()
    for step in range(5):
        batch = loader.batch(step)
        for b, case_id in enumerate(batch.ids):
            number = int(case_id[1:])
            seen.add(number)
            assert batch.text.dtype == torch.float32
            assert batch.text_length[b] == number
            assert (batch.text[b, :number] == number).all()
            assert (batch.text[b, number:] == 0).all()
            assert (batch.text_fields[b, :number] == number % 2).all()
            assert (batch.text_fields[b, number:] == 255).all()
        assert batch.text.shape[1] == max(1, int(batch.text_length.max()))
    assert seen == set(range(10))
    shuffled = make_loader(store, needs={"text"}, text=make_texts(store, control="shuffled_cases"))
    batch = shuffled.batch(0)
    for b, case_id in enumerate(batch.ids):
        assert batch.text_length[b] != int(case_id[1:]) or case_id == "c0"


def test_text_that_is_needed_must_be_given():
    with pytest.raises(ConfigError, match="no text embeddings"):
        make_loader(make_store(), needs={"text"})
