"""One case without augmentation, against the cache and the training loader, which make batches the long way."""

import dataclasses

import numpy as np
import pytest
import torch

from gazeseg.config import AugmentConfig, RunConfig
from gazeseg.data.cache import open_store
from gazeseg.data.loader import TrainLoader, store_fields
from gazeseg.data.pseudo import make_masks, resolve_config
from gazeseg.data.single import single_batch
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.data.text import NO_FIELD, TextStore
from gazeseg.errors import DataError

NEEDS = ("labelled", "mask", "weak", "pseudo", "gaze_map", "track", "track_length")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_demo_dataset(tmp_path_factory.mktemp("demo") / "DS", cases=8, size=(64, 64))


@pytest.fixture(scope="module")
def config(dataset):
    masks = resolve_config(dataset, {"crf": {"mode": "fast"}})
    values = {
        "method": {"name": "gazemedseg"},
        "data": {"size": (32, 48), "augment": {"rotate_deg": 30.0, "brightness": 0.2}},
        "pseudo": masks.pseudo.model_dump(),
        "partial": masks.partial.model_dump(),
    }
    return RunConfig.model_validate(values), masks


@pytest.mark.parametrize("threshold_at", ["network", "native"])
def test_equals_the_batch_that_cache_and_loader_make_without_augmentation(dataset, config, tmp_path, threshold_at):
    run, masks = config
    run = run.model_copy(update={"pseudo": run.pseudo.model_copy(update={"threshold_at": threshold_at})})
    cases = dataset.split("train")[:2]
    pseudo = make_masks(dataset, tmp_path / "pseudo", masks, jobs=1).path
    still = run.data.model_copy(update={"augment": AugmentConfig(flip_horizontal=0.0, flip_vertical=0.0)})
    for case in cases:
        store = open_store(
            dataset, [case], size=run.data.size, fields=store_fields(NEEDS, run.pseudo), pseudo=pseudo,
            thresholds=run.pseudo.thresholds, source=run.pseudo.source, cache_dir=tmp_path / case.case_id, jobs=1,
        )  # fmt: skip
        loader = TrainLoader(
            store, data=still, pseudo=run.pseudo, partial=run.partial, needs=NEEDS, batch_size=1, seed=9
        )
        expected, found = loader.batch(5), single_batch(dataset, case, run, NEEDS, maps=masks)
        assert found.ids == (case.case_id,)
        for field in dataclasses.fields(found):
            a, b = getattr(expected, field.name), getattr(found, field.name)
            if field.name == "gaze_map":
                torch.testing.assert_close(b, a, atol=1.1 / 255, rtol=0)  # files hold 16 bits, which may round once
            elif field.name in ("pseudo", "weak"):
                assert (a != b).float().mean() < 0.01
            elif a is not None and field.name != "ids":
                torch.testing.assert_close(b, a)
            else:
                assert field.name == "ids" or b is None


def test_a_test_case_has_targets_of_its_own_gaze(dataset, config):
    run, masks = config
    case = dataset.split("test")[0]
    batch = single_batch(dataset, case, run, NEEDS, maps=masks)
    fix = dataset.fixations[case.case_id]
    count = int(batch.track_length)
    assert count == fix.on_image.sum()
    x = (fix.x_px[fix.on_image] + 0.5) * 48 / case.width - 0.5
    np.testing.assert_allclose(batch.track[0, :count, 0], x, rtol=1e-5)
    assert 0 < batch.pseudo.float().mean() < 1


def test_only_what_is_needed_is_made(dataset, config):
    batch = single_batch(dataset, dataset.split("test")[0], config[0])
    assert batch.image.shape == (1, 3, 32, 48)
    assert batch.track is batch.mask is batch.pseudo is batch.text is None


def test_text_is_the_own_and_a_case_without_has_none(dataset, config):
    first, second = dataset.split("train")[:2]
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(3, 5)).astype(np.float16)
    fields = np.array([NO_FIELD, 0, 1], np.uint8)
    store = TextStore((first.case_id,), tokens, np.array([3]), fields, "made", "rules", "", ("location", "boundary"))
    needs = ("text", "text_length", "text_fields")
    with_text = single_batch(dataset, first, config[0], needs, text=store)
    np.testing.assert_array_equal(with_text.text[0], tokens.astype(np.float32))
    assert with_text.text_fields[0].tolist() == [NO_FIELD, 0, 1]
    assert int(single_batch(dataset, second, config[0], needs, text=store).text_length) == 0


def test_maps_need_a_recipe(dataset, config):
    with pytest.raises(DataError, match="need a recipe"):
        single_batch(dataset, dataset.cases[0], config[0], ("pseudo",))
