"""What ``gazeseg status`` reads from a log, and what it warns of."""

import json
import math
import os

import pytest

from gazeseg.cli import main
from gazeseg.config import RunConfig, write_yaml
from gazeseg.errors import DataError
from gazeseg.train.runfolder import RunFolder
from gazeseg.train.status import read_status


@pytest.fixture
def make_run(tmp_path):
    """A run folder of 1,000 iterations with these rows; by default 2 it/s, a row every 20 steps."""

    def make(rows, iterations=1000):
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        config = RunConfig.model_validate({"method": {"name": "full"}, "train": {"iterations": iterations}})
        write_yaml(folder.config_file, config)
        if rows:
            folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return folder.path

    return make


def rows_of(losses, **keys):
    return [
        {"step": 20 * k, "time_s": 10.0 * k, "lr": 0.01, "loss": loss, "it_per_s": 2.0, "loader_share": 0.05}
        | {"memory_mb": 512.0, **keys}
        for k, loss in enumerate(losses, 1)
    ]


def healthy(count):
    return [1.0 * math.exp(-k / 8) + 0.2 + 0.01 * (-1) ** k for k in range(count)]


def test_rate_eta_memory_and_validation(make_run):
    rows = [*rows_of(healthy(20)), {"step": 400, "time_s": 201.0, "val/dice": 0.7}]
    rows.insert(10, {"step": 200, "time_s": 101.0, "val/dice": 0.8})
    run = make_run(rows)
    written = RunFolder(run).metrics_file.stat().st_mtime
    status = read_status(run, now_s=written + 5)
    assert (status.state, status.step, status.iterations) == ("running", 400, 1000)
    assert status.it_per_s == 2.0
    assert status.eta_s == pytest.approx(600 / 2.0)
    assert status.memory_mb == 512.0
    assert status.validation == (400, 0.7)
    assert status.best == (200, 0.8)
    assert status.warnings == ()


def test_a_log_without_news_is_of_a_run_that_stopped(make_run):
    run = make_run(rows_of(healthy(20)))
    written = RunFolder(run).metrics_file.stat().st_mtime
    assert read_status(run, now_s=written + 99).state == "running"  # ten rows' time
    status = read_status(run, now_s=written + 101)
    assert status.state == "stopped"
    assert "--resume" in status.warnings[0]


def test_a_finished_run_has_no_eta(make_run):
    run = make_run(rows_of(healthy(50)))
    os.utime(RunFolder(run).metrics_file, (0, 0))
    status = read_status(run)
    assert (status.state, status.eta_s, status.warnings) == ("finished", None, ())


def test_a_starving_loader_is_named(make_run):
    (warning,) = read_status(make_run(rows_of(healthy(50), loader_share=0.6))).warnings
    assert "60% of the time" in warning


def test_divergence_is_named_and_one_bad_batch_is_not(make_run, tmp_path):
    losses = healthy(50)
    losses[40] = 3.0
    run = make_run(rows_of(losses))
    assert read_status(run).warnings == ()
    file = RunFolder(run).metrics_file
    rising = healthy(30) + [0.2 + 0.1 * k for k in range(20)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(rising)), encoding="utf-8")
    (warning,) = read_status(run).warnings
    assert warning.startswith("divergence")


def test_collapse_is_passed_on_and_seen_in_the_validation(make_run):
    rows = rows_of(healthy(50))
    rows[30]["warning"] = "step 620: no foreground predicted"
    rows += [{"step": step, "time_s": 600.0, "val/dice": 0.0} for step in (500, 1000)]
    warnings = read_status(make_run(rows)).warnings
    assert warnings[0] == "step 620: no foreground predicted"
    assert warnings[1].startswith("collapse")


def test_a_run_that_has_not_begun_and_what_is_no_run(make_run, tmp_path, capsys):
    run = make_run([])
    assert read_status(run).state == "not begun"
    assert main(["status", str(run)]) == 0
    assert "0 of 1,000 iterations" in capsys.readouterr().out
    with pytest.raises(DataError, match="no run folder"):
        read_status(tmp_path / "nothing")
    assert main(["status"]) == 2
