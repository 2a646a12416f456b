"""The audit log keeps every entry in its order, within its bounds, and says when it cannot."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from globaltable.errors import StorageError
from globaltable.server import audit
from globaltable.server.audit import AuditLog
from globaltable.server.security import AuditFiles


def _open(directory: Path, **files: int) -> AuditLog:
    return AuditLog(directory, AuditFiles(None, **files), "a", time.monotonic)


def _entries(directory: Path) -> list[dict[str, Any]]:
    paths = sorted(directory.glob("audit-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def _until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5.0
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_what_and_how_it_ended(tmp_path: Path) -> None:
    log = _open(tmp_path)
    log.note("client web", "move", "APPLIED", {"table": "t", "key": 'k"\n', "version": 1})
    log.close()
    (entry,) = _entries(tmp_path)
    assert entry.pop("at").endswith("+00:00")
    assert entry == {
        "node": "a",
        "who": "client web",
        "act": "move",
        "outcome": "APPLIED",
        "table": "t",
        "key": 'k"\n',
        "version": 1,
    }
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o077 == 0, "keys and units are nobody else's to read"


def test_what_waits_is_written_before_it_ends_and_a_next_run_goes_on(tmp_path: Path) -> None:
    for run in range(3):
        log = _open(tmp_path)
        for number in range(1_000):
            log.note("client web", "move", "APPLIED", {"number": 1_000 * run + number})
        log.close()
    assert [entry["number"] for entry in _entries(tmp_path)] == list(range(3_000))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_file_is_followed_by_the_next_and_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_BATCH_MAX", 10)
    log = _open(tmp_path, file_bytes_max=2_000, files=3)
    for number in range(500):
        log.note("client web", "move", "APPLIED", {"number": number})
    log.close()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 3
    assert all(path.stat().st_size < 2_000 + 10 * 200 for path in paths)
    numbers = [entry["number"] for entry in _entries(tmp_path)]
    assert numbers == list(range(numbers[0], 500)) and numbers[0] > 0


def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "audit-00000007.jsonl").write_text('{"number": 1}\n{"numb')
    log = _open(tmp_path)
    log.note("client web", "move", "APPLIED", {"number": 2})
    log.close()
    lines = (tmp_path / "audit-00000007.jsonl").read_text().splitlines()
    assert lines[:2] == ['{"number": 1}', '{"numb']
    assert json.loads(lines[2])["number"] == 2


def test_while_it_cannot_be_written_that_is_said_and_then_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "RETRY_S", 0.02)
    full = True
    write = os.write

    def failing(descriptor: int, data: bytes) -> int:
        if full and b"number" in data:
            write(descriptor, data[:10])
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", failing)
    log = _open(tmp_path)
    assert log.refusal == ""
    log.note("client web", "move", "APPLIED", {"number": 1})
    _until(lambda: "No space left" in log.refusal)
    log.note("client web", "move", "APPLIED", {"number": 2})
    full = False
    _until(lambda: not log.refusal)
    log.close()
    (path,) = tmp_path.iterdir()
    whole = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert [entry["number"] for entry in whole] == [1, 2]


def test_one_that_does_not_keep_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "WAITING_MAX", 3)
    monkeypatch.setattr(AuditLog, "_write_all", lambda log: None)
    log = _open(tmp_path)
    for _ in range(3):
        assert log.refusal == ""
        log.note("client web", "move", "APPLIED", {})
    assert "does not keep up" in log.refusal


def test_refusals_cannot_turn_it_over(tmp_path: Path) -> None:
    now_s = 0.0
    log = AuditLog(tmp_path, AuditFiles(), "a", lambda: now_s)
    for _ in range(10_000):
        log.note_refused("client web", "ChangeTopology", {"why": "no right"})
    now_s = 10.0
    log.note_refused("client web", "ChangeTopology", {"why": "no right"})
    log.close()
    entries = _entries(tmp_path)
    assert len(entries) == 101
    assert entries[-1]["not_noted_before"] == 9_900
    assert {entry["outcome"] for entry in entries} == {"PERMISSION_DENIED"}


def test_a_directory_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="the audit log in"):
        _open(tmp_path / "file" / "audit")
