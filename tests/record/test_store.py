import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.record.store import Log, SampleFile, StorageError, read_samples


def test_a_line_without_end_is_cut_off_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "a" / "log.jsonl"
    log = Log(path)
    for k in range(3):
        log.append({"kind": "trial", "k": k, "name": "scan é"})
    log.close()
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        again = Log(path)
        assert [event["k"] for event in again.events] == [0, 1]
        again.append({"kind": "trial", "k": 9})
        again.close()
        assert [json.loads(line)["k"] for line in path.read_bytes().splitlines()] == [0, 1, 9]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "a"}\nnonsense\n{"kind": "b"}\n')
    with pytest.raises(DataError, match="line 2"):
        Log(path)


def test_one_log_is_written_by_one_process(tmp_path: Path) -> None:
    first = Log(tmp_path / "log.jsonl")
    with pytest.raises(DataError, match="another gazeseg"):
        Log(tmp_path / "log.jsonl")
    first.close()
    Log(tmp_path / "log.jsonl").close()


def test_every_event_is_synced_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "log.jsonl")
    seen = []
    real = os.fsync
    monkeypatch.setattr("os.fsync", lambda file: (seen.append((tmp_path / "log.jsonl").read_bytes()), real(file)))
    log.append({"kind": "a"})
    assert seen == [b'{"kind": "a"}\n']


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.append({"kind": "a"})
    real = os.write

    def full(file: int, content: bytes) -> int:
        real(file, bytes(content)[:4])  # a part still fits
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(StorageError, match="No space left"):
            log.append({"kind": "b"})
    assert len(log.events) == 1
    log.append({"kind": "c"})
    log.close()
    assert [event["kind"] for event in Log(tmp_path / "log.jsonl").events] == ["a", "c"]


def test_samples_come_back(tmp_path: Path) -> None:
    samples = np.array([[1.5, 10.25, 20.5, 3.0], [2.5, np.nan, np.nan, np.nan], [3.5, 11.0, 21.0, 3.5]])
    file = SampleFile(tmp_path / "s.csv")
    file.add(samples[:1])
    file.add(samples[1:])
    file.close()
    np.testing.assert_allclose(read_samples(tmp_path / "s.csv"), samples)
    assert (tmp_path / "s.csv").read_text().splitlines()[:2] == ["time_ms,x_px,y_px,pupil", "1.500,10.25,20.50,3.000"]
