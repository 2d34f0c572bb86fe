import json

import pytest

from gazeseg.data.split import split_checksum
from gazeseg.errors import DataError
from gazeseg.reproduce.recipe import find_recipe
from gazeseg.reproduce.result import make_result, read_result

VALUES = find_recipe("kvasir/gaze_unet").config("cpu-small")


@pytest.fixture
def result(make_run, tmp_path):
    runs = [
        make_run(tmp_path / "a", [0.6, 0.8], values=VALUES, seed=0),
        make_run(tmp_path / "b", [0.7, 0.9], values=VALUES, seed=1),
    ]
    return make_result(runs)


def test_figures_are_as_by_hand(result):
    assert result.dice_by_seed == pytest.approx((0.7, 0.8))
    assert result.dice.mean == pytest.approx(0.75)
    assert result.dice.seed_sd == pytest.approx(0.1 / 2**0.5)
    assert result.test.checksum == split_checksum(["c0", "c1"])
    assert (result.method, result.status, result.gaze, result.seeds) == ("gaze_unet", "baseline", "recorded", (0, 1))
    assert (result.budget.iterations, result.budget.size) == (3000, (96, 96))


def test_a_file_says_the_same_again_and_holds_no_path(result, tmp_path):
    file = tmp_path / f"{result.name}.result.json"
    result.write(file)
    assert read_result(file) == result
    assert str(tmp_path) not in file.read_text(encoding="utf-8")
    assert file.stat().st_size < 10_000


def test_what_is_no_result_file_is_said(result, tmp_path):
    file = tmp_path / "x.result.json"
    values = json.loads(result.model_dump_json())
    for spoilt, said in (({**values, "format": "gazeseg-result-9"}, "format"), ({**values, "seed": 1}, "seed")):
        file.write_text(json.dumps(spoilt), encoding="utf-8")
        with pytest.raises(DataError, match=said):
            read_result(file)
    file.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not a result file"):
        read_result(file)
