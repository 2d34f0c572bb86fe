import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.report.runs import Group
from gazeseg.report.uncertainty import uncertainty_context
from gazeseg.train.runfolder import RunFolder


def measured(aurc):
    curve = {"coverage": [0.5, 1.0], "risk_at": [0.1, 0.3], "best_risk_at": [0.05, 0.3]}
    score = {"aurc": aurc, "aurc_best": 0.175, "aurc_random": 0.3, "spearman": 0.5, **curve}
    bins = {"ece": 0.0123, "said": [0.4, 0.9], "was": [0.3, 0.8], "share": [0.5, 0.5]}
    return {
        "temperature": 1.5,
        "calibrated_on": {"split": "val", "cases": 90},
        "pixel": bins,
        "case": bins,
        "scores": {"expected_dice": score},
    }


def run(path, seed=0, result=None):
    folder = RunFolder(path)
    if result is not None:
        folder.evaluation("test").mkdir(parents=True)
        (folder.evaluation("test") / "uncertainty.json").write_text(json.dumps(result))
    return SimpleNamespace(folder=folder, split="test", seed=seed)


def test_what_was_measured_stands_in_the_table_and_the_charts(tmp_path):
    groups = [
        Group("gms", "m0", (run(tmp_path / "a", 0, measured(0.2)), run(tmp_path / "b", 1, measured(0.22)))),
        Group("full", "m1", (run(tmp_path / "c"),)),
    ]
    found = uncertainty_context(groups)
    assert [(row["method"], row["seed"], row["aurc"]) for row in found["rows"]] == [
        ("gms", 0, "0.200"),
        ("gms", 1, "0.220"),
    ]
    assert found["runs"][0]["calibration"] == "T = 1.50, 90 cases of val"
    assert [chart["title"] for chart in found["charts"]][-1] == "Risk against coverage"
    drawn = re.findall(r'points="([^"]+)"', found["charts"][-1]["svg"])
    assert len(drawn) == 2  # the curve and the best possible
    ends = [np.array(points.split()[-1].split(","), float) for points in drawn]
    np.testing.assert_allclose(ends[0], ends[1])  # all cases kept: no order matters


def test_nothing_measured_says_what_to_run(tmp_path):
    assert "gazeseg calibrate" in uncertainty_context([Group("gms", "m0", (run(tmp_path / "a"),))])["missing"]


def test_a_broken_file_is_named(tmp_path):
    for content in ("{", "[]"):
        broken = run(tmp_path / content.replace("{", "x"), result={})
        (broken.folder.evaluation("test") / "uncertainty.json").write_text(content)
        with pytest.raises(DataError, match=r"uncertainty.json: .*run gazeseg calibrate again"):
            uncertainty_context([Group("gms", "m0", (broken,))])
