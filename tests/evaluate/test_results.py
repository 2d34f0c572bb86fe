import dataclasses
import json
import math

import numpy as np
import pytest

from gazeseg.config import EvaluateConfig
from gazeseg.errors import DataError
from gazeseg.evaluate.results import nan_mean, read_cases, read_summary, replacing, summarise, write_results
from gazeseg.types import CaseScore

BINARY = ("background", "polyp")


def make_score(case_id="a", dice=0.5, hd95=4.0, empty="none", class_index=1) -> CaseScore:
    gone = empty != "none"
    distance = math.nan if gone else hd95
    return CaseScore(
        case_id=case_id,
        patient_id=f"patient of {case_id}",
        class_index=class_index,
        dice=dice,
        iou=dice / 2,
        sensitivity=dice,
        precision=dice,
        hd95=distance,
        hd95_max=2 * distance,
        asd=distance,
        assd=distance,
        unit="px",
        empty=empty,
    )


SCORES = [
    make_score("a", 0.9, 4.0),
    make_score("b", 0.7, 8.0),
    make_score("c", 0.0, empty="prediction"),
    make_score("d", 0.0, empty="truth"),
    make_score("e", 1.0, empty="both"),
]
DIAGONALS = {"a": 10.0, "b": 20.0, "c": 100.0, "d": 50.0, "e": 70.0}


def write(folder, scores=SCORES, *, protocol="gazeseg", config=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_results(
        folder,
        scores,
        classes=BINARY,
        config=config or EvaluateConfig(),
        protocol=protocol,
        diagonals=DIAGONALS,
        header={"dataset": "made", "split": "test", "by": "case"},
    )
    return read_summary(folder)


def test_summary_by_hand(tmp_path):
    summary = write(tmp_path)
    polyp = summary["classes"]["polyp"]
    assert polyp["dice"]["mean"] == pytest.approx((0.9 + 0.7 + 0 + 0 + 1) / 5)
    assert polyp["dice"]["sd"] == pytest.approx(np.std([0.9, 0.7, 0, 0, 1], ddof=1))
    assert polyp["dice"]["median"] == 0.7
    low, high = polyp["dice"]["ci95"]
    assert low < polyp["dice"]["mean"] < high
    assert (polyp["hd95"]["mean"], polyp["hd95"]["n"]) == (6.0, 2)
    # c and d have one surface only: the diagonal; e has none: out
    assert polyp["hd95_penalised"]["mean"] == pytest.approx((4 + 8 + 100 + 50) / 4)
    assert (polyp["missed"], polyp["false_alarms"], polyp["both_empty"]) == (1, 1, 1)
    assert summary["mean"]["dice"] == polyp["dice"]
    assert (summary["protocol"], summary["cases"], summary["unit"]) == ("gazeseg", 5, "px")


def test_missing_one_more_case_never_looks_better(tmp_path):
    worse = [dataclasses.replace(make_score("b", 0.0, empty="prediction")) if s.case_id == "b" else s for s in SCORES]
    before, after = write(tmp_path / "1")["mean"], write(tmp_path / "2", worse)["mean"]
    assert after["hd95"]["mean"] < before["hd95"]["mean"]  # the plain mean rewards it, hence the next two
    assert after["hd95_penalised"]["mean"] > before["hd95_penalised"]["mean"]
    assert after["missed"] > before["missed"]
    assert after["dice"]["mean"] < before["dice"]["mean"]


def test_the_headline_distance_is_the_one_asked_for(tmp_path):
    summary = write(tmp_path, config=EvaluateConfig(hd_definition="max"))
    assert summary["headline_hd95"] == "hd95_max"
    assert summary["mean"]["hd95_penalised"]["mean"] == pytest.approx((8 + 16 + 100 + 50) / 4)


def test_legacy_is_named_and_its_penalised_distance_stays_strict(tmp_path):
    scores = [dataclasses.replace(s, hd95=0.0) if s.empty in ("prediction", "both") else s for s in SCORES]
    summary = write(tmp_path, scores, protocol="legacy")
    assert summary["protocol"] == "legacy"
    assert "SSL4MIS" in summary["definitions"]["empty"]
    assert summary["mean"]["hd95"]["mean"] == pytest.approx((4 + 8 + 0 + 0) / 4)
    assert summary["mean"]["hd95_penalised"]["mean"] == pytest.approx((4 + 8 + 100 + 50) / 4)


def test_mean_over_classes_comes_first():
    scores = [
        make_score("a", 1.0, 2.0),
        make_score("a", 0.5, 6.0, class_index=2),
        make_score("b", 0.0, empty="prediction"),
        make_score("b", 0.4, 3.0, class_index=2),
    ]
    out = summarise(scores, classes=("background", "x", "y"), config=EvaluateConfig(), diagonals={"a": 9.0, "b": 11.0})
    assert out["mean"]["dice"]["mean"] == pytest.approx((0.75 + 0.2) / 2)
    assert out["mean"]["hd95"]["mean"] == pytest.approx((4 + 3) / 2)
    assert out["mean"]["hd95_penalised"]["mean"] == pytest.approx((4 + 7) / 2)
    assert out["mean"]["missed"] == 1
    assert out["classes"]["y"]["missed"] == 0


def test_tables_come_back_as_they_were_written(tmp_path):
    write(tmp_path)
    for read, written in zip(read_cases(tmp_path), SCORES, strict=True):
        for field in dataclasses.fields(CaseScore):
            one, two = getattr(read, field.name), getattr(written, field.name)
            assert one == two or (math.isnan(one) and math.isnan(two))
            assert type(one) is type(two)
    assert (tmp_path / "cases.csv").read_text().splitlines()[1].endswith(",polyp")


def test_numbers_without_a_value_are_null(tmp_path):
    summary = write(tmp_path, [make_score("c", 0.0, empty="prediction")])
    assert summary["mean"]["hd95"] == {"mean": None, "sd": None, "median": None, "ci95": None, "n": 0}
    assert "NaN" not in (tmp_path / "summary.json").read_text()


def test_broken_results_are_named(tmp_path):
    with pytest.raises(DataError, match="evaluate first"):
        read_cases(tmp_path)
    with pytest.raises(DataError, match="evaluate first"):
        read_summary(tmp_path)
    (tmp_path / "cases.csv").write_text("case_id,dice\na,0.5\n")
    with pytest.raises(DataError, match="not a table of scores"):
        read_cases(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(DataError, match="broken JSON"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match="not the summary"):
        read_summary(tmp_path)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "test"
    with replacing(target) as folder:
        (folder / "summary.json").write_text("old")

    def fail():
        with replacing(target) as folder:
            (folder / "summary.json").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["test"]
    assert (target / "summary.json").read_text() == "old"


def test_foreign_folders_and_bad_disks_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    with pytest.raises(DataError, match="something else"), replacing(tmp_path / "photos"):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"), replacing(tmp_path / "file" / "test"):
        pass


def test_nan_mean_keeps_what_there_is():
    rows = np.array([[1.0, math.nan, math.nan], [3.0, 5.0, math.nan]])
    np.testing.assert_array_equal(nan_mean(rows), [2.0, 5.0, math.nan])
