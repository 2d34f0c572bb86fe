"""Gaze controls in the data pipeline: who trades with whom, whose folder is whose, and what the loader hands out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from gazeseg.cli import main
from gazeseg.config import DataConfig, GazeConfig, PartialConfig, PseudoConfig, RunConfig, build, merge, read_yaml
from gazeseg.data.cache import open_store
from gazeseg.data.controls import controlled
from gazeseg.data.dataset import Dataset
from gazeseg.data.loader import TrainLoader
from gazeseg.data.pseudo import PseudoFolder, ensure_masks, make_masks, pseudo_path, resolve_config
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.control import apply_control
from gazeseg.types import Batch

FAST = {"crf": {"mode": "off"}, "maps": {"sigma": 50}}
STILL = {"flip_horizontal": 0, "flip_vertical": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen generated images of about 40 x 48 px, nine of them for training, with simulated gaze."""
    return make_demo_dataset(tmp_path_factory.mktemp("made") / "DS", cases=15, size=(40, 48), seed=0).root


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Dataset:
    """A copy, to write beside."""
    return Dataset.load(Path(shutil.copytree(made, tmp_path / "DS")))


def gaze_of(dataset: Dataset, **gaze) -> RunConfig:
    return build(RunConfig, {"method": {"name": "gradtrack"}, "gaze": gaze}, "test")


def positions(fixations) -> set[tuple[float, float]]:
    height, width = fixations.image_size
    x, y = (fixations.x_px + 0.5) / width, (fixations.y_px + 0.5) / height
    return set(zip(x.round(6).tolist(), y.round(6).tolist(), strict=True))


def test_only_the_training_split_trades(dataset):
    view = controlled(dataset, GazeConfig(control="shuffled_cases"))
    pools = {s: [positions(dataset.fixations[c.case_id]) for c in dataset.split(s)] for s in ("train", "val", "test")}
    for case in dataset.cases:
        got = positions(view.fixations[case.case_id])
        if case.split != "train":
            assert got == set()
            continue
        assert got in pools["train"]
        assert got != positions(dataset.fixations[case.case_id])
    assert len(pools["test"]) >= 3
    assert controlled(dataset, GazeConfig()) is dataset


def test_without_a_training_split_there_is_nothing_to_control(dataset):
    cases = tuple(c for c in dataset.cases if c.split == "test")
    with pytest.raises(DataError, match="no case is in it"):
        controlled(Dataset(dataset.root, dataset.info, cases), GazeConfig(control="webcam"))


def test_a_folder_holds_the_masks_of_the_controlled_gaze_of_training_cases(dataset):
    config = resolve_config(dataset, merge(FAST, {"gaze": {"control": "shuffled_cases"}}))
    folder = make_masks(dataset, dataset.root / "out", config, jobs=1)
    kept = {path.stem for path in (folder.path / "heatmap").iterdir()}
    assert kept == {case.case_id for case in dataset.split("train")}
    pool = {case.case_id: dataset.fixations[case.case_id] for case in dataset.split("train")}
    for case_id, fix in apply_control(pool, "shuffled_cases", seed=0).items():
        row, column = (round(float(v[np.argmax(fix.duration_ms)])) for v in (fix.y_px, fix.x_px))
        assert folder.heatmap(case_id)[row, column] > 0.3  # the longest look is warm, on the receiver's image
    assert read_yaml(folder.path / "config.yaml")["gaze"] == {"control": "shuffled_cases", "scope": "all", "seed": 0}
    assert "of another case" in folder.describe()
    dice = [row["dice"] for rows in folder.quality().values() for row in rows]
    plain = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1)
    assert np.mean(dice) < np.mean([row["dice"] for rows in plain.quality().values() for row in rows]) - 0.2


def test_a_folder_belongs_to_one_control(dataset):
    folder = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1)
    before = (folder.path / "config.yaml").read_bytes()
    spoilt = resolve_config(dataset, {"gaze": {"control": "webcam"}})
    with pytest.raises(ConfigError, match="another gaze control; name another folder"):
        make_masks(dataset, folder.path, spoilt, jobs=1)
    assert (folder.path / "config.yaml").read_bytes() == before


def test_the_key_of_a_case_knows_no_control_but_its_gaze(dataset):
    """Masks made before there were controls stay good, and a control differs through its fixations."""
    plain = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1)
    recipe = read_yaml(plain.path / "config.yaml")
    del recipe["gaze"]
    (plain.path / "config.yaml").write_text(yaml.safe_dump(recipe))
    times = {path: path.stat().st_mtime_ns for path in (plain.path / "heatmap").iterdir()}
    make_masks(dataset, plain.path, resolve_config(dataset, FAST), jobs=1)
    assert times == {path: path.stat().st_mtime_ns for path in (plain.path / "heatmap").iterdir()}


@pytest.mark.parametrize("gaze", [{"control": "shuffled_order"}, {"control": "webcam", "scope": "track"}])
def test_masks_that_a_control_leaves_alone_are_not_made_twice(dataset, gaze):
    with pytest.raises(ConfigError, match="leaves the pseudo-masks as they are"):
        resolve_config(dataset, {"gaze": gaze})
    config = gaze_of(dataset, **gaze)
    assert pseudo_path(config, dataset) == dataset.root / "pseudo"


def test_a_control_copies_the_recipe_of_the_true_gaze(dataset):
    make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1)
    config = resolve_config(dataset, {"gaze": {"control": "webcam"}, "maps": {"sigma": 60}})
    assert (config.crf.mode, config.maps.sigma, config.gaze.control) == ("off", 60, "webcam")


def test_ensure_masks_makes_what_is_missing_and_nothing_else(dataset, tmp_path):
    plain = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1)
    assert ensure_masks(gaze_of(dataset), dataset) == plain.path
    made = ensure_masks(gaze_of(dataset, control="jitter:3", seed=2), dataset, jobs=1)
    assert made == dataset.root / "pseudo-jitter-3-seed2"
    folder = PseudoFolder.load(made)
    assert (folder.config.gaze.control, folder.config.gaze.seed, folder.config.crf.mode) == ("jitter:3", 2, "off")
    times = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert ensure_masks(gaze_of(dataset, control="jitter:3", seed=2), dataset, jobs=1) == made
    assert times == {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    lost = made / "index.csv"
    lost.write_text("".join(lost.read_text().splitlines(keepends=True)[:-2]))  # as after a kill
    assert ensure_masks(gaze_of(dataset, control="jitter:3", seed=2), dataset, jobs=1) == made
    assert len(lost.read_text().splitlines()) == 1 + len(dataset.split("train"))


def test_ensure_masks_puts_a_control_beside_a_named_folder(dataset, tmp_path):
    elsewhere = make_masks(dataset, tmp_path / "masks" / "mine", resolve_config(dataset, FAST), jobs=1).path
    config = gaze_of(dataset, control="centre_prior")
    config = config.model_copy(update={"data": DataConfig(pseudo=elsewhere)})
    made = ensure_masks(config, dataset, jobs=1)
    assert made == elsewhere.with_name("mine-centre_prior")
    assert PseudoFolder.load(made).config.maps.sigma == 50
    assert not (dataset.root / "pseudo").exists()
    again = config.model_copy(update={"data": DataConfig(pseudo=made)})
    assert ensure_masks(again, dataset, jobs=1) == made
    other = again.model_copy(update={"gaze": GazeConfig(control="webcam")})
    with pytest.raises(ConfigError, match=r"was made with gaze\.control centre_prior"):
        ensure_masks(other, dataset, jobs=1)


def _batch(dataset: Dataset, pseudo: Path, needs: set[str], **gaze) -> Batch:
    store = open_store(
        dataset, dataset.split("train"), size=(32, 32), fields={"heatmap"}, pseudo=pseudo, gaze=GazeConfig(**gaze),
        cache_dir=dataset.root / ".cache",
    )  # fmt: skip
    loader = TrainLoader(
        store, data=DataConfig(augment=STILL), pseudo=PseudoConfig(thresholds=(0.5,)), partial=PartialConfig(),
        needs=needs, batch_size=len(store), seed=0,
    )  # fmt: skip
    return loader.batch(0)


def test_order_alone_moves_the_track_and_not_one_bit_of_the_maps(dataset):
    path = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1).path
    needs = {"gaze_map", "weak", "track", "track_length"}
    plain, order = _batch(dataset, path, needs), _batch(dataset, path, needs, control="shuffled_order")
    assert plain.ids == order.ids
    assert plain.gaze_map.equal(order.gaze_map)
    assert plain.weak.equal(order.weak)
    assert plain.track_length.equal(order.track_length)
    assert not plain.track.equal(order.track)
    for one, two, length in zip(plain.track, order.track, plain.track_length.tolist(), strict=True):
        columns = [0, 1, 3]
        rows = [sorted(map(tuple, table[:length, columns].tolist())) for table in (one, two)]
        assert rows[0] == rows[1]
        assert (two[:length, 2].diff() > 0).all()


def test_scope_track_keeps_the_maps_of_a_case_whose_controlled_gaze_left_the_image(dataset):
    path = make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1).path
    gaze = {"control": "jitter:100000", "scope": "track"}  # px: practically nothing stays on the image
    batch = _batch(dataset, path, {"gaze_map", "weak", "track", "track_length"}, **gaze)
    plain = _batch(dataset, path, {"gaze_map", "weak", "track", "track_length"})
    assert batch.track_length.sum() <= 1
    assert plain.track_length.min() >= 3
    assert batch.weak.equal(plain.weak)
    assert batch.gaze_map.equal(plain.gaze_map)


def test_scope_all_silences_a_case_whose_controlled_gaze_left_the_image(dataset):
    config = resolve_config(dataset, merge(FAST, {"gaze": {"control": "jitter:100000"}}))
    path = make_masks(dataset, dataset.root / "pseudo-j", config, jobs=1).path
    batch = _batch(dataset, path, {"gaze_map", "weak", "track", "track_length"}, control="jitter:100000")
    silent = batch.track_length == 0
    assert silent.sum() >= len(batch.ids) - 1
    assert (batch.weak[silent] == 255).all()


def test_the_cache_tells_controls_apart(dataset):
    paths = [make_masks(dataset, dataset.root / "pseudo", resolve_config(dataset, FAST), jobs=1).path]
    for seed in (0, 1):
        gaze = {"control": "shuffled_cases", "seed": seed}
        config = resolve_config(dataset, {"gaze": gaze})
        paths.append(make_masks(dataset, dataset.root / f"pseudo-{seed}", config, jobs=1).path)
    for number, path in enumerate(paths, start=1):
        _batch(dataset, path, {"gaze_map"})
        assert len(list((dataset.root / ".cache").glob("heatmap-*.npy"))) == number
    assert len(list((dataset.root / ".cache").glob("image-*.npy"))) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["--gaze.control", "shufled_cases"], "did you mean 'shuffled_cases'"),
        (["--gaze.control", "jitter"], "jitter:20"),
        (["--gaze.control", "shuffled_order"], "leaves the pseudo-masks as they are"),
        (["--gaze.contrl", "webcam"], "did you mean 'control'"),
    ],
)
def test_the_verb_refuses_in_one_line(dataset, capsys, keys, said):
    assert main(["masks", str(dataset.root), *keys]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gazeseg: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert [path.name for path in dataset.root.iterdir() if path.name.startswith("pseudo")] == []
