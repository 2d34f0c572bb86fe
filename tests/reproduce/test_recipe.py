from pathlib import Path

import pytest

from gazeseg.ablate.grid import flatten, load_grid
from gazeseg.config import RunConfig, merge, read_yaml
from gazeseg.data.importers import kvasir_seg, nci_isbi
from gazeseg.errors import ConfigError
from gazeseg.methods import available
from gazeseg.reproduce.recipe import datasets, find_recipe, published, recipes, recognise

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_every_recipe_is_a_valid_run_of_a_method_with_a_figure_on_its_data_set():
    assert len(recipes()) >= 9
    for recipe in recipes().values():
        assert recipe.method in available()
        assert recipe.dataset_name in recipe.published.figures
        assert "paper" in recipe.scales
        for scale in recipe.scales:
            RunConfig.model_validate(recipe.config(scale))


@pytest.mark.parametrize(
    ("name", "scale", "file"),
    [
        *(
            (f"kvasir/{m}", "cpu-small", f"kvasir_{m}_small")
            for m in ("full", "gaze_unet", "gaze_partial", "gazemedseg")
        ),
        *((f"kvasir/{m}", "cpu-small", f"kvasir_{m}_small") for m in ("fgi", "gradtrack")),
        *((f"kvasir/{m}", "paper", f"kvasir_{m}") for m in ("gazemedseg", "fgi", "gradtrack")),
        *((f"nci_isbi/{m}", "paper", f"nci_isbi_{m}") for m in ("gazemedseg", "fgi", "gradtrack")),
    ],
)
def test_a_recipe_and_the_configuration_file_of_its_name_are_one(name, scale, file):
    """What the file leaves to the data set, the thresholds, is the recipe's own to state."""
    ours, stated = flatten(find_recipe(name).config(scale)), flatten(read_yaml(CONFIGS / f"{file}.yaml"))
    if "pseudo.thresholds" not in stated:
        ours.pop("pseudo.thresholds")
    assert ours == stated


ACDC_OWN = {
    "pseudo.thresholds",
    "pseudo.source",
    "train.seed",
}  # what files leave to the data set, or seeds to the user


def _without(values, keys):
    return {key: value for key, value in flatten(values).items() if key not in keys}


@pytest.mark.parametrize("method", ["full", "mean_teacher", "ua_mt", "bcp", "hg_dtgl"])
def test_acdc_at_paper_scale_is_the_configuration_file_of_its_name_both_stages(method):
    recipe = find_recipe(f"acdc/{method}")
    stated = read_yaml(CONFIGS / f"acdc_{method}.yaml")
    assert _without(recipe.config("paper"), ACDC_OWN) == _without(stated, ACDC_OWN)
    assert recipe.pretrained("paper") == (method in ("bcp", "hg_dtgl"))
    assert not recipe.pretrained("cpu-small")
    if recipe.pretrained("paper"):
        first = read_yaml(CONFIGS / f"acdc_{method}_pretrain.yaml")
        assert _without(recipe.pretrain_config("paper"), ACDC_OWN) == _without(first, ACDC_OWN)


@pytest.mark.parametrize(
    ("name", "cell"),
    [("full", "full_labelled"), *((m, m) for m in ("full_all", "mean_teacher", "ua_mt", "bcp", "hg_dtgl"))],
)
def test_acdc_on_a_cpu_is_the_cell_of_the_ablation(name, cell):
    """Half of a batch is labelled either way; a recipe says so, as a run that it recognises does."""
    grid = load_grid(CONFIGS / "ablations" / "acdc_hg_dtgl.yaml")
    (wanted,) = (each for each in grid.cells if each.name == cell)
    apart = ACDC_OWN | {"data.labelled_per_batch"}
    assert _without(find_recipe(f"acdc/{name}").config("cpu-small"), apart) == _without(wanted.asked(0), apart)


def test_a_second_stage_without_its_first_is_not_the_recipe(make_run, tmp_path):
    from gazeseg.train.runfolder import RunFolder

    recipe = find_recipe("acdc/bcp")
    values = recipe.config("paper")
    alone = RunFolder(make_run(tmp_path / "alone", [0.8], values=values, dataset="ACDC")).config()
    assert recipe.changes(alone, "paper") == ["train.init_from"]
    started = merge(values, {"train": {"init_from": "elsewhere"}})
    whole = RunFolder(make_run(tmp_path / "whole", [0.8], values=started, dataset="ACDC")).config()
    assert recipe.changes(whole, "paper") == []
    found = recognise(whole, "ACDC")
    assert found is not None
    assert (found[0].name, found[1]) == ("acdc/bcp", "paper")


def test_figures_of_acdc_are_those_of_its_yardstick():
    """Dice of 7 labelled patients, in percent, as the protocol's table has them."""
    known = {"full": 79.41, "full_all": 91.44, "ua_mt": 81.65, "bcp": 88.84, "hg_dtgl": 90.87, "mean_teacher": 79.5}
    for name, dice in known.items():
        figure = find_recipe(f"acdc/{name}").published
        assert figure.figures["ACDC"][0] == pytest.approx(dice / 100)
        assert figure.read == "second-hand"
    assert find_recipe("acdc/hg_dtgl").published.differs
    assert "simulate" in find_recipe("acdc/hg_dtgl").needs


def test_the_checksums_are_those_that_the_importers_recognise():
    for name, split in (("Kvasir-SEG", kvasir_seg.GAZEMEDSEG), ("NCI-ISBI", nci_isbi.GAZEMEDSEG)):
        entry = datasets()[name]
        assert {"train": entry.train.checksum, "test": entry.test.checksum} == dict(split.checksums)


def test_published_figures_are_shares_with_a_source():
    for figure in published().values():
        assert figure.source
        for mean, spread in figure.figures.values():
            assert 0.5 < mean < 0.95
            assert (spread is None) == (figure.seeds == 1)  # one run has no spread
            assert spread is None or 0 < spread < 0.05


def test_a_run_is_recognised_and_one_with_another_key_is_not(make_run, tmp_path):
    from gazeseg.train.runfolder import RunFolder

    values = find_recipe("kvasir/gazemedseg").config("cpu-small")
    own = RunFolder(make_run(tmp_path / "own", [0.7], values=values, seed=4)).config()
    recipe, scale = recognise(own, "Kvasir-SEG")
    assert (recipe.name, scale) == ("kvasir/gazemedseg", "cpu-small")
    assert recognise(own, "another data set") is None

    other = merge(values, {"method": {"init": "deepcopy"}})  # a key that the profile fills in
    changed = RunFolder(make_run(tmp_path / "changed", [0.7], values=other)).config()
    assert recognise(changed, "Kvasir-SEG") is None
    assert recipe.changes(changed, "cpu-small") == ["method.init"]
    clipped = own.model_copy(update={"train": own.train.model_copy(update={"clip_norm": 1.0})})
    assert recipe.changes(clipped, "cpu-small") == ["train.clip_norm"]


def test_near_misses_are_named():
    with pytest.raises(ConfigError, match="did you mean 'kvasir/gradtrack'"):
        find_recipe("kvasir/gradtrak")
    with pytest.raises(ConfigError, match="no scale 'cpu'"):
        find_recipe("kvasir/full").config("cpu")
