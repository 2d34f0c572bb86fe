from pathlib import Path

import pytest

from gazeseg.ablate.grid import flatten
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


def test_the_checksums_are_those_that_the_importers_recognise():
    for name, split in (("Kvasir-SEG", kvasir_seg.GAZEMEDSEG), ("NCI-ISBI", nci_isbi.GAZEMEDSEG)):
        entry = datasets()[name]
        assert {"train": entry.train.checksum, "test": entry.test.checksum} == dict(split.checksums)


def test_published_figures_are_shares_with_a_source():
    for figure in published().values():
        assert figure.source
        for mean, spread in figure.figures.values():
            assert 0.5 < mean < 0.95
            assert 0 < spread < 0.05


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
