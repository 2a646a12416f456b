"""Every call is asked who makes it, and is let through only with the right to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.x509 import load_pem_x509_certificate
from structlog.testing import capture_logs

from globaltable.client import TlsConfig
from globaltable.client.tls import open_aio_channel
from globaltable.server.config import Address, Config, NodeConfig
from globaltable.server.gate import Gate
from globaltable.server.identities import Identity, Kind
from globaltable.server.refusals import ERROR_TRAILER
from globaltable.server.rules import RULES
from globaltable.server.security import Allowance, AuditFiles, Permission, Right, Security
from globaltable.server.tls import Certificates
from globaltable.v1 import admin_pb2
from globaltable.v1 import globaltable_pb2 as pb
from tests.certificates import Pki

TIMEOUT_S = 5.0
SERVICE = "/globaltable.v1.GlobalTableService/"
ADMIN = "/globaltable.v1.AdminService/"
WATCH = SERVICE + "Watch"
NEW = "/globaltable.v1.GlobalTableService/NewOne"

PERMISSIONS = (
    Permission(("reader",), frozenset((Right.READ,)), ("t",)),
    Permission(("binder",), frozenset((Right.BIND,)), ("*",)),
    Permission(("op",), frozenset((Right.ADMIN,))),
)


class Node:
    """Behind a gate, handlers that say that they have been reached."""

    def __init__(self, config: Config, certificates: Certificates | None, pki: Pki) -> None:
        self.removed: set[str] = set()
        self.gate = Gate(
            config,
            "a",
            certificates,
            lambda name: f"node {name} is removed" if name in self.removed else "",
        )
        self._certificates = certificates
        self.pki = pki
        self.reached: list[str] = []
        self.fails = False
        self.goes_on = asyncio.Event()
        self.address = ""
        self._server = grpc.aio.server(interceptors=[self.gate])
        self._server.add_generic_rpc_handlers((_Handlers(self),))

    async def start(self) -> None:
        own = "127.0.0.1:0"
        port = (
            self._server.add_secure_port(own, self._certificates.grpc_credentials())
            if self._certificates is not None
            else self._server.add_insecure_port(own)
        )
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)
        self.gate.close()

    @property
    def certificates(self) -> Certificates:
        assert self._certificates is not None
        return self._certificates

    async def call(self, tls: TlsConfig | None, method: str, request: Any) -> str:
        """How a call ends: "OK", or the code."""
        credentials = tls.credentials() if tls is not None else None
        async with open_aio_channel(self.address, credentials) as channel:
            call = channel.unary_unary(method, type(request).SerializeToString, None)
            try:
                await call(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                self.error = error
                return error.code().name
        return "OK"

    def audited(self) -> list[dict[str, Any]]:
        (path,) = (self.pki.directory / "data" / "audit").iterdir()
        return [json.loads(line) for line in path.read_text().splitlines()]

    def detail(self) -> pb.ErrorDetail:
        """What the last error had to say."""
        metadata: Any = self.error.trailing_metadata()
        trailers = dict(metadata)
        return pb.ErrorDetail.FromString(trailers[ERROR_TRAILER])


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Of all methods; unary, which to the gate is a matter of what is wrapped."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def _watched(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        while True:
            yield b"change"
            await self._node.goes_on.wait()
            await asyncio.sleep(0.01)

    def service(self, details: Any) -> Any:
        method = details.method
        requests: dict[str, Any] = {
            "Read": pb.ReadRequest,
            "Scan": pb.ScanRequest,
            "ChangeTopology": admin_pb2.ChangeTopologyRequest,
            "NoteRestore": admin_pb2.NoteRestoreRequest,
        }
        if method == WATCH:
            return grpc.unary_stream_rpc_method_handler(
                self._watched, pb.WatchRequest.FromString, None
            )
        decode = requests.get(method.rpartition("/")[2])

        async def reached(request: Any, context: Any) -> bytes | admin_pb2.RestoreStanding:
            self._node.reached.append(method)
            if self._node.fails:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
            return admin_pb2.RestoreStanding(version=4) if "NoteRestore" in method else b""

        def encode(answer: Any) -> bytes:
            return answer if isinstance(answer, bytes) else answer.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(
            reached, decode.FromString if decode is not None else None, encode
        )


@asynccontextmanager
async def running(
    tmp_path: Path, revoked: Path | None = None, **security: Any
) -> AsyncIterator[Node]:
    pki = Pki(tmp_path)
    files = replace(pki.node("a"), revoked=revoked)
    own = NodeConfig("a", "a", Address("127.0.0.1", 1), Address("127.0.0.1", 2), tmp_path / "data")
    everything = {"tls": files, "permissions": PERMISSIONS, **security}
    config = Config("im", ("t", "u"), (own,), security=Security(**everything))
    own_identity = Identity("im", Kind.NODE, "a")
    certificates = Certificates(files, own_identity) if config.security.tls is not None else None
    node = Node(config, certificates, pki)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


READ_T = (SERVICE + "Read", pb.ReadRequest(table="t", keys=["k"]))
READ_U = (SERVICE + "Read", pb.ReadRequest(table="u", keys=["k"]))
STATUS = (SERVICE + "Status", pb.StatusRequest())
CHANGE = (ADMIN + "ChangeTopology", admin_pb2.ChangeTopologyRequest(remove="b"))
NOTE = (ADMIN + "NoteRestore", admin_pb2.NoteRestoreRequest(backup_id="x", chunks=3))
DESCRIBE = (ADMIN + "Describe", admin_pb2.DescribeRequest())
HOLDING = (ADMIN + "GetHolding", admin_pb2.GetHoldingRequest())
OF_NODES = (ADMIN + "GetStatus", pb.StatusRequest())
HEALTH = ("/grpc.health.v1.Health/Check", pb.StatusRequest())
ALLOWED = {
    "reader": {READ_T[0] + "t", STATUS[0], HEALTH[0]},
    "binder": {STATUS[0], HEALTH[0]},
    "op": {STATUS[0], HEALTH[0], CHANGE[0], DESCRIBE[0]},
    "nobody": {HEALTH[0]},
}


@pytest.mark.parametrize("client", ALLOWED)
async def test_each_client_may_do_what_it_is_permitted_and_no_more(
    tmp_path: Path, client: str
) -> None:
    async with running(tmp_path) as node:
        tls = node.pki.client(client)
        for method, request in (READ_T, READ_U, STATUS, CHANGE, DESCRIBE, HOLDING, HEALTH):
            table = request.table if isinstance(request, pb.ReadRequest) else ""
            node.reached.clear()
            code = await node.call(tls, method, request)
            if method + table in ALLOWED[client]:
                assert node.reached == [method], (method, code)
            else:
                assert (code, node.reached) == ("PERMISSION_DENIED", []), method
                assert node.detail().reason == pb.ErrorDetail.REASON_PERMISSION_DENIED
                assert node.error.details() == node.detail().message


async def test_a_node_is_no_client(tmp_path: Path) -> None:
    """Whatever the name: its key is on a machine that serves, and opens no more than it must."""
    permissions = (Permission(("a", "*"), frozenset((Right.READ,)), ("*",)),)
    async with running(tmp_path, permissions=permissions) as node:
        files = node.pki.node("a")
        tls = TlsConfig(files.ca, files.cert, files.key)
        assert await node.call(tls, *READ_T) == "PERMISSION_DENIED"
        assert await node.call(tls, *STATUS) == "PERMISSION_DENIED"
        assert await node.call(tls, *HEALTH) == "OK"
        assert await node.call(tls, *CHANGE) == "PERMISSION_DENIED"
        assert await node.call(tls, *HOLDING) == "OK"
        assert await node.call(tls, *OF_NODES) == "OK"
        assert node.reached == [HEALTH[0], HOLDING[0], OF_NODES[0]]


async def test_another_clusters_client_of_the_same_ca_is_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for method, request in (READ_T, HEALTH, OF_NODES):
            tls = node.pki.client("reader", "other")
            assert await node.call(tls, method, request) == "UNAUTHENTICATED"
            assert "is of cluster 'other', not 'im'" in (node.error.details() or "")
        assert node.reached == []


async def test_an_rpc_without_a_rule_is_refused_to_everybody(tmp_path: Path) -> None:
    assert NEW not in RULES
    async with running(tmp_path) as node:
        for client in ALLOWED:
            code = await node.call(node.pki.client(client), NEW, pb.StatusRequest())
            assert code == "PERMISSION_DENIED"
        assert node.reached == []


async def test_without_permissions_nobody_may_do_anything_and_the_node_says_so(
    tmp_path: Path,
) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, permissions=()) as node:
            assert await node.call(node.pki.client("op"), *STATUS) == "PERMISSION_DENIED"
    assert any("no client may do anything" in entry["event"] for entry in logs)


async def test_over_its_rate_a_reader_is_told_when_to_come_back(tmp_path: Path) -> None:
    allowances = {"reader": Allowance(ops_per_s=0.5, burst_ops=2)}
    async with running(tmp_path, allowances=allowances) as node:
        tls = node.pki.client("reader")
        assert await node.call(tls, *READ_T) == "OK"
        assert await node.call(tls, *READ_T) == "OK"
        assert await node.call(tls, *READ_T) == "RESOURCE_EXHAUSTED"
        assert node.detail().reason == pb.ErrorDetail.REASON_OVERLOADED
        assert 1_000 < node.detail().retry_delay_ms <= 2_000
        assert await node.call(tls, *STATUS) == "OK", "what counts for nothing goes on"


async def test_calls_at_a_time_are_bounded_and_given_back(tmp_path: Path) -> None:
    allowances = {"*": Allowance(calls=1)}
    async with running(tmp_path, allowances=allowances) as node:
        tls = node.pki.client("reader")
        for _ in range(3):
            assert await node.call(tls, *READ_T) == "OK"
        (caller,) = node.gate._callers._known.values()
        caller.calls += 1
        assert await node.call(tls, *READ_T) == "RESOURCE_EXHAUSTED"
        node.fails = True
        caller.calls -= 1
        for _ in range(3):
            assert await node.call(tls, *READ_T) == "FAILED_PRECONDITION"


async def _read_on(stream: Any) -> None:
    while await stream.read() == b"change":
        pass


async def test_a_watch_ends_with_the_right_to_it(tmp_path: Path) -> None:
    """Whoever is permitted less by now sees nothing more, on streams that there are too."""
    async with running(tmp_path) as node:
        credentials = node.pki.client("reader").credentials()
        request = pb.WatchRequest(table="t", prefix="")
        async with open_aio_channel(node.address, credentials) as channel:
            watch = channel.unary_stream(WATCH, pb.WatchRequest.SerializeToString, None)
            stream = watch(request, timeout=TIMEOUT_S)
            assert await stream.read() == b"change"
            node.goes_on.set()
            assert await stream.read() == b"change"
            node.goes_on.clear()
            node.gate.permit(Security(permissions=(PERMISSIONS[2],)))
            node.goes_on.set()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await _read_on(stream)
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await node.call(node.pki.client("reader"), *STATUS) == "PERMISSION_DENIED"
        (caller,) = node.gate._callers._known.values()
        assert (caller.calls, caller.watches) == (0, 0)


async def test_admin_acts_are_noted_however_they_end(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        op = node.pki.client("op")
        assert await node.call(op, *NOTE) == "OK"
        assert await node.call(op, *DESCRIBE) == "OK"
        node.fails = True
        assert await node.call(op, *CHANGE) == "FAILED_PRECONDITION"
        assert await node.call(node.pki.client("reader"), *CHANGE) == "PERMISSION_DENIED"
    entries = node.audited()
    assert [(e["who"], e["act"], e["outcome"]) for e in entries] == [
        ("client op", "NoteRestore", "OK"),
        ("client op", "ChangeTopology", "FAILED_PRECONDITION"),
        ("client reader", "ChangeTopology", "PERMISSION_DENIED"),
    ]
    assert entries[0]["asked"] == {"backup_id": "x", "chunks": "3"}
    assert entries[0]["answer"] == {"version": "4"}
    assert entries[1]["asked"] == {"remove": "b"}
    assert entries[0]["from"].startswith("ipv4:127.0.0.1:")


async def test_who_is_revoked_is_refused_at_once_by_number_or_by_name(tmp_path: Path) -> None:
    revoked = tmp_path / "revoked.txt"
    revoked.write_text("")
    async with running(tmp_path, revoked=revoked) as node:
        lost, kept = node.pki.client("reader"), node.pki.client("op")
        serial = load_pem_x509_certificate(lost.paths[1].read_bytes()).serial_number
        credentials = lost.credentials()
        async with open_aio_channel(node.address, credentials) as channel:
            read = channel.unary_unary(READ_T[0], pb.ReadRequest.SerializeToString, None)
            assert await read(READ_T[1], timeout=TIMEOUT_S) == b""
            revoked.write_text(f"serial={serial:X}\n")
            node.certificates.revocations.newest()
            with pytest.raises(grpc.aio.AioRpcError, match="was revoked") as refused:
                await read(READ_T[1], timeout=TIMEOUT_S)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await node.call(lost, *HEALTH) == "PERMISSION_DENIED"
        assert await node.call(kept, *STATUS) == "OK"
        assert await node.call(node.pki.client("reader"), *READ_T) == "OK", "it has another now"
        revoked.write_text("globaltable://im/client/reader\n")
        node.certificates.revocations.newest()
        assert await node.call(node.pki.client("reader"), *READ_T) == "PERMISSION_DENIED"
    assert {(e["who"], e["outcome"]) for e in node.audited()} == {
        ("client reader", "PERMISSION_DENIED")
    }


async def test_a_node_that_was_removed_may_do_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        files = node.pki.node("b")
        tls = TlsConfig(files.ca, files.cert, files.key)
        assert await node.call(tls, *HOLDING) == "OK"
        node.removed.add("b")
        assert await node.call(tls, *HOLDING) == "PERMISSION_DENIED"
        assert "node b is removed" in (node.error.details() or "")
        assert await node.call(tls, *HEALTH) == "PERMISSION_DENIED"
        node.removed.clear()
        assert await node.call(tls, *HOLDING) == "OK", "it was added again"


async def test_in_the_clear_everybody_may_and_what_is_done_is_noted_with_an_address(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, tls=None, audits_in_the_clear=True, permissions=()) as node:
        for method, request in (READ_T, STATUS, NOTE, DESCRIBE, HOLDING, HEALTH):
            assert await node.call(None, method, request) == "OK"
        assert await node.call(None, NEW, pb.StatusRequest()) == "OK", "as without an audit"
        node.gate.permit(Security())
        node.fails = True
        assert await node.call(None, *CHANGE) == "FAILED_PRECONDITION"
        assert node.gate.options == []
    entries = node.audited()
    assert [(e["act"], e["outcome"]) for e in entries] == [
        ("NoteRestore", "OK"),
        ("ChangeTopology", "FAILED_PRECONDITION"),
    ]
    assert all(e["who"] == e["from"].replace("ipv4:", "address ") for e in entries)


async def test_refusals_do_not_flood_the_log(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        tls = node.pki.client("nobody")
        credentials = tls.credentials()
        with capture_logs() as logs:
            async with open_aio_channel(node.address, credentials) as channel:
                call = channel.unary_unary(STATUS[0], pb.StatusRequest.SerializeToString, None)
                for _ in range(100):
                    with pytest.raises(grpc.aio.AioRpcError):
                        await call(pb.StatusRequest(), timeout=TIMEOUT_S)
        assert 20 <= sum(entry["event"] == "call refused" for entry in logs) < 30


async def test_the_audit_log_goes_where_the_configuration_says(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path / "elsewhere")
    async with running(tmp_path, audit=files) as node:
        await node.call(node.pki.client("op"), *CHANGE)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["audit-00000001.jsonl"]
