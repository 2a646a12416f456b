"""Promise: no process outlives who started it, even if that is killed and has no say in it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from globaltable.testing.tether import pass_fds, tied

PATIENCE_S = 20.0

SLEEPS = """
import subprocess, sys, time
from globaltable.testing.tether import pass_fds, tied
for _ in range(2):
    sleeps = subprocess.Popen(tied(["sleep", "600"]), pass_fds=pass_fds(), start_new_session=True)
    print(sleeps.pid, flush=True)
time.sleep(600)
"""

CLUSTER = """
import sys, time
from pathlib import Path
from globaltable.testing import LocalCluster
cluster = LocalCluster(("a", "b", "c"), directory=Path(sys.argv[1]))
cluster.start()
for node in cluster.nodes:
    print(cluster.pid(node), flush=True)
time.sleep(600)
"""


def _is_there(pid: int) -> bool:
    """A zombie is not: whether it is reaped is for who adopts it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z"


def _executes(pid: int, word: str) -> bool:
    return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:3]


def _await_gone(pids: Iterable[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while left := [pid for pid in pids if _is_there(pid)]:
        assert time.monotonic() < deadline, f"{left} live on"
        time.sleep(0.02)


def _killed_starter(script: str, processes: int, command: str, *arguments: str) -> None:
    """Run a script that starts processes, one of which is paused, and kill it."""
    words = [sys.executable, "-c", script, *arguments]
    pids: list[int] = []
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as starter:
            try:
                assert starter.stdout is not None
                pids += [int(starter.stdout.readline()) for _ in range(processes)]
                deadline = time.monotonic() + PATIENCE_S
                while not all(_executes(pid, command) for pid in pids):
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                os.kill(pids[0], signal.SIGSTOP)
                assert all(_is_there(pid) for pid in pids)
            finally:
                starter.kill()
        _await_gone(pids)
    finally:
        for pid in pids:
            if _is_there(pid):
                os.kill(pid, signal.SIGKILL)


def test_who_is_killed_takes_along_what_it_started() -> None:
    """Whatever the command, in a session of its own or not, paused or not."""
    _killed_starter(SLEEPS, 2, "sleep")


@pytest.mark.cluster
def test_the_nodes_of_a_cluster_end_with_who_started_them(tmp_path: Path) -> None:
    _killed_starter(CLUSTER, 3, "globaltable", str(tmp_path))


def test_a_thread_that_ends_takes_nothing_along() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(subprocess.Popen(tied(["sleep", "600"]), pass_fds=pass_fds()))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    (sleeps,) = started
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            sleeps.wait(0.3)
    finally:
        sleeps.kill()
        sleeps.wait()


def test_the_command_has_the_process_id_and_the_exit_status() -> None:
    words = tied([sys.executable, "-c", "import os; print(os.getpid()); raise SystemExit(3)"])
    with subprocess.Popen(words, pass_fds=pass_fds(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid
    assert process.returncode == 3


def test_who_is_tied_too_late_does_not_begin() -> None:
    """Its starter may die between the two."""
    far, near = os.pipe()
    words = tied(["echo", "begun"])
    words[words.index(str(pass_fds()[0]))] = str(far)
    os.close(near)
    try:
        ended = subprocess.run(words, pass_fds=(far,), capture_output=True, check=False, timeout=20)
    finally:
        os.close(far)
    assert ended.returncode != 0 and ended.stdout == b""
