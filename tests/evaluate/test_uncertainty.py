import csv
import json

import numpy as np
import pytest
import test_evaluate
from scipy.stats import spearmanr

from gazeseg.errors import ConfigError, DataError
from gazeseg.evaluate import uncertainty
from gazeseg.evaluate.evaluate import evaluate_run
from gazeseg.evaluate.results import read_cases
from gazeseg.evaluate.uncertainty import calibrate_run, measure_run
from gazeseg.predict.predictor import Predictor
from gazeseg.predict.uncertainty import Calibration


@pytest.fixture
def dataset(tmp_path):
    return test_evaluate.make_dataset(tmp_path)


@pytest.fixture
def knowing(dataset, monkeypatch):
    """Let runs answer like a network that is far too sure: every logit is 6 or -6, and every fifth pixel wrong."""

    def probabilities(self, images):
        rng = np.random.default_rng(0)
        truth = {tuple(dataset.image(case)[:2, :2].ravel()): dataset.mask(case) for case in dataset.cases}
        rows = []
        for image in images:
            mask = truth[tuple(image[:2, :2].ravel())] == 1
            said = mask ^ (rng.random(mask.shape) < 0.2)
            p = np.where(said, 1 / (1 + np.exp(-6)), 1 / (1 + np.exp(6))).astype(np.float32)
            rows.append(np.stack([1 - p, p]))
        return rows

    monkeypatch.setattr(Predictor, "probabilities", probabilities)


def test_too_sure_a_network_gets_the_temperature_of_its_errors(tmp_path, dataset, knowing, capsys):
    folder = test_evaluate.make_run(tmp_path, dataset)
    found = calibrate_run(folder.path, split="train")
    assert "looks surer than it is" in capsys.readouterr().err
    assert found.temperature == pytest.approx(6 / np.log(4), rel=0.06)  # 80 % right has the logit log 4
    assert found.nll[1] < found.nll[0]
    assert found.ece[0] == pytest.approx(0.2, abs=0.03)
    assert found.ece[1] < 0.03
    assert Calibration.load(folder.path) == found
    assert found.cases == 2


def test_the_test_split_is_refused_and_so_is_a_run_that_held_nothing_out(tmp_path, dataset):
    folder = test_evaluate.make_run(tmp_path, dataset)
    with pytest.raises(ConfigError, match="would spoil every figure"):
        calibrate_run(folder.path, split="test")
    with pytest.raises(
        ConfigError, match=r"was trained on all of 'train'; use another split, or train with --train.hold_out_seed"
    ):
        calibrate_run(folder.path)


def test_what_is_measured_is_written_beside_the_scores(tmp_path, dataset, capsys):
    folder = test_evaluate.make_run(tmp_path, dataset)
    with pytest.raises(DataError, match="evaluate first"):
        measure_run(folder.path, "test")
    evaluate_run(folder.path, "test")
    result = measure_run(folder.path, "test")
    assert "not calibrated" in capsys.readouterr().err
    target = folder.evaluation("test")
    assert json.loads((target / uncertainty.RESULT).read_text()) == result
    with (target / uncertainty.REVIEW).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = [float(row["expected_dice"]) for row in rows]
    assert expected == sorted(expected)
    dice = {score.case_id: score.dice for score in read_cases(target)}
    actual = [dice[row["case_id"]] for row in rows]
    np.testing.assert_allclose([float(row["dice"]) for row in rows], actual, atol=1e-4)
    ranking = result["scores"]["expected_dice"]
    assert ranking["spearman"] == pytest.approx(spearmanr(expected, actual).statistic)
    kept = np.cumsum(1 - np.array(actual)[::-1]) / np.arange(1, 5)  # the highest expected Dice first
    assert ranking["aurc"] == pytest.approx(kept.mean(), abs=1e-4)
    assert ranking["aurc_best"] <= ranking["aurc"]
    assert ranking["aurc_random"] == pytest.approx(1 - np.mean(actual), abs=1e-4)


def test_a_calibration_of_other_weights_is_not_used(tmp_path, dataset, capsys):
    folder = test_evaluate.make_run(tmp_path, dataset)
    evaluate_run(folder.path, "test")
    Calibration(3.0, "val", 2, "other", (1.0, 0.9), (0.2, 0.1)).write(folder.path)
    assert measure_run(folder.path, "test")["temperature"] == 1.0
    assert "calibrated for other weights" in capsys.readouterr().err


def test_cases_that_changed_since_are_noticed(tmp_path, dataset):
    folder = test_evaluate.make_run(tmp_path, dataset)
    target = evaluate_run(folder.path, "test")
    lines = (target / "cases.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (target / "cases.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="other cases than the split has now; evaluate again"):
        measure_run(folder.path, "test")
