"""Real nodes over TLS: nobody without a certificate is heard, and nobody does more than it may.

The details are in tests/server (`test_gate`, `test_peers_tls`, `test_tls`); here is what their
parts come to together.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from globaltable import limits
from globaltable.admin.nodes import Nodes
from globaltable.admin.topology import change, look
from globaltable.cli.main import run
from globaltable.client import SyncGlobalTable, TlsConfig
from globaltable.client.tls import open_channel
from globaltable.errors import (
    ConnectFailed,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    VersionConflict,
)
from globaltable.server.security import Allowance, Permission, Right, Security
from globaltable.testing import LocalCluster
from globaltable.v1 import admin_pb2
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.certificates import Pki
from tests.cluster.growing import ask, joiner, until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TABLE = "im.session"
SECURITY = Security(
    permissions=(
        Permission(("web", "slow"), frozenset((Right.READ, Right.BIND)), (TABLE,)),
        Permission(("mover",), frozenset((Right.READ, Right.MOVE)), (TABLE,)),
        Permission(("op",), frozenset((Right.ADMIN,))),
    ),
    allowances={"slow": Allowance(ops_per_s=2.0, burst_ops=4)},
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(groups=1, tables=(TABLE, "doc"), secure=SECURITY) as running:
        yield running


def _connect(cluster: LocalCluster, tls: TlsConfig | None, **settings: Any) -> SyncGlobalTable:
    how = {"table": TABLE, "timeout": 10.0, "tls": tls, **settings}
    return SyncGlobalTable.connect(cluster.addresses.values(), **how)


def _pki(cluster: LocalCluster) -> Pki:
    """The cluster's own CA, that signs what the test asks for."""
    return Pki(cluster.directory / "tls", cluster.config.cluster)


def _audited(cluster: LocalCluster) -> list[dict[str, Any]]:
    entries = []
    for node in cluster.nodes:
        for path in sorted((cluster.data_dir(node) / "audit").iterdir()):
            entries += [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(entries, key=lambda entry: str(entry["at"]))


def test_a_client_does_what_it_may_and_is_told_what_it_may_not(cluster: LocalCluster) -> None:
    with (
        _connect(cluster, cluster.tls("web")) as web,
        _connect(cluster, cluster.tls("mover")) as mover,
    ):
        assert web.bind("k", "A").created
        with pytest.raises(PermissionDenied, match="client web has no right to move in table"):
            web.move("k", to="B", version=1)
        with pytest.raises(PermissionDenied, match="client mover has no right to bind"):
            mover.bind("k2", "A")
        moved = mover.move("k", to="B", version=1)
        with pytest.raises(VersionConflict):
            mover.unbind("k", version=1)
        binding = web.get("k", linearizable=True)
        assert binding is not None and binding.unit == "B"
    moves = [e for e in _until_audited(cluster, 3) if e.get("key") == "k"]
    assert [(e["who"], e["act"], e["outcome"]) for e in moves] == [
        ("client mover", "move", "APPLIED"),
        ("client mover", "unbind", "VERSION_CONFLICT"),
    ]
    assert moves[0]["now"] == {"unit": "B", "version": 2, "revision": moved.revision}
    assert moves[0]["version"] == 1


def _until_audited(cluster: LocalCluster, count: int) -> list[dict[str, Any]]:
    """Entries are written behind the answers."""
    deadline = time.monotonic() + 5.0
    while len(entries := _audited(cluster)) < count:
        assert time.monotonic() < deadline, entries
        time.sleep(0.02)
    return entries


def test_one_that_may_not_move_ends_nothing_of_the_stream_it_shares(cluster: LocalCluster) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with _connect(cluster, cluster.tls("web")) as web, ThreadPoolExecutor(16) as pool:
        web.bind("shared", "A")

        def one(number: int) -> str:
            if number % 4:
                return web.bind(f"shared:{number}", "A").unit
            with pytest.raises(PermissionDenied):
                web.move("shared", to="B", version=1)
            return "A"

        assert set(pool.map(one, range(200))) == {"A"}


def test_another_table_is_closed_to_it(cluster: LocalCluster) -> None:
    with _connect(cluster, cluster.tls("web"), table="doc") as web:
        for ask in (
            lambda: web.bind("k", "A"),
            lambda: web.get("k"),
            lambda: list(web.scan()),
            lambda: next(iter(web.watch())),
        ):
            with pytest.raises(PermissionDenied):
                ask()


@pytest.mark.parametrize(
    "case", ["none", "in the clear", "wrong CA", "expired", "a node's", "another cluster's"]
)
def test_nobody_gets_in_with(cluster: LocalCluster, tmp_path: Path, case: str) -> None:
    own = _pki(cluster)
    shown: TlsConfig | None = None
    expected: type[Exception] = ConnectFailed
    match case:
        case "none":
            # All that a client without a certificate can show is that it trusts the CA.
            credentials = grpc.ssl_channel_credentials(own.ca.read_bytes())
            with grpc.secure_channel(
                next(iter(cluster.addresses.values())), credentials
            ) as channel:
                stub = pb_grpc.GlobalTableServiceStub(channel)
                with pytest.raises(grpc.RpcError) as refused:
                    stub.Status(pb.StatusRequest(), timeout=5.0)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            return
        case "wrong CA":
            stranger = Pki(tmp_path, "local").client("web")
            shown = TlsConfig(own.ca, stranger.cert, stranger.key)
        case "expired":
            shown = own.client("late", days=-1)
        case "a node's":
            node = own.directory / "node-a.pem"
            shown = TlsConfig(own.ca, node, node.with_name("node-a-key.pem"))
            expected = PermissionDenied
        case "another cluster's":
            shown = own.client("foreign", "elsewhere")
            expected = PermissionDenied
    with pytest.raises(expected), _connect(cluster, shown, timeout=0.3) as client:
        client.get("k")


def test_a_client_believes_no_node_of_another_ca(cluster: LocalCluster, tmp_path: Path) -> None:
    own = cluster.tls("web")
    assert own is not None
    with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
        _connect(cluster, TlsConfig(Pki(tmp_path).ca, own.cert, own.key), timeout=0.3)


def test_the_admin_api_takes_the_right_to_it(cluster: LocalCluster) -> None:
    addresses = list(cluster.addresses.values())
    web, remove = cluster.tls("web"), admin_pb2.ChangeTopologyRequest(remove="a")
    assert look(addresses, web).silent == look(addresses, cluster.tls("op")).silent == []
    with pytest.raises(PermissionDenied, match="client web may not call ChangeTopology"):
        change(addresses, remove, 5.0, web)
    with pytest.raises(PermissionDenied, match="client web may not call Describe"):
        Nodes.connect(addresses, web)
    with Nodes.connect(addresses, cluster.tls("op")) as nodes:
        assert len(nodes.nodes) == 3


def test_the_command_shows_a_certificate_and_a_drain_is_audited(cluster: LocalCluster) -> None:
    tls = cluster.tls("op")
    assert tls is not None
    shown = ["--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]
    endpoints = ",".join(cluster.addresses.values())
    command = [*shown, "drain", "a", "--no-wait", "-e", endpoints]
    assert run(command) == 0
    assert run([*command, "--undo"]) == 0
    assert run([*shown[:2], "status", "-e", endpoints]) == 2, "they go together"
    acts = [e for e in _audited(cluster) if e["act"] == "ChangeTopology" and "asked" in e]
    assert [(e["who"], e["outcome"], e["asked"]) for e in acts] == [
        ("client op", "OK", {"drain": {"where": "a"}}),
        ("client op", "OK", {"drain": {"where": "a", "undo": True}}),
    ]
    assert [e["answer"]["topology_version"] for e in acts] == [1, 2]


def test_over_its_rate_a_client_waits_and_one_that_cannot_is_told(cluster: LocalCluster) -> None:
    with _connect(cluster, cluster.tls("slow")) as slow:
        began_s = time.monotonic()
        for number in range(6):
            slow.bind(f"slow:{number}", "A")
        assert time.monotonic() - began_s > 0.5, "two more than it may at once, at two a second"

        def impatient() -> None:
            for number in range(20):
                slow.bind(f"slow:more:{number}", "A", timeout=0.1)

        with pytest.raises(Overloaded, match="over the 2 ops a second"):
            impatient()
    with _connect(cluster, cluster.tls("web")) as web:
        for number in range(20):
            assert web.bind(f"fast:{number}", "A", timeout=5.0).created, "others are not held up"


def test_a_request_that_is_sent_again_takes_effect_once_and_another_clients_is_refused(
    cluster: LocalCluster,
) -> None:
    """A copy of a request is a retry: that is what the op's identity is for."""
    move = pb.Op(kind=pb.OP_KIND_MOVE, key="again", unit="B", version=1, sequence=9)
    request = pb.WriteRequest(table=TABLE, client_id=77, ops=[move])
    address = cluster.addresses["a"]
    with _connect(cluster, cluster.tls("web")) as web:
        web.bind("again", "A")

        def send(name: str) -> pb.Outcome:
            tls = cluster.tls(name)
            assert tls is not None
            with open_channel(address, tls.credentials()) as channel:
                stub = pb_grpc.GlobalTableServiceStub(channel)
                return stub.Write(request, timeout=10.0).outcomes[0]

        first, again = send("mover"), send("mover")
        assert first.status == again.status == pb.OUTCOME_STATUS_APPLIED
        assert first.binding == again.binding
        assert send("web").status == pb.OUTCOME_STATUS_PERMISSION_DENIED
        binding = web.get("again", linearizable=True)
        assert binding is not None and (binding.unit, binding.version) == ("B", 2)


def test_an_oversized_request_is_refused_before_it_is_read(cluster: LocalCluster) -> None:
    tls = cluster.tls("web")
    assert tls is not None
    options = [("grpc.max_send_message_length", -1)]
    with open_channel(cluster.addresses["a"], tls.credentials(), options) as channel:
        write = channel.unary_unary("/globaltable.v1.GlobalTableService/Write", None, None)
        with pytest.raises(grpc.RpcError) as refused:
            write(b"\0" * (limits.GRPC_MESSAGE_BYTES_MAX + 1), timeout=10.0)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with _connect(cluster, tls) as web:
        assert web.bind("after", "A").created


@pytest.mark.slow
def test_connections_that_begin_and_say_no_more_are_ended(cluster: LocalCluster) -> None:
    """Slow-loris on the client port; on the peer port, `tests/server/test_peers_tls.py`."""
    host, _, port = cluster.addresses["a"].rpartition(":")
    with contextlib.ExitStack() as stack:
        silent = []
        for number in range(200):
            one = stack.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                one.sendall(b"\x16\x03\x01\x02\x00\x01")
            one.settimeout(20.0)
            silent.append(one)
        with _connect(cluster, cluster.tls("web")) as web:
            assert web.bind("meanwhile", "A").created
        for one in silent:
            with contextlib.suppress(ConnectionError):
                while one.recv(1 << 16):
                    pass


def test_certificates_are_rotated_without_a_restart(cluster: LocalCluster) -> None:
    """Of a node, and of a client that goes on with the ones it has."""
    own = _pki(cluster)
    pids = [cluster.pid(node) for node in cluster.nodes]
    before = _served(cluster, "b")
    with _connect(cluster, own.client("web")) as web:
        web.bind("rotated", "A")
        own.node("b")
        own.client("web")
        deadline = time.monotonic() + 5.0
        while _served(cluster, "b") == before:
            assert time.monotonic() < deadline
        assert web.get("rotated") is not None
    with _connect(cluster, cluster.tls("web")) as web:
        assert web.get("rotated", linearizable=True) is not None
    assert [cluster.pid(node) for node in cluster.nodes] == pids


def _served(cluster: LocalCluster, node: str) -> bytes:
    """The certificate that a node shows on its client port."""
    import ssl

    tls = cluster.tls("observer")
    assert tls is not None
    context = ssl.create_default_context(cafile=os.fspath(tls.ca))
    context.load_cert_chain(tls.cert, tls.key)
    host, _, port = cluster.addresses[node].rpartition(":")
    with (
        socket.create_connection((host, int(port))) as raw,
        context.wrap_socket(raw, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown
    return shown


def test_permissions_are_read_again_on_a_signal_and_a_bad_file_changes_nothing(
    cluster: LocalCluster,
) -> None:
    pids = [cluster.pid(node) for node in cluster.nodes]
    text = cluster.config_path.read_text()
    more = '\n[[permissions]]\nclients = ["newcomer"]\nrights = ["bind"]\ntables = ["*"]\n'

    def read(what: str) -> None:
        cluster.config_path.write_text(what)
        for pid in pids:
            os.kill(pid, signal.SIGHUP)

    def may() -> bool:
        try:
            newcomer.bind("new", "A")
        except PermissionDenied:
            return False
        return True

    with _connect(cluster, _pki(cluster).client("newcomer")) as newcomer:
        assert not may()
        read(text + more)
        until(may)
        read(text + more + "[[permissions]]\n")
        until(lambda: "earlier permissions stay" in cluster.log_path("a").read_text())
        assert may()
        read(text)
        until(lambda: not may())
    assert [cluster.pid(node) for node in cluster.nodes] == pids


def test_no_key_is_in_any_log_or_audit(cluster: LocalCluster) -> None:
    keys = [
        "".join(path.read_text().splitlines()[1:-1])
        for path in (cluster.directory / "tls").glob("*-key.pem")
    ]
    assert len(keys) > 5
    written = [cluster.log_path(node).read_text() for node in cluster.nodes]
    written += [json.dumps(_audited(cluster))]
    for key in keys:
        assert not any(key[:40] in text or "PRIVATE KEY" in text for text in written)


def test_nodes_log_json_and_nothing_else(cluster: LocalCluster) -> None:
    """What gRPC prints of handshakes that fail is not among it."""
    for node in cluster.nodes:
        for line in cluster.log_path(node).read_text().splitlines():
            json.loads(line)


@pytest.mark.slow
def test_a_node_joins_a_secured_cluster_with_a_certificate_of_its_own() -> None:
    with LocalCluster(groups=1, secure=SECURITY) as cluster, joiner(cluster, "d") as d:
        _pki(cluster).node("d")
        d.start()
        tls = cluster.tls("op")
        assert tls is not None
        shown = ["--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]
        assert ask(cluster, *shown, "member", "replace", "a", *d.options, regions="bc")[-1]["done"]
        until(lambda: not cluster.is_running("a"))
        address = [str(d.node.client)]
        with SyncGlobalTable.connect(address, table=TABLE, tls=cluster.tls("web")) as web:
            assert web.bind("k", "A").created
            assert web.get("k", linearizable=True) is not None


@pytest.mark.slow
def test_a_client_has_to_show_a_certificate_again_and_again_and_misses_nothing_by_it() -> None:
    """A connection ends with its age, and with it the streams on it: no call fails of that."""
    secure = replace(SECURITY, connection_age_s=0.5)
    with LocalCluster(groups=1, secure=secure) as cluster:
        seen: list[str] = []
        with _connect(cluster, cluster.tls("web")) as web, web.watch(prefix="") as watch:
            watch.start()
            keys = [f"k:{number}" for number in range(300)]
            for key in keys:
                assert web.bind(key, "A").created
                time.sleep(0.01)
            for change in watch:
                seen.append(change.key)
                if len(seen) == len(keys):
                    break
        assert seen == keys
        # One that is good no more has so long, and no longer.
        own = _pki(cluster)
        with _connect(cluster, own.client("web"), timeout=5.0) as web:
            web.bind("before", "A")
            own.client("web", days=-1)
            with pytest.raises((ConnectFailed, OutcomeUnknown)):
                _bind_on(web)


def _bind_on(client: SyncGlobalTable) -> None:
    for number in range(300):
        client.bind(f"on:{number}", "A", timeout=1.0)
        time.sleep(0.02)


def test_what_is_done_in_the_clear_is_audited_with_addresses_if_the_file_says_so() -> None:
    in_the_clear = Security(audits_in_the_clear=True)
    with LocalCluster(groups=1, security=in_the_clear) as cluster:
        with _connect(cluster, None) as client:
            client.bind("k", "A")
            client.move("k", to="B", version=1)
        endpoints = ",".join(cluster.addresses.values())
        assert run(["drain", "a", "--no-wait", "-e", endpoints]) == 0
        entries = _until_audited(cluster, 2)
    assert [(e["act"], e["outcome"]) for e in entries] == [
        ("move", "APPLIED"),
        ("ChangeTopology", "OK"),
    ]
    assert all(e["who"].startswith("address 127.0.0.1:") for e in entries)
