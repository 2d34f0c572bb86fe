"""The folder of prompted masks: the same files, what is redone, who falls back, and that methods can learn from it."""

import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image

from gazeseg.config import GazeConfig, PartialConfig, PseudoConfig, RunConfig
from gazeseg.data.cache import open_store
from gazeseg.data.dataset import Case, DatasetInfo, GazeInfo, Roots, write_dataset
from gazeseg.data.loader import TrainLoader, store_fields
from gazeseg.data.prompted import describe_prompted, make_prompted_masks, score_and_dice
from gazeseg.data.pseudo import PseudoFolder, default_path, make_masks, masks_command, resolve_config
from gazeseg.data.simulated import gaze_leak
from gazeseg.errors import ConfigError, DataError
from gazeseg.supervision.prompts import Answer
from gazeseg.train.plan import make_plan
from gazeseg.train.run import _open
from gazeseg.types import Fixations

CASES = 6


class Bright:
    """Segments what is bright inside the box, on a grid of half the size."""

    identity = "bright 1"

    def __init__(self):
        self.encoded = 0

    def encode(self, image):
        self.encoded += 1
        return image[::2, ::2].mean(axis=2) > 100

    def masks(self, embedding, prompts):
        found = np.full((len(prompts), *embedding.shape), 0.05, np.float32)
        for k, (x0, y0, x1, y1) in enumerate(np.rint(prompts.boxes / 2).astype(int)):
            part = embedding[y0 : y1 + 1, x0 : x1 + 1]
            found[k, y0 : y1 + 1, x0 : x1 + 1] = np.where(part, 0.95, 0.05)
        return Answer(found, np.full(len(prompts), 0.9))


@pytest.fixture
def dataset(tmp_path):
    """Bright squares that were looked at, but not case 3, nor case 4 at the right place; case 5 is for testing."""
    rng = np.random.default_rng(0)
    cases, gaze = [], []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for k in range(CASES):
        name = f"case {k}"
        mask = np.zeros((48, 64), np.uint8)
        mask[12:36, 16 + k : 40 + k] = 255
        pixels = rng.integers(30, 60, (48, 64, 3)) + (mask[..., None] > 0) * 120
        images, masks = tmp_path / "images" / f"{name}.png", tmp_path / "masks" / f"{name}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(images)
        Image.fromarray(mask).save(masks)
        cases.append(Case(name, name, "test" if k == 5 else "train", images, masks, 48, 64))
        x, y = 28.0 + k + np.array([-6.0, 0.0, 6.0]), np.array([20.0, 24.0, 28.0])
        keep = slice(0, 0) if k == 3 else slice(None)
        x, y = (x * 0 + 2, y * 0 + 45) if k == 4 else (x, y)
        gaze.append(Fixations(x[keep], y[keep], np.arange(3.0)[keep] * 300, np.full(3, 250.0)[keep], (48, 64), name))
    roots = Roots(images=tmp_path / "images", masks=tmp_path / "masks")
    info = DatasetInfo(name="squares", roots=roots, gaze=GazeInfo(kind="recorded"))
    return write_dataset(tmp_path / "ds", info, cases, gaze)


def _config(dataset, **overrides):
    maps = {"canvas": "native", "sigma": 8}
    return resolve_config(dataset, {"refine": "prompt", "maps": maps, "crf": {"mode": "fast"}, **overrides})


@pytest.fixture
def folder(dataset):
    return make_prompted_masks(dataset, dataset.root / "pseudo-prompt", _config(dataset), Bright())


def _rows(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_prompts_set_source_and_band_and_the_user_decides(dataset):
    config = _config(dataset)
    assert (config.pseudo.source, config.partial.tau_f, config.partial.tau_b) == ("prompt", 0.7, 0.3)
    given = _config(dataset, pseudo={"source": "crf"}, partial={"tau_f": 0.8})
    assert (given.pseudo.source, given.partial.tau_f) == ("crf", 0.8)
    with pytest.raises(ConfigError, match="add --refine prompt"):
        resolve_config(dataset, {"pseudo": {"source": "prompt"}})


def test_it_holds_the_files_of_the_crf_way_and_better_masks(dataset, folder):
    plain = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {}))
    kinds = {path.parent.name for path in plain.path.rglob("*.png")}
    for kind in kinds | {"prompt", "stability"}:
        assert {p.name for p in (folder.path / kind).iterdir()} == {p.name for p in (plain.path / "crf").iterdir()}
    truth = dataset.mask(dataset.case("case 1")) > 0
    levels = folder.levels("case 1")
    assert (levels.astype(bool) == truth).mean() > 0.97
    sure = folder.ternary("case 1")
    soft = folder.soft("prompt", "case 1")
    assert ((sure == 1) == (soft >= 0.7)).mean() > 0.999
    with pytest.raises(DataError, match="without --refine prompt"):
        plain.soft("prompt", "case 1")


def test_quality_compares_both_ways_with_the_truth(dataset, folder):
    rows = _rows(folder.path / "quality.csv")
    assert {(row["source"], row["threshold"]) for row in rows} == {
        (s, t) for s in ("prompt", "crf") for t in ("0.5", "0.3")
    }
    assert len(rows) == 5 * 4
    truth = dataset.mask(dataset.case("case 2")) > 0
    for source in ("prompt", "crf"):
        mask = folder.soft(source, "case 2") >= 0.5
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        row = next(r for r in rows if (r["case_id"], r["source"], r["threshold"]) == ("case 2", source, "0.5"))
        assert float(row["dice"]) == pytest.approx(dice, abs=2e-3)  # 16-bit rounding at the threshold
    assert [len(folder.quality(source)[0.5]) for source in (None, "prompt", "crf")] == [5, 5, 5]


def test_what_simulated_gaze_gives_away_is_told_of_the_prompted_masks_alone(folder):
    [dice] = [float(row["dice"]) for row in _rows(folder.path / "quality.csv") if _is(row, "prompt", "0.5")]
    [other] = [float(row["dice"]) for row in _rows(folder.path / "quality.csv") if _is(row, "crf", "0.5")]
    assert abs(dice - other) > 0.05
    told = gaze_leak(folder, {"case 0"})
    assert told.startswith("prompt Dice with the truth")
    assert f"/ {dice:.2f} at 0.3 / 0.5" in told


def _is(row, source, threshold):
    return (row["case_id"], row["source"], row["threshold"]) == ("case 0", source, threshold)


def test_cases_that_fail_fall_back_and_are_listed(folder):
    rows = {row["case_id"]: row for row in _rows(folder.path / "prompts.csv")}
    assert rows["case 0"]["fallback"] == ""
    assert rows["case 3"]["fallback"] == "no mode in the heatmap"
    assert rows["case 4"]["fallback"].startswith("covers 0")
    assert (folder.soft("prompt", "case 4") == folder.crf("case 4")).all()
    scores = folder.scores()
    assert scores["case 3"] == scores["case 4"] == 0
    assert 0.5 < scores["case 0"] <= 1
    assert score_and_dice(folder)["case 0"][1] > 0.95
    text = describe_prompted(folder)
    assert "2 of 5 cases fell back to their crf map" in text
    assert "to review: case 3, case 4" in text
    assert "may have seen public images" in text


def test_each_image_is_encoded_once_and_a_second_run_encodes_none(dataset, folder):
    model = Bright()
    make_prompted_masks(dataset, folder.path, folder.config, model)
    assert model.encoded == 0
    folder.file("prompt", "case 2").unlink()
    make_prompted_masks(dataset, folder.path, folder.config, model)
    assert model.encoded == 1
    model.identity = "bright 2"
    make_prompted_masks(dataset, folder.path, folder.config, model)
    assert model.encoded == 1 + 4  # nobody looked at case 3: there is nothing to ask
    assert len(_rows(folder.path / "quality.csv")) == 5 * 4


class Everything:
    """Sees all that is bright, and knows it by ``identity``."""

    def __init__(self, identity):
        self.identity = identity

    def __call__(self, image):
        return (image.mean(axis=2) > 100).astype(np.float32)


def test_a_second_opinion_joins_what_gaze_took_apart_and_is_part_of_the_key(dataset):
    out, config = dataset.root / "p", _config(dataset, prompt={"levels": (0.8,), "rounds": 0, "round_margins": (0.0,)})
    model = Bright()
    alone = make_prompted_masks(dataset, out, config, model).soft("prompt", "case 1")
    truth = dataset.mask(dataset.case("case 1")) > 0
    assert (alone >= 0.5).sum() < 0.9 * truth.sum()  # the box of the hottest gaze is too small
    moved = config.model_copy(update={"prompt": config.prompt.model_copy(update={"students": (out / "run",)})})
    for opinion, encoded in ((Everything("a"), 8), (Everything("a"), 8), (Everything("b"), 12)):
        both = make_prompted_masks(dataset, out, moved, model, opinion=opinion).soft("prompt", "case 1")
        assert model.encoded == encoded
        assert np.median(both[(alone < 0.5) & truth]) == pytest.approx((0.05 + 0.95) / 2, abs=0.01)
        assert np.median(both[(alone >= 0.5) & truth]) == pytest.approx(0.95, abs=0.01)
    folder = PseudoFolder.load(out)
    assert (folder.soft("prompt", "case 3") == opinion(dataset.image(dataset.case("case 3")))).all()  # no gaze on it
    assert "fell back to the map of the students" in describe_prompted(folder)


def test_students_need_prompted_masks_and_their_masks_a_folder_of_their_own(dataset):
    with pytest.raises(ConfigError, match=r"prompt\.students .* add --refine prompt"):
        resolve_config(dataset, {"prompt": {"students": ["run"]}})
    control = GazeConfig(control="shuffled_cases")
    names = [default_path(dataset.root, gaze, prompted=True, students=True).name for gaze in (GazeConfig(), control)]
    assert names == ["pseudo-prompt-students", "pseudo-prompt-students-shuffled_cases"]


def test_a_killed_run_goes_on_where_it_was(dataset, tmp_path):
    class Killed(Bright):
        def masks(self, embedding, prompts):
            if self.encoded > 2:
                raise KeyboardInterrupt
            return super().masks(embedding, prompts)

    with pytest.raises(KeyboardInterrupt):
        make_prompted_masks(dataset, tmp_path / "p", _config(dataset), Killed(), jobs=1)
    done = len(_rows(tmp_path / "p" / "index.csv"))
    assert 1 <= done <= 2
    model = Bright()
    folder = make_prompted_masks(dataset, tmp_path / "p", _config(dataset), model, jobs=1)
    assert model.encoded == 4 - done
    assert [row["case_id"] for row in _rows(folder.path / "prompts.csv")] == [f"case {k}" for k in range(5)]


def test_the_two_ways_do_not_share_a_folder(dataset, folder):
    with pytest.raises(ConfigError, match="refine prompt, not none"):
        make_masks(dataset, folder.path, resolve_config(dataset, {}))


def test_a_control_has_a_folder_of_its_own_with_the_recipe_of_the_true_gaze(dataset, folder):
    config = resolve_config(dataset, {"refine": "prompt", "gaze": {"control": "shuffled_cases"}})
    assert config.maps.sigma == 8
    assert default_path(dataset.root, config.gaze, prompted=True).name == "pseudo-prompt-shuffled_cases"


def test_without_an_image_there_is_nothing_to_prompt(dataset):
    blind = dataclasses.replace(dataset, cases=tuple(dataclasses.replace(c, image=None) for c in dataset.cases))
    with pytest.raises(DataError, match="needs images"):
        make_prompted_masks(blind, blind.root / "p", _config(dataset), Bright())


def test_the_loader_cuts_levels_and_the_ternary_target_from_prompted_maps(dataset, folder):
    needs, pseudo = {"pseudo", "weak"}, PseudoConfig(source="prompt", thresholds=(0.5,))
    assert store_fields(needs, pseudo) == {"prompt"}
    store = open_store(
        dataset,
        dataset.split("train"),
        size=(24, 32),
        fields=store_fields(needs, pseudo),
        pseudo=folder.path,
        source="prompt",
        cache_dir=dataset.root / ".cache",
    )
    data = RunConfig(method={}).data.model_copy(update={"size": (24, 32)})
    loader = TrainLoader(
        store, data=data, pseudo=pseudo, partial=PartialConfig(tau_f=0.7, tau_b=0.3), needs=needs, batch_size=5, seed=0
    )
    batch = loader.batch(0)
    for k, name in enumerate(batch.ids):
        if name == "case 0":
            assert batch.pseudo[k, 0].sum() == (batch.weak[k] == 1).sum() == 12 * 12
        if name == "case 3":
            assert (batch.weak[k] == 255).all()


def _run(dataset, method, **pseudo):
    return RunConfig.model_validate(
        {
            "method": {"name": method},
            "data": {"path": dataset.root, "size": (32, 32)},
            "network": {"name": "small_unet"},
            "pseudo": pseudo,
        }
    )


def test_gaze_prompt_knows_its_masks(dataset):
    with pytest.raises(DataError, match=r"pseudo-prompt not found; run: .* --refine prompt"):
        make_plan(_run(dataset, "gaze_prompt"))
    folder = make_prompted_masks(dataset, dataset.root / "pseudo-prompt", _config(dataset), Bright())
    plans = [make_plan(_run(dataset, "gaze_prompt")), make_plan(_run(dataset, "gaze_partial", source="prompt"))]
    for plan in plans:
        assert plan.pseudo == folder.path
        assert plan.config.pseudo.source == "prompt"
        assert (plan.config.partial.tau_f, plan.config.partial.tau_b) == (0.7, 0.3)
    with pytest.raises(ConfigError, match=r"'gaze_prompt' learns from pseudo\.source prompt, got crf; leave it out"):
        make_plan(_run(dataset, "gaze_prompt", source="crf"))


def test_a_run_does_not_begin_on_masks_that_are_not_finished(dataset, folder):
    folder.file("prompt", "case 1").unlink()  # as a killed run leaves it
    plan = make_plan(_run(dataset, "gaze_prompt"))
    with pytest.raises(DataError, match=r"the prompt of case .case 1. cannot be read.*; run gazeseg masks once more"):
        _open(plan)


def test_a_run_asks_for_the_prompted_masks_it_needs(dataset):
    config = _run(dataset, "gaze_partial", source="prompt")
    assert masks_command(config, dataset).endswith(" --refine prompt")
    with pytest.raises(DataError, match="--refine prompt"):
        make_plan(config)
    folder = make_prompted_masks(dataset, dataset.root / "pseudo-prompt", _config(dataset), Bright())
    plan = make_plan(config)
    assert plan.config.pseudo.source == "prompt"
    assert plan.config.partial.tau_f == 0.7
    there = config.model_copy(update={"data": config.data.model_copy(update={"pseudo": folder.path})})
    assert make_plan(there).config.pseudo.source == "prompt"
    make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, {}))
    wrong = config.model_copy(update={"data": config.data.model_copy(update={"pseudo": dataset.root / "pseudo"})})
    with pytest.raises(ConfigError, match=r"pseudo\.source is prompt, but the pseudo-masks were made without"):
        make_plan(wrong)
    assert PseudoFolder.load(folder.path).sources == ("heatmap", "crf", "prompt")
