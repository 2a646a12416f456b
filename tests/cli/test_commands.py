"""The shell commands against a real cluster: what they print, and the exit statuses scripts use."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from globaltable.testing import LocalCluster

pytestmark = pytest.mark.cluster

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with LocalCluster(groups=2) as cluster:
        environment = {
            **os.environ,
            "GLOBALTABLE_ENDPOINTS": ",".join(cluster.addresses.values()),
            "GLOBALTABLE_TABLE": "im.session",
        }

        def command(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "globaltable", *words],
                env=environment,
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )

        yield command


def test_a_session_from_its_bind_to_its_end(run: Run) -> None:
    assert run("bind", "s1", "A").stdout == "s1  A  version 1  created\n"
    assert run("bind", "s1", "B").stdout == "s1  A  version 1  was bound already\n"
    moved = json.loads(run("move", "s1", "B", "--version", "1", "--json").stdout)
    assert (moved["key"], moved["unit"], moved["version"]) == ("s1", "B", 2)
    assert run("get", "s1", "--linearizable").stdout == "s1  B  version 2\n"
    assert "s1  B  version 2" in run("scan", "--prefix", "s").stdout.splitlines()
    seen = run("watch", "--prefix", "s1", "--count", "2", "--after", '{"0": 1, "1": 1}')
    assert seen.stdout == "bound    s1  A  version 1\nmoved    s1  B  version 2\n"
    assert run("unbind", "s1", "--version", "2").returncode == 0
    ended = run("get", "s1", "--linearizable")
    assert (ended.returncode, ended.stdout) == (1, "")


def test_a_session_is_created_under_a_key_of_its_own(run: Run) -> None:
    key, *rest = run("create", "A", "--prefix", "cid:").stdout.split()
    assert key.startswith("cid:") and rest == ["A", "version", "1"]
    assert run("get", key, "--linearizable").stdout == f"{key}  A  version 1\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("get", "never bound"), 1),
        (("move", "never bound", "B", "--version", "1"), 1),
        (("bind", "", "A"), 2),
        (("bind", "only a key"), 2),
        (("bind", "k", "A", "--table", "no.such"), 2),
        (("watch", "--after", "nonsense"), 2),
        (("get", "k", "--endpoints", "127.0.0.1:1", "--timeout", "0.3"), 3),
        (("status", "--endpoints", "127.0.0.1:1", "--timeout", "0.3"), 3),
    ],
)
def test_an_error_is_told_on_stderr_with_its_status(
    run: Run, words: tuple[str, ...], status: int
) -> None:
    ended = run(*words)
    assert ended.returncode == status, ended
    assert ended.stderr and not ended.stdout
    assert "Traceback" not in ended.stderr


def test_status_tells_the_leader_of_every_group(run: Run) -> None:
    lines = [json.loads(line) for line in run("status", "--json").stdout.splitlines()]
    assert [line["region"] for line in lines] == ["a", "b", "c"]
    assert all(group["leader_region"] for line in lines for group in line["groups"])
    assert "LEADER" in run("status").stdout


def test_top_shows_every_node_and_group_once_and_ends(run: Run) -> None:
    ended = run("top", "--once", "--interval", "0.2")
    assert ended.returncode == 0, ended
    assert "3 of 3 nodes answer" in ended.stdout
    assert "groups are well" in ended.stdout
    assert run("top", "--once", "--endpoints", "127.0.0.1:1", "--interval", "0.2").returncode == 3
