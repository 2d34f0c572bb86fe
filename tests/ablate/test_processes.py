"""What happens beyond this process: jobs as processes of their own and as SLURM jobs."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from gazeseg.ablate import slurm
from gazeseg.ablate.grid import load_grid
from gazeseg.ablate.job import BusyError, Job, _lock, last_line
from gazeseg.ablate.run import run_grid
from gazeseg.errors import MissingDependencyError


def _weights(run: Path) -> bytes:
    (file,) = (run / "checkpoints").rglob("model.safetensors")
    return file.read_bytes()


@pytest.mark.slow
def test_two_processes_at_a_time_give_the_same_bits_as_one(write_grid, tmp_path, inline, monkeypatch):
    grid = load_grid(write_grid({"base": {}}, seeds=[0, 1]))
    run_grid(grid, tmp_path / "here")
    monkeypatch.undo()  # processes from here on
    outcome = run_grid(grid, tmp_path / "out", jobs=2)
    assert outcome.failures == {}
    for seed in ("seed0", "seed1"):
        assert _weights(tmp_path / "out" / "base" / seed) == _weights(tmp_path / "here" / "base" / seed)
        assert "training gaze_unet" in (tmp_path / "out" / "base" / f"{seed}.log").read_text()


def test_a_process_ends_when_the_one_that_started_it_is_gone():
    code = "import threading, time; from gazeseg.ablate.job import _end_with_parent as e;"
    code += "threading.Thread(target=e, daemon=True).start(); print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.stdin.close()  # what the system does to a dead process
    assert process.wait(10) == 130
    process.stdout.close()


def test_one_run_is_never_at_work_twice(tmp_path):
    with (tmp_path / "log").open("ab") as first, (tmp_path / "log").open("ab") as second:
        _lock(first, "run")
        with pytest.raises(BusyError, match="another process is at this run"):
            _lock(second, "run")


def test_the_last_line_of_a_log_is_the_error(tmp_path):
    log = tmp_path / "log"
    log.write_text("training\ngazeseg: step 3: loss is nan\n\n", encoding="utf-8")
    assert last_line(log) == "step 3: loss is nan"
    assert last_line(tmp_path / "none") == ""


class TestSlurm:
    """Through submitit, whose local executor stands for the queue."""

    @pytest.fixture
    def jobs(self, write_grid, tmp_path):
        """Two jobs that only write down that they ran; the second fails."""
        grid = load_grid(write_grid({"a": {}, "b": {}}))
        runs = grid.runs(tmp_path / "out")
        for run in runs:
            run.folder.parent.mkdir(parents=True)
        made = {
            run.name: Job(
                asked="gone.yaml",
                folder=str(run.folder),
                log=str(run.log_file),
                split="test",
                legacy=False,
                data=None,
                pseudo=None,
                threads=1,
            )
            for run in runs
        }
        return grid, runs, made

    def test_jobs_run_and_their_status_comes_back(self, jobs, tmp_path):
        pytest.importorskip("submitit")
        grid, (a, _), made = jobs
        made = {a.name: made[a.name]}
        queue = slurm.submit(made, tmp_path / "out", grid.slurm, 1, cluster="local")
        queued = queue(a)
        queued.job.wait()
        assert queued.poll() == 2  # no such configuration: the job's own one-line error
        assert "no such file" in last_line(a.log_file)
        assert a.folder.with_name("seed0.slurm").read_text().strip() == str(queued.job.job_id)

    def test_a_job_whose_time_is_up_is_queued_again_as_it_is(self, jobs):
        pytest.importorskip("submitit")
        job = jobs[2]["a/seed0"]
        assert job.checkpoint().function == job

    def test_a_whole_grid_through_the_queue(self, write_grid, inline, tmp_path, monkeypatch):
        """In this process: submitit's debug executor calls the function that SLURM would."""
        pytest.importorskip("submitit")
        real = slurm.submit
        monkeypatch.setattr(slurm, "submit", lambda *arguments: real(*arguments, cluster="debug"))
        grid = load_grid(write_grid({"base": {}, "wild": {"train.optimizer": "sgd", "train.lr": 1e30}}))
        outcome = run_grid(grid, tmp_path / "out", executor="slurm")
        assert list(outcome.failures) == ["wild/seed0"]
        assert "diverged" in outcome.failures["wild/seed0"]
        assert (tmp_path / "out" / "base" / "seed0" / "evaluation" / "test" / "summary.json").is_file()

    def test_a_job_that_is_still_queued_is_not_queued_twice(self, jobs, tmp_path, monkeypatch):
        submitit = pytest.importorskip("submitit")
        grid, runs, made = jobs
        a, b = runs
        a.folder.with_name("seed0.slurm").write_text("17\n")
        submitted = []

        class Executor(submitit.AutoExecutor):
            def __init__(self, folder, cluster):
                super().__init__(folder, cluster="local")

            @contextlib.contextmanager
            def batch(self):
                yield

            def submit(self, function):
                submitted.append(function)
                return type("Fresh", (), {"job_id": "18"})()

        monkeypatch.setattr(submitit, "AutoExecutor", Executor)
        monkeypatch.setattr(submitit.SlurmJob, "done", lambda self, force_check=False: False)
        queue = slurm.submit(made, tmp_path / "out", grid.slurm, 2)
        assert submitted == [made[b.name]]
        assert queue(a).job.job_id == "17"
        assert queue(a).poll() is None
        assert b.folder.with_name("seed0.slurm").read_text() == "18\n"

    def test_without_the_extra_the_error_names_it(self, jobs, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "submitit", None)
        with pytest.raises(MissingDependencyError, match=r"gazeseg\[slurm\]"):
            slurm.submit(jobs[2], tmp_path / "out", jobs[0].slurm, 1)
