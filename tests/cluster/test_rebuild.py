"""A replica that meets a damaged record says so, and is rebuilt from its peers by one command."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from globaltable.errors import Unavailable
from globaltable.server.config import Limits, Timeouts
from globaltable.testing import LocalCluster
from globaltable.v1 import globaltable_pb2 as pb
from tests.cluster.damage import flip
from tests.cluster.sessions import connect, race, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.long]

GROUPS = 2
GROUP = 1
SESSIONS = 200
LIMITS = Limits(log_entries_per_group=64, flush_ops=100, snapshot_chunk_bytes=2_048)
TIMEOUTS = Timeouts(flush_interval_s=0.2)
KEYS = [f"cid:{number}" for number in range(SESSIONS)]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(groups=GROUPS, limits=LIMITS, timeouts=TIMEOUTS) as running:
        yield running


def _rebuild(cluster: LocalCluster, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "globaltable", "rebuild", "--config"]
    command += [str(cluster.config_path), "--node", "b", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def _damage_log(directory: Path) -> str:
    key, _ = flip(directory / "log", b"entries", lambda key, _: key[:2] == GROUP.to_bytes(2, "big"))
    return f"log entry {int.from_bytes(key[2:], 'big')} of group {GROUP} fails its checksum"


def _damage_history(directory: Path) -> str:
    key, _ = flip(
        directory / "table", b"history", lambda key, _: key[:4] == GROUP.to_bytes(4, "big")
    )
    return f"history record {key.hex()} of table/ fails its checksum"


def _damage_state(directory: Path) -> str:
    flip(directory / "table", b"groups", lambda key, _: key == GROUP.to_bytes(2, "big"))
    return f"state of group {GROUP:04x} of table/ fails its checksum"


def _group(cluster: LocalCluster, region: str, number: int = GROUP) -> pb.GroupStatus:
    return cluster.status(region).groups[number]


def _wait(what: str, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except grpc.RpcError:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _serving(cluster: LocalCluster, region: str) -> bool:
    with grpc.insecure_channel(cluster.addresses[region]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _bound(cluster: LocalCluster) -> dict[str, str]:
    told = race(cluster, KEYS)
    wait_equal(cluster)
    return {key: bindings[0].unit for key, bindings in told.items()}


def _assert_kept(cluster: LocalCluster, wanted: dict[str, str]) -> None:
    holding = wait_equal(cluster)
    assert {key: binding.unit for key, binding in holding.items()} == wanted
    _wait("b is not healthy", lambda: _serving(cluster, "b"))


@pytest.mark.parametrize(
    "damage",
    [
        _damage_log,
        pytest.param(_damage_history, marks=pytest.mark.slow),
        pytest.param(_damage_state, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_replica_refuses_says_why_and_is_rebuilt(
    cluster: LocalCluster, damage: Callable[[Path], str]
) -> None:
    wanted = _bound(cluster)
    refused = _rebuild(cluster)
    assert refused.returncode == 2 and "in use by another process; stop it" in refused.stderr
    assert cluster.terminate("b") == 0
    assert _rebuild(cluster, "--check").returncode == 0
    record = damage(cluster.data_dir("b"))

    cluster.start("b")
    _wait("b does not say what is wrong", lambda: _group(cluster, "b").failed)
    assert record in _group(cluster, "b").failure
    assert f"globaltable rebuild --node b --group {GROUP}" in _group(cluster, "b").failure
    assert not _group(cluster, "b", 1 - GROUP).failed
    assert not _serving(cluster, "b")
    with connect(cluster, "b", timeout=2.0) as client, pytest.raises(Unavailable, match="checksum"):
        dict(client.scan())
    with connect(cluster, "a", "c") as client:
        wanted["cid:late"] = client.bind("cid:late", "A").unit
    assert cluster.terminate("b") == 0

    checked = _rebuild(cluster, "--check")
    assert checked.returncode == 1
    assert f"group {GROUP}: damaged: {record}" in checked.stdout
    assert f"group {1 - GROUP}: whole" in checked.stdout
    rebuilt = _rebuild(cluster)
    assert rebuilt.returncode == 0, rebuilt
    assert f"group {GROUP}: discarded" in rebuilt.stdout
    assert f"group {1 - GROUP}: discarded" not in rebuilt.stdout
    assert f"group {GROUP}: is being rebuilt" in _rebuild(cluster, "--check").stdout

    cluster.start("b")
    cluster.wait_ready()
    _assert_kept(cluster, wanted)
    assert cluster.terminate("b") == 0
    assert f"group {GROUP}: whole" in _rebuild(cluster, "--check").stdout


def test_a_damaged_row_is_met_when_it_is_read(cluster: LocalCluster) -> None:
    wanted = _bound(cluster)
    assert cluster.terminate("b") == 0
    key, _ = flip(cluster.data_dir("b") / "table", b"rows", lambda *_: True)
    session = key[6:].partition(b"\0")[2].decode()
    cluster.start("b")
    cluster.wait_ready()
    named = f"row 'im.session {session}' .* its checksum"
    with connect(cluster, "b", timeout=2.0) as client, pytest.raises(Unavailable, match=named):
        client.get(session)
    (failed,) = [group for group in cluster.status("b").groups if group.failed]
    assert session in failed.failure
    _wait("b says that it is healthy", lambda: not _serving(cluster, "b"))
    assert cluster.terminate("b") == 0

    assert f"'im.session {session}'" in _rebuild(cluster).stdout
    cluster.start("b")
    cluster.wait_ready()
    _assert_kept(cluster, wanted)


@pytest.mark.slow
def test_it_serves_nobody_until_all_others_were_heard(cluster: LocalCluster) -> None:
    wanted = _bound(cluster)
    for region in "bc":
        assert cluster.terminate(region) == 0
    assert _rebuild(cluster, "--group", str(GROUP)).returncode == 0
    cluster.start("b")
    _wait("b does not ask", lambda: _group(cluster, "b").rebuilding == "waits for an answer of c")
    assert not _serving(cluster, "b")
    said = f"group {GROUP} is being rebuilt on b"
    with connect(cluster, "b", timeout=1.0) as client, pytest.raises(Unavailable, match=said):
        dict(client.scan())
    shown = subprocess.run(
        [sys.executable, "-m", "globaltable", "status", "-e", cluster.addresses["b"]],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "rebuilding: waits" in shown.stdout
    # A crash on the way asks again.
    cluster.kill("b")
    cluster.start("b")
    _wait("b does not ask", lambda: _group(cluster, "b").rebuilding == "waits for an answer of c")
    cluster.start("c")
    cluster.wait_ready()
    _assert_kept(cluster, wanted)


@pytest.mark.parametrize(
    "ruin",
    [
        pytest.param("log", marks=pytest.mark.slow),
        pytest.param("table", marks=pytest.mark.slow),
        pytest.param("identity", marks=pytest.mark.slow),
        "all",
    ],
)
def test_what_cannot_be_opened_is_replaced_wholesale(cluster: LocalCluster, ruin: str) -> None:
    wanted = _bound(cluster)
    assert cluster.terminate("b") == 0
    directory = cluster.data_dir("b")
    match ruin:
        case "identity":
            (directory / "identity").write_bytes(b"no identity")
        case "all":
            directory.rename(directory.with_name("lost"))
        case _:
            (directory / ruin / "data.mdb").write_bytes(b"no environment" * 10_000)
    if ruin != "all":
        assert _rebuild(cluster, "--check").returncode == 1
        failed = _rebuild(cluster)
        assert failed.returncode == 5
        assert "globaltable rebuild --all" in failed.stderr
    assert _rebuild(cluster, "--all").returncode == 0
    cluster.start("b")
    cluster.wait_ready()
    _assert_kept(cluster, wanted)
