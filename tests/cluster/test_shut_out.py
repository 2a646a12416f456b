"""Promise: whoever is believed no more is out, of connections and streams too, with no restart: a
client or a node whose certificate is revoked or has expired, and a node that was removed."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from globaltable.client import SyncGlobalTable, TlsConfig
from globaltable.client.tls import open_channel
from globaltable.errors import OutcomeUnknown, PermissionDenied
from globaltable.server.frames import FrameKind, FrameParser, encode
from globaltable.server.handshake import HELLO_BYTES_MAX, REMOVED_PREFIX, encode_hello
from globaltable.server.security import EVERYBODY, Permission, Right, Security
from globaltable.testing import LocalCluster
from globaltable.v1 import admin_pb2, admin_pb2_grpc
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.certificates import Pki
from tests.cluster.growing import Joiner, ask, joiner, until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TABLE = "im.session"
SECURITY = Security(
    permissions=(
        # For everybody: to take a name from here would shut out all.
        Permission((EVERYBODY,), frozenset((Right.READ, Right.BIND)), (TABLE,)),
        Permission(("op",), frozenset((Right.ADMIN,))),
    ),
)
ENDED_S = 10.0
"""In which it must be noticed; it takes a second or two, on a machine that is not busy."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(groups=1, secure=SECURITY) as running:
        yield running


def _pki(cluster: LocalCluster) -> Pki:
    return Pki(cluster.directory / "tls", cluster.config.cluster)


def _connect(cluster: LocalCluster, tls: TlsConfig | None, **settings: Any) -> SyncGlobalTable:
    how = {"table": TABLE, "timeout": 10.0, "tls": tls, **settings}
    return SyncGlobalTable.connect(cluster.addresses.values(), **how)


class Watching:
    """A watch on a thread of its own, and how it ended."""

    def __init__(self, client: SyncGlobalTable) -> None:
        self._watch = client.watch(prefix="")
        self._watch.start()
        self.ended: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for _ in self._watch:
                pass
        except Exception as error:
            self.ended = error


@pytest.mark.parametrize("by", ["name", "number"])
def test_a_revoked_client_loses_its_streams_and_gets_no_others(
    cluster: LocalCluster, by: str
) -> None:
    """While all that others do goes on."""
    own = _pki(cluster)
    tls = own.client(f"lost-{by}")
    with _connect(cluster, tls) as lost, _connect(cluster, own.client("kept")) as kept:
        assert lost.bind(f"before:{by}", "A").created
        watching, others = Watching(lost), Watching(kept)
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-serial", "-in", str(tls.cert)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        cluster.revoke(said.strip() if by == "number" else f"globaltable://local/client/lost-{by}")
        # The stream that it sits on is ended, though it asks for nothing.
        watching.thread.join(ENDED_S)
        assert isinstance(watching.ended, PermissionDenied), watching.ended
        with pytest.raises(PermissionDenied, match="revoked"):
            lost.get(f"before:{by}")
        with pytest.raises((PermissionDenied, OutcomeUnknown)):
            lost.bind("after", "A")
        with pytest.raises(PermissionDenied), _connect(cluster, tls) as again:
            again.get("k")
        assert kept.bind(f"kept:{by}", "A").created and others.thread.is_alive()
        renewed = own.client(f"lost-{by}")
        with contextlib.suppress(PermissionDenied), _connect(cluster, renewed) as again:
            assert again.get(f"before:{by}") is not None
            assert by == "number", "with another number it is believed, and by its name not"
        until(lambda: "connections ended" in _logs(cluster))
    cluster.revoke()


def _logs(cluster: LocalCluster) -> str:
    return "".join(cluster.log_path(node).read_text() for node in cluster.nodes)


def test_a_bad_file_of_revocations_shuts_nobody_out_and_lets_nobody_in(
    cluster: LocalCluster,
) -> None:
    own = _pki(cluster)
    uri = "globaltable://local/client/unwanted"
    with _connect(cluster, own.client("unwanted")) as unwanted:
        unwanted.get("k")
        cluster.revoke(uri)
        until(lambda: not _may(unwanted))
        cluster.revoke("what?")
        until(lambda: "the earlier stay" in _logs(cluster))
        assert not _may(unwanted)
        with _connect(cluster, own.client("kept")) as kept:
            assert _may(kept)
        cluster.revoke()
        until(lambda: _may(unwanted))


def _may(client: SyncGlobalTable) -> bool:
    try:
        client.get("k")
    except PermissionDenied:
        return False
    return True


def test_a_client_goes_on_over_the_end_of_its_certificate_if_it_has_another_by_then(
    cluster: LocalCluster,
) -> None:
    """And if it has none it is let in no more, though its connection was open."""
    own, life_s = _pki(cluster), 4.0
    began = time.monotonic()
    day_s = 86_400
    with (
        _connect(cluster, own.client("brief", days=life_s / day_s)) as brief,
        open_channel(
            cluster.addresses["a"], own.client("stale", days=life_s / day_s).credentials()
        ) as channel,
    ):
        stub: Any = pb_grpc.GlobalTableServiceStub(channel)
        stub.Read(pb.ReadRequest(table=TABLE, keys=["k"]), timeout=5.0)
        assert brief.bind("brief", "A").created
        watching = Watching(brief)
        own.client("brief")
        number = 0
        while time.monotonic() < began + life_s + 3.0:
            assert brief.bind(f"brief:{number}", "A").created
            number += 1
            time.sleep(0.02)
        assert watching.thread.is_alive()
        with pytest.raises(grpc.RpcError) as refused:
            stub.Read(pb.ReadRequest(table=TABLE, keys=["k"]), timeout=5.0)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_nodes_go_on_over_the_ends_of_their_certificates_if_they_are_renewed() -> None:
    """Short-lived ones, renewed all the time: links and channels are made anew in good order."""
    running = LocalCluster(groups=1, secure=SECURITY)
    own, life_s, done = _pki(running), 5.0, threading.Event()

    def renew() -> None:
        for node in running.nodes:
            own.node(node, days=life_s / 86_400)

    def renew_on() -> None:
        while not done.wait(life_s / 4):
            renew()

    renew()
    renewing = threading.Thread(target=renew_on)
    renewing.start()
    try:
        with running, _connect(running, own.client("web")) as web:
            deadline, number = time.monotonic() + 3 * life_s, 0
            while time.monotonic() < deadline:
                assert web.bind(f"k:{number}", "A", timeout=5.0).created
                number += 1
                time.sleep(0.02)
            ended = _logs(running).count("certificate of node")
            assert ended >= 4, "links have ended with their certificates"
    finally:
        done.set()
        renewing.join()


@pytest.mark.slow
def test_a_removed_nodes_certificate_opens_nothing() -> None:
    with LocalCluster(groups=1, secure=SECURITY) as running, joiner(running, "d") as d:
        own = _pki(running)
        own.node("d")
        node_a = own.directory / "node-a.pem"
        shown = TlsConfig(own.ca, node_a, node_a.with_name("node-a-key.pem"))
        address = running.addresses["b"]
        with open_channel(address, shown.credentials()) as channel:
            stub: Any = admin_pb2_grpc.AdminServiceStub(channel)
            asked = admin_pb2.GetHoldingRequest(group=0, slot=1)
            stub.GetHolding(asked, timeout=5.0)
            _replace(running, d)
            until(lambda: not running.is_running("a"))

            def refused() -> str:
                try:
                    stub.GetHolding(asked, timeout=5.0)
                except grpc.RpcError as error:
                    return str(error.details())
                return ""

            until(lambda: "node a is no part of version" in refused())
        peer = running.config.node("b").peer
        reason = asyncio.run(_knock(peer.port, shown))
        assert reason.startswith(REMOVED_PREFIX), reason
        # Who has come in its place may do all that nodes may.
        node_d = own.directory / "node-d.pem"
        of_d = TlsConfig(own.ca, node_d, node_d.with_name("node-d-key.pem"))
        with open_channel(address, of_d.credentials()) as channel:
            of_d_stub: Any = admin_pb2_grpc.AdminServiceStub(channel)
            of_d_stub.GetHolding(asked, timeout=5.0)


def _replace(running: LocalCluster, d: Joiner) -> None:
    d.start()
    tls = running.tls("op")
    assert tls is not None
    shown = ["--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]
    assert ask(running, *shown, "member", "replace", "a", *d.options, regions="bc")[-1]["done"]


async def _knock(port: int, shown: TlsConfig) -> str:
    """Say that one is node a, and return why one is refused."""
    context = ssl.create_default_context(cafile=str(shown.ca))
    context.check_hostname = False
    context.load_cert_chain(Path(shown.cert), Path(shown.key))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(encode(FrameKind.HELLO, encode_hello("local", "a", "b", 1)))
        async with asyncio.timeout(5.0):
            ((kind, body),) = FrameParser(HELLO_BYTES_MAX).feed(await reader.read(1 << 16))
    finally:
        writer.transport.abort()
    assert kind is FrameKind.REFUSE, kind
    return body.decode()
