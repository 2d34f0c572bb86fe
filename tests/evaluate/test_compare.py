import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gazeseg.config import RunConfig, write_yaml
from gazeseg.errors import DataError
from gazeseg.evaluate.compare import compare_runs
from gazeseg.evaluate.results import write_results
from gazeseg.train.runfolder import Annotation, RunFolder, Task
from gazeseg.types import CaseScore

N = 12
RNG = np.random.default_rng(0)
EASY = {f"case {i}": 0.5 + 0.04 * i for i in range(N)}


def make_run(path: Path, dices, *, method=None, seed=0, gaze="recorded", protocol="gazeseg", split="test", **config):
    path.mkdir()
    values = {"method": {"name": "full"} | (method or {}), **config}
    values["train"] = {"seed": seed, **config.get("train", {})}
    built = RunConfig.model_validate(values)
    write_yaml(path / "config.yaml", built)
    RunFolder(path).write_task(
        Task("made", ("background", "x"), 3, 1, (0.5,), gaze=gaze, mask_supervised=False, train_cases=9, parameters=1)
    )
    scores = [
        CaseScore(
            case_id=case_id,
            patient_id=case_id,
            class_index=1,
            dice=dice,
            iou=dice / (2 - dice),
            sensitivity=dice,
            precision=dice,
            hd95=math.nan if dice == 0 else 10 * (1 - dice),
            hd95_max=math.nan if dice == 0 else 20 * (1 - dice),
            asd=1 - dice,
            assd=1 - dice,
            unit="px",
            empty="prediction" if dice == 0 else "none",
        )
        for case_id, dice in dices.items()
    ]
    folder = RunFolder(path).evaluation(split)
    folder.mkdir(parents=True)
    write_results(
        folder,
        scores,
        classes=("background", "x"),
        config=built.evaluate,
        protocol=protocol,
        diagonals=dict.fromkeys(dices, 100.0),
        header={
            "dataset": "made",
            "split": "test",
            "by": "case",
            "method": built.method["name"],
            "status": "baseline",
            "gaze": gaze,
            "resize": built.evaluate.resize,
        },
    )
    return path


def shifted(amount):
    return {case_id: min(1.0, dice + amount + 0.01 * RNG.normal()) for case_id, dice in EASY.items()}


def test_seeds_are_grouped_and_numbers_are_as_by_hand(tmp_path):
    first = [shifted(0.0), shifted(0.02)]
    second = [shifted(0.05), shifted(0.06), shifted(0.01)]
    runs = [make_run(tmp_path / f"a{s}", d, seed=s) for s, d in enumerate(first)]
    runs += [make_run(tmp_path / f"b{s}", d, seed=s, method={"name": "gaze_unet"}) for s, d in enumerate(second)]
    table = compare_runs(runs)
    assert [(row.label, row.seeds) for row in table.rows] == [("full", (0, 1)), ("gaze_unet", (0, 1, 2))]

    means = [np.mean(list(d.values())) for d in second]
    dice = table.rows[1].cells["dice"]
    assert dice.mean == pytest.approx(np.mean(means))
    assert dice.seed_sd == pytest.approx(np.std(means, ddof=1))
    low, high = dice.ci95
    assert low < dice.mean < high

    averaged = [np.mean([list(d.values()) for d in group[:2]], axis=0) for group in (first, second)]
    [test] = table.tests
    assert test.seeds == (0, 1)  # seed 2 is of one row alone
    assert test.p == test.p_holm == pytest.approx(stats.wilcoxon(*averaged).pvalue)
    assert test.difference == pytest.approx((averaged[1] - averaged[0]).mean())


def test_rows_of_unequal_seeds_meet_on_those_that_both_have(tmp_path):
    low, high, other = ({case: dice + more for case, dice in EASY.items()} for more in (-0.2, 0.06, -0.07))
    runs = [make_run(tmp_path / "0", low, seed=0), make_run(tmp_path / "1", high, seed=1)]
    runs.append(make_run(tmp_path / "2", other, seed=0, method={"name": "gaze_unet"}))
    (test,) = compare_runs(runs).tests
    assert (test.seeds, test.difference) == ((0,), pytest.approx(0.13))  # against the mean of both it would be 0
    runs[2] = make_run(tmp_path / "3", other, seed=2, method={"name": "gaze_unet"})
    (test,) = compare_runs(runs).tests
    assert (test.seeds, test.difference) == ((), pytest.approx(0))  # none in common: all of each


def test_holm_over_all_pairs(tmp_path):
    names = ("full", "gaze_unet", "gaze_partial")
    runs = [make_run(tmp_path / n, shifted(0.01 * i), method={"name": n}) for i, n in enumerate(names)]
    assert [(t.first, t.second) for t in compare_runs(runs).tests] == [("full", names[1]), ("full", names[2])]
    tests = compare_runs(runs, pairs="all").tests
    assert len(tests) == 3
    smallest = min(tests, key=lambda t: t.p)
    assert smallest.p_holm == pytest.approx(min(1.0, 3 * smallest.p))


def test_equal_runs_do_not_differ(tmp_path):
    runs = [make_run(tmp_path / n, EASY, method={"name": n}) for n in ("full", "gaze_unet")]
    [test] = compare_runs(runs).tests
    assert (test.p_holm, test.difference) == (1.0, 0.0)


def test_rows_of_one_method_are_told_apart_by_what_differs(tmp_path):
    runs = [
        make_run(tmp_path / "a", EASY, method={"profile": "paper"}, train={"threads": 1}),
        make_run(tmp_path / "b", shifted(0.1), method={"profile": "released"}, train={"threads": 2}),
    ]
    assert [r.label for r in compare_runs(runs).rows] == [
        "full (method.profile paper)",
        "full (method.profile released)",
    ]


def test_many_differing_keys_are_told_against_the_first_row(tmp_path):
    changes = ({}, {"lr": 0.5}, {"batch_size": 3}, {"weight_decay": 0.25}, {"lr_min": 0.001, "lr": 0.5})
    runs = [make_run(tmp_path / str(k), EASY, train=change) for k, change in enumerate(changes)]
    assert [row.label for row in compare_runs(runs).rows] == [
        "full",
        "full (train.lr 0.5)",
        "full (train.batch_size 3)",
        "full (train.weight_decay 0.25)",
        "full (train.lr 0.5, train.lr_min 0.001)",
    ]


def test_where_a_run_computed_does_not_split_a_group(tmp_path):
    runs = [
        make_run(tmp_path / "a", EASY, seed=0, train={"device": "cpu"}),
        make_run(tmp_path / "b", EASY, seed=1, train={"device": "cuda"}, data={"cache": "/elsewhere"}),
    ]
    [row] = compare_runs(runs).rows
    assert row.seeds == (0, 1)
    assert row.cells["dice"].seed_sd == 0.0


def test_a_missed_case_is_counted_and_costs_the_penalised_distance(tmp_path):
    run = make_run(tmp_path / "a", {**EASY, "case 3": 0.0})
    [row] = compare_runs([run]).rows
    assert (row.missed, row.cells["hd95"].n, row.cells["dice"].n) == (1, N - 1, N)
    assert row.cells["hd95_penalised"].mean > row.cells["hd95"].mean


def test_text_is_an_aligned_table_and_json_holds_every_number(tmp_path):
    runs = [make_run(tmp_path / n, shifted(0.1 * i), method={"name": n}) for i, n in enumerate(("full", "gaze_unet"))]
    table = compare_runs(runs)
    text = table.to_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert "HD95 pooled" in text
    assert "HD95 penalised px" in lines[0]
    assert f"{table.rows[1].cells['dice'].mean:.3f}" in lines[3]
    document = json.loads(table.to_json())
    assert document["rows"][1]["cells"]["dice"]["mean"] == table.rows[1].cells["dice"].mean
    assert document["tests"][0]["p_holm"] == table.tests[0].p_holm


def test_simulated_and_recorded_gaze_are_labelled(tmp_path):
    runs = [
        make_run(tmp_path / "a", EASY, method={"name": "gaze_unet"}),
        make_run(tmp_path / "b", EASY, method={"name": "gaze_partial"}, gaze="simulated (uses ground truth)"),
    ]
    text = compare_runs(runs).to_text()
    assert "simulated (uses ground truth) |" in text
    assert "rows differ in their gaze" in text


def test_legacy_says_so(tmp_path):
    run = make_run(tmp_path / "a", EASY, protocol="legacy", split="test-legacy")
    text = compare_runs([run], "test-legacy").to_text()
    assert "protocol legacy" in text
    assert "legacy protocol:" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "legacy"}, "protocol is 'legacy'"),
        ({"evaluate": {"both_empty": 0.0}}, "evaluate.both_empty"),
        ({"evaluate": {"hd_definition": "max"}}, "headline_hd95"),
        ({"dices": {**EASY, "extra": 0.5}}, "'extra'"),
        ({}, "configuration and seed"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, options, message):
    one = make_run(tmp_path / "a", EASY)
    two = make_run(tmp_path / "b", **{"dices": EASY, **options})
    with pytest.raises(DataError, match=message) as error:
        compare_runs([one, two])
    assert "\n" not in str(error.value)


def test_a_run_without_an_evaluation_says_what_to_type(tmp_path):
    run = make_run(tmp_path / "a", EASY)
    with pytest.raises(DataError, match=r"run: gazeseg evaluate .* --split val"):
        compare_runs([run], "val")
    with pytest.raises(DataError, match="--split test --legacy"):
        compare_runs([run], "test-legacy")
    with pytest.raises(DataError, match="no run folder"):
        compare_runs([tmp_path])
    with pytest.raises(DataError, match="no run to compare"):
        compare_runs([])


def test_annotation_time_is_stated_beside_its_sources(tmp_path):
    runs = [make_run(tmp_path / name, EASY, method={"name": name}) for name in ("gaze_partial", "gaze_unet")]
    folder = RunFolder(runs[0])
    folder.write_task(dataclasses.replace(folder.task(), annotation=Annotation(900, 7200.0, 9000.0, 0)))
    table = compare_runs(runs)
    lines = table.to_text().splitlines()
    header, first, second = ([cell.strip() for cell in lines[k].split("|")] for k in (2, 4, 5))
    column = header.index("annotation h")
    assert (first[column], second[column]) == ("2.00", "unknown")  # the second was trained before it was kept
    assert any(line.startswith("annotation h, gaze: measured") for line in lines)
    assert json.loads(table.to_json())["rows"][0]["annotation"]["gaze_h"] == pytest.approx(2.0)
