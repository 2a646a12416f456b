"""Backup and restore between real clusters, under clients that write meanwhile."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from globaltable.admin.backup import take, verify
from globaltable.admin.nodes import Nodes
from globaltable.admin.restore import restore
from globaltable.client import SyncGlobalTable
from globaltable.errors import Rejected
from globaltable.model import Binding, qualified_name
from globaltable.server.config import Limits
from globaltable.testing import LocalCluster
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc
from tests.backup.samples import read
from tests.cluster.sessions import TABLE, Writer, connect, race, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SESSIONS = 400
LIMITS = Limits(flush_ops=100)


def command(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "globaltable", name, *map(str, arguments)]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def told(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert run.returncode == 0, run
    return dict(json.loads(run.stdout))


@pytest.fixture(scope="module")
def old() -> Iterator[LocalCluster]:
    with LocalCluster(limits=LIMITS) as running:
        yield running


def _made(client: SyncGlobalTable, prefix: str) -> dict[str, Binding | None]:
    """Keys at several versions, some unbound: each as it stands in the end."""
    standing: dict[str, Binding | None] = {}
    for number in range(30):
        key = f"{prefix}:made:{number}"
        binding = client.bind(key, "A")
        for version in range(1, 1 + number % 4):
            binding = client.move(key, to=f"U{version}", version=version)
        standing[key] = binding
        if number % 5 == 0:
            client.unbind(key, version=binding.version)
            standing[key] = None
    return standing


def _standing(client: SyncGlobalTable, keys: dict[str, Binding | None]) -> dict[str, Any]:
    found = client.get_many(list(keys))
    return {key: b and (b.unit, b.version) for key in keys for b in (found.get(key),)}


@pytest.mark.parametrize(
    "regions", [("p", "q", "r"), pytest.param(("p", "q", "r", "s", "t"), marks=pytest.mark.slow)]
)
def test_a_backup_under_load_is_restored_to_another_shape(
    old: LocalCluster, tmp_path: Path, regions: tuple[str, ...]
) -> None:
    file = tmp_path / "sessions.backup"
    # Keys of its own, for it may run more than once on one cluster.
    prefix = "".join(regions)
    race(old, [f"cid:{number}" for number in range(SESSIONS)])
    writers = [Writer(old, f"{prefix}{number}") for number in range(6)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    with connect(old) as client:
        made = _made(client, prefix)
    for thread in threads:
        thread.start()
    try:
        while not all(writer.acknowledged for writer in writers):
            pass
        acknowledged = [dict(writer.acknowledged) for writer in writers]
        taken = told(command("backup", file, "--config", old.config_path, "--json"))
        for writer, before in zip(writers, acknowledged, strict=True):
            assert len(writer.acknowledged) > len(before), "nobody wrote while it was taken"
    finally:
        for writer in writers:
            writer.stopping = True
        for thread in threads:
            thread.join()
    assert told(command("verify", file, "--json"))["backup_id"] == taken["backup_id"]
    standing = wait_equal(old)

    with LocalCluster(regions, groups=7, slots=64) as new:
        restored = told(command("restore", file, "--config", new.config_path, "--json"))
        assert (restored["imported"], restored["present"]) == (taken["rows"], 0)
        found = wait_equal(new)
        with connect(new) as client:
            assert _standing(client, made) == {
                key: b and (b.unit, b.version) for key, b in made.items()
            }
            # An unbound key goes on where it was: no version is used again.
            assert client.bind(f"{prefix}:made:15", "Z").version == 6
        again = told(command("restore", file, "--config", new.config_path, "--json"))
        assert again["was_done"] and not again["imported"]
        checked = command("check", "--config", new.config_path)
        assert checked.returncode == 0, checked

    assert len(found) == taken["bindings"]
    for key, binding in found.items():
        assert (binding.unit, binding.version) == (standing[key].unit, standing[key].version)
    for before in acknowledged:
        assert {key: found[key].unit for key in before} == before
    assert {f"cid:{number}" for number in range(SESSIONS)} <= found.keys()


def test_a_backup_is_written_over_nothing_and_a_damaged_one_is_found(
    old: LocalCluster, tmp_path: Path
) -> None:
    file = tmp_path / "b"
    assert command("backup", file, "--node", old.addresses["b"]).returncode == 0
    refused = command("backup", file, "--node", old.addresses["b"])
    assert refused.returncode == 2 and "--force" in refused.stderr
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    damaged = command("verify", file)
    assert damaged.returncode == 1 and "cut short" in damaged.stderr
    assert command("restore", file, "--config", old.config_path).returncode == 5
    file.write_bytes(b"no backup")
    assert command("verify", file).returncode == 2
    assert command("verify", tmp_path / "none").returncode == 2
    assert list(tmp_path.iterdir()) == [file]


def _taken(cluster: LocalCluster) -> tuple[io.BytesIO, int]:
    file = io.BytesIO()
    with Nodes.connect(cluster.addresses.values()) as nodes:
        rows = take(nodes, file, lambda *_: None).tally.rows
    file.seek(0)
    assert verify(file, lambda *_: None).tally.rows == rows
    file.seek(0)
    return file, rows


class _BrokenOff(Exception):
    pass


@pytest.mark.slow
def test_a_restore_that_was_broken_off_goes_on(old: LocalCluster) -> None:
    """A node is lost on the way, too."""
    race(old, [f"more:{'x' * 90}:{number}" for number in range(3_000)], ["a"])
    file, rows = _taken(old)
    calls = 0

    def break_off(_done: int, _all: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise _BrokenOff

    with LocalCluster() as new:
        with Nodes.connect(new.addresses.values()) as nodes, pytest.raises(_BrokenOff):
            restore(file, nodes, break_off)
        imported = len(wait_equal(new))
        assert 0 < imported < rows
        new.kill("c")
        file.seek(0)
        with Nodes.connect(list(new.addresses.values())[:2]) as nodes:
            restored = restore(file, nodes, lambda *_: None)
        # What was imported behind the last note stood there already.
        assert imported <= restored.present + restored.imported <= rows
        new.start("c")
        new.wait_ready()
        found = wait_equal(new)
    with connect(old) as client:
        wanted = dict(client.scan())
    assert {k: (b.unit, b.version) for k, b in found.items()} == {
        k: (b.unit, b.version) for k, b in wanted.items()
    }


def test_no_cluster_that_holds_anything_else_is_restored_to(old: LocalCluster) -> None:
    file, _ = _taken(old)
    with (
        Nodes.connect(old.addresses.values()) as nodes,
        pytest.raises(Rejected, match="the cluster is not empty"),
    ):
        restore(file, nodes, lambda *_: None)


def test_who_writes_amid_a_restore_is_not_overruled(old: LocalCluster) -> None:
    with connect(old) as client:
        client.bind("contested", "A")
        client.move("contested", to="B", version=1)
    file, _ = _taken(old)

    with LocalCluster() as new, Nodes.connect(new.addresses.values()) as nodes:
        begin = pb.BeginRestoreRequest(backup_id=verify(file, lambda *_: None).backup_id)
        assert nodes.nodes[0].stub.BeginRestore(begin).version == 0, "it has not looked elsewhere"
        begin.found_empty = True
        assert nodes.nodes[0].stub.BeginRestore(begin).version > 0
        with connect(new) as client:
            client.bind("contested", "C")
            file.seek(0)
            with pytest.raises(Rejected, match=r"'contested' .* 'C' at version 1 .* 'B' at ver"):
                restore(file, nodes, lambda *_: None)
            assert client.get("contested") == client.bind("contested", "D")._replace(created=False)
        other, _ = _taken(old)
        with pytest.raises(Rejected, match="another backup"):
            restore(other, nodes, lambda *_: None)


def test_a_backup_holds_what_was_acknowledged_at_another_node_right_before(
    old: LocalCluster,
) -> None:
    """By the read barrier: the node that is asked need not have heard of it yet."""
    with connect(old, "a") as client, Nodes.connect([old.addresses["c"]]) as nodes:
        for number in range(10):
            client.bind(f"fresh:{number}", "F")
            file = io.BytesIO()
            take(nodes, file, lambda *_: None)
            _, rows = read(file.getvalue())
            assert qualified_name(TABLE, f"fresh:{number}") in rows


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pb.ImportRequest(names=[b"im.session\0k"]), "equally long"),
        (pb.ImportRequest(names=[b"k"], units=["A"], versions=[1], client_ids=[1], sequences=[1]),
         "not a name"),
        (pb.ImportRequest(names=[b"else\0k"], units=["A"], versions=[1], client_ids=[1],
                          sequences=[1]), "unknown table"),
        (pb.ImportRequest(names=[b"globaltable:system\0restore"], units=["A"], versions=[1],
                          client_ids=[1], sequences=[1]), "unknown table"),
        (pb.ImportRequest(names=[b"im.session\0k"], units=["A"], versions=[0], client_ids=[1],
                          sequences=[1]), "out of range"),
        (pb.ImportRequest(names=[b"im.session\0k"], units=["A" * 65], versions=[1],
                          client_ids=[1], sequences=[1]), "bytes long"),
    ],
)  # fmt: skip
def test_an_import_of_what_is_no_row_is_refused(
    old: LocalCluster, request_: pb.ImportRequest, said: str
) -> None:
    with (
        grpc.insecure_channel(old.addresses["a"]) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        pb_grpc.AdminServiceStub(channel).Import(request_, timeout=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in str(refused.value.details())


def test_a_group_that_is_not_here_is_refused(old: LocalCluster) -> None:
    with grpc.insecure_channel(old.addresses["a"]) as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        for call in (
            stub.Backup(pb.BackupRequest(groups=[99]), timeout=5),
            stub.Digest(pb.DigestRequest(group=99, revision=1), timeout=5),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                next(iter(call))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "no replica" in str(refused.value.details())
