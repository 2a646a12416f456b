"""Links over TLS: of a node's peers only those get in that a certificate of this cluster names."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate
from structlog.testing import capture_logs

from globaltable.admin.certificates import LOOPBACK, Pair, pair_of
from globaltable.server import accepting, peers
from globaltable.server.accepting import HANDSHAKES_MAX
from globaltable.server.frames import FrameKind, encode
from globaltable.server.handshake import encode_hello
from globaltable.server.identities import Identity, Kind
from globaltable.server.tls import Certificates
from tests.certificates import Pki
from tests.server.test_peers import Stranger, Wire, ports_of, start

SHOWN_S = 0.5
"""In which a node that is let in would be long since."""
LIFE_S = 3.0
"""Of a certificate."""


@pytest.fixture
async def running() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_two_nodes_of_a_cluster_speak_and_what_they_say_is_not_to_be_read(
    running: AsyncExitStack, tmp_path: Path
) -> None:
    pki, ports = Pki(tmp_path), ports_of("ab")
    a = Wire("a", ports, certificates=pki.certificates("a"))
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, a, b)
    await a.connected("b")
    await b.connected("a")
    payload = bytes(range(256)) * 4_000
    assert a.links.send("b", payload) and b.links.send("a", b"back")
    await b.until(lambda: b.received)
    await a.until(lambda: a.received)
    assert (b.received, a.received) == ([("a", payload)], [("b", b"back")])


def _context(ca: Path, files: Pair | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(ca)
    if files is not None:
        context.load_cert_chain(*files)
    return context


async def _knock(port: int, context: ssl.SSLContext | None, name: str = "a") -> bytes:
    """Say that one is node `name`, and return what comes back before the end."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        writer.write(encode(FrameKind.HELLO, encode_hello("im", name, "b", 1)))
        async with asyncio.timeout(5.0):
            return await reader.read(1 << 16)
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.transport.abort()


Shown = Callable[[Pki, Path], tuple[Path, Pair | None]]


def _other_ca(pki: Pki, directory: Path) -> tuple[Path, Pair]:
    files = Pki(directory / "other").node("a")
    return pki.ca, Pair(files.cert, files.key)


def _expired(pki: Pki, directory: Path) -> tuple[Path, Pair]:
    files = pki.node("a", days=-1)
    return pki.ca, Pair(files.cert, files.key)


def _self_signed(pki: Pki, directory: Path) -> tuple[Path, Pair]:
    Pki(directory / "own")
    return pki.ca, pair_of(directory / "own", "ca")


def _server_only(pki: Pki, directory: Path) -> tuple[Path, Pair]:
    """A client's certificate: it is for clients, and of the same CA."""
    files = pair_of(directory, "client-a")
    pki.authority.issue(files, Identity("im", Kind.CLIENT, "a"), LOOPBACK)
    return pki.ca, files


def _of_node(name: str, cluster: str = "im") -> Shown:
    def shown(pki: Pki, directory: Path) -> tuple[Path, Pair]:
        files = pki.node(name, cluster)
        return pki.ca, Pair(files.cert, files.key)

    return shown


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (lambda pki, directory: (pki.ca, None), b""),
        (_other_ca, b""),
        (_self_signed, b""),
        (_expired, b""),
        (_server_only, b"the certificate is of client a, which is no node"),
        (_of_node("a", "other"), b"the certificate is of cluster 'other', not 'im'"),
        (_of_node("c"), b"the certificate is of node 'c', not 'a'"),
    ],
    ids=[
        "none", "of another CA", "signed by itself", "expired", "a client's",
        "another cluster's of the same CA", "another node's",
    ],
)  # fmt: skip
async def test_who_shows_another_certificate_is_refused(
    running: AsyncExitStack, tmp_path: Path, shown: Shown, told: bytes
) -> None:
    """Though it says in its handshake what node a would say."""
    pki, ports = Pki(tmp_path), ports_of("ab")
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, b)
    with capture_logs() as logs:
        answer = await _knock(ports["b"], _context(*shown(pki, tmp_path)))
    assert b.events == [] and not b.links.connected("a")
    assert answer == (encode(FrameKind.REFUSE, told) if told else b"")
    # Once: of what comes behind a refusal nothing is looked at.
    assert [entry["event"] for entry in logs].count("peer connection refused") == 1
    # The right one gets in as before.
    a = Wire("a", ports, certificates=pki.certificates("a"))
    await start(running, a)
    await b.connected("a")


async def test_in_the_clear_nobody_is_heard(running: AsyncExitStack, tmp_path: Path) -> None:
    pki, ports = Pki(tmp_path), ports_of("ab")
    a, b = Wire("a", ports), Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, a, b)
    assert await _knock(ports["b"], None) in (b"", b"\x15\x03\x03\x00\x02\x02\x46")
    await asyncio.sleep(SHOWN_S)
    assert a.events == b.events == []


async def test_the_one_that_is_dialled_must_show_that_it_is_that(
    running: AsyncExitStack, tmp_path: Path
) -> None:
    """One that has another node's certificate, and its address, learns nothing but a name."""
    pki, ports = Pki(tmp_path), ports_of("ab")
    impostor = Wire("b", ports, certificates=pki.certificates("c"))
    a = Wire("a", ports, certificates=pki.certificates("a"))
    with capture_logs() as logs:
        await start(running, impostor, a)
        async with asyncio.timeout(5.0):
            while not any("node 'c', not 'b'" in str(entry.get("reason")) for entry in logs):
                await asyncio.sleep(0.01)
    assert a.events == impostor.events == []


async def test_what_is_recorded_and_sent_again_is_nothing(
    running: AsyncExitStack, tmp_path: Path
) -> None:
    """Each connection has keys of its own: the bytes of another mean nothing in it."""
    pki, ports = Pki(tmp_path), ports_of("abr")
    recorded = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, on = await asyncio.open_connection("127.0.0.1", ports["b"])

        async def pump(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool
        ) -> None:
            while data := await source.read(1 << 16):
                if keep:
                    recorded.extend(data)
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, on, True), pump(there, writer, False))

    server = await asyncio.start_server(relay, "127.0.0.1", ports["r"])
    b = Wire("b", ports, certificates=pki.certificates("b"))
    by_detour = {"a": ports["a"], "b": ports["r"]}
    a = Wire("a", by_detour, certificates=pki.certificates("a"))
    await start(running, b, a)
    await b.connected("a")
    await a.connected("b")
    assert a.links.send("b", b"once")
    await b.until(lambda: b.received)
    await a.links.close()
    await b.until(lambda: ("down", "a") in b.events)
    server.close()
    before = list(b.events)
    reader, writer = await asyncio.open_connection("127.0.0.1", ports["b"])
    writer.write(recorded)
    async with asyncio.timeout(5.0):
        while await reader.read(1 << 16):
            pass
    writer.transport.abort()
    assert (b.received, b.events) == ([("a", b"once")], before)


async def _silent(running: AsyncExitStack, port: int, count: int) -> list[Stranger]:
    """Slow-loris: they connect, or begin a handshake too, and do not go on."""
    silent = []
    for number in range(count):
        stranger = await Stranger.dial(running, port)
        if number % 2:
            stranger.writer.write(b"\x16\x03\x01\x02\x00")
        silent.append(stranger)
    return silent


async def test_many_that_say_nothing_keep_nobody_out(
    running: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of them give way."""
    monkeypatch.setattr(peers, "HANDSHAKE_TIMEOUT_S", 60.0)
    pki, ports = Pki(tmp_path), ports_of("ab")
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, b)
    silent = await _silent(running, ports["b"], 2 * HANDSHAKES_MAX)
    async with asyncio.timeout(10.0):
        while sum(not stranger.is_over for stranger in silent) > HANDSHAKES_MAX:
            await asyncio.sleep(0.01)
    assert silent[0].is_over and not silent[-1].is_over
    await start(running, Wire("a", ports, certificates=pki.certificates("a")))
    await b.connected("a")


async def test_those_that_say_nothing_are_given_up(
    running: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "HANDSHAKE_TIMEOUT_S", 0.2)
    pki, ports = Pki(tmp_path), ports_of("ab")
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, b)
    for stranger in await _silent(running, ports["b"], 4):
        await stranger.frames_until_closed()


async def test_refusals_do_not_flood_the_log(
    running: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_WORDS_AT_ONCE", 3)
    monkeypatch.setattr(accepting, "_WORDS_PER_S", 0.01)
    pki, ports = Pki(tmp_path), ports_of("ab")
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, b)
    with capture_logs() as logs:
        for _ in range(10):
            await _knock(ports["b"], None)
    assert sum(entry["event"] == "peer connection refused" for entry in logs) == 3


async def test_new_certificates_serve_new_connections_and_the_old_ca_is_believed_no_more(
    running: AsyncExitStack, tmp_path: Path
) -> None:
    """Without a restart; a connection that there is goes on."""
    before, after, ports = Pki(tmp_path / "x"), Pki(tmp_path / "y"), ports_of("ab")
    files = before.node("b")
    certificates = before.certificates("b")
    a = Wire("a", ports, certificates=before.certificates("a"))
    b = Wire("b", ports, certificates=certificates)
    await start(running, a, b)
    await b.connected("a")
    await a.connected("b")
    renewed = after.node("b")
    for old, new in ((files.ca, renewed.ca), (files.cert, renewed.cert), (files.key, renewed.key)):
        old.write_bytes(new.read_bytes())
    assert a.links.send("b", b"as before")
    await b.until(lambda: b.received)
    old_a, new_a = pair_of(before.directory, "node-a"), after.node("a")
    assert await _knock(ports["b"], _context(after.ca, old_a)) == b""
    answer = await _knock(ports["b"], _context(after.ca, Pair(new_a.cert, new_a.key)))
    assert answer, "it is greeted"


async def test_a_link_ends_with_the_certificate_it_was_made_with_and_the_next_has_the_new(
    running: AsyncExitStack, tmp_path: Path
) -> None:
    """In good order: what was sent before is delivered."""
    pki, ports = Pki(tmp_path), ports_of("ab")
    files = pki.node("a", days=LIFE_S / 86_400)
    made_at = time.monotonic()
    a = Wire("a", ports, certificates=Certificates(files, Identity("im", Kind.NODE, "a")))
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, a, b)
    await b.connected("a")
    await a.connected("b")
    pki.node("a")
    with capture_logs() as logs:
        numbers = 0
        while ("down", "a") not in b.events:
            assert time.monotonic() < made_at + LIFE_S + 2.0, "it outlives its certificate"
            if a.links.send("b", b"%d" % numbers):
                numbers += 1
            await asyncio.sleep(0.01)
    # The certificate's end has no fractions of a second.
    assert time.monotonic() > made_at + LIFE_S - 1.2, "it ends no earlier"
    assert any("certificate of node a expired" in str(entry) for entry in logs)
    await b.until(lambda: b.events[-1] == ("up", "a"))
    await a.connected("b")
    assert a.links.send("b", b"on")
    await b.until(lambda: b.received[-1] == ("a", b"on"))
    sent = [int(payload) for _, payload in b.received[:-1]]
    assert sent == sorted(sent) and len(sent) >= numbers - 2, (len(sent), numbers)


async def test_one_that_was_not_renewed_stays_out_until_it_is(
    running: AsyncExitStack, tmp_path: Path
) -> None:
    pki, ports = Pki(tmp_path), ports_of("ab")
    files = pki.node("a", days=1.5 / 86_400)
    a = Wire("a", ports, certificates=Certificates(files, Identity("im", Kind.NODE, "a")))
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, a, b)
    await b.connected("a")
    await b.until(lambda: ("down", "a") in b.events)
    await asyncio.sleep(SHOWN_S)
    assert not b.links.connected("a")
    pki.node("a")
    await b.connected("a")


@pytest.mark.parametrize("of", ["number", "name"])
async def test_a_link_ends_once_its_certificate_is_revoked(
    running: AsyncExitStack, tmp_path: Path, of: str
) -> None:
    pki, ports = Pki(tmp_path), ports_of("ab")
    revoked = tmp_path / "revoked.txt"
    revoked.write_text("")
    own = Identity("im", Kind.NODE, "b")
    a = Wire("a", ports, certificates=pki.certificates("a"))
    b = Wire("b", ports, certificates=Certificates(replace(pki.node("b"), revoked=revoked), own))
    await start(running, a, b)
    await b.connected("a")
    shown = load_pem_x509_certificate((tmp_path / "node-a.pem").read_bytes())
    line = f"serial={shown.serial_number:X}" if of == "number" else "globaltable://im/node/a"
    revoked.write_text(f"{line}\n")
    await b.until(lambda: ("down", "a") in b.events)
    await asyncio.sleep(SHOWN_S)
    assert not b.links.connected("a"), "nor does it come back"
    pki.node("a")
    await asyncio.sleep(SHOWN_S)
    assert b.links.connected("a") is (of == "number"), "with another number it does"


async def test_a_removed_node_is_told_so_and_its_link_ended(
    running: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "REMOVED_GRACE_S", 0.3)
    pki, ports = Pki(tmp_path), ports_of("ab")
    a = Wire("a", ports, certificates=pki.certificates("a"))
    b = Wire("b", ports, certificates=pki.certificates("b"))
    await start(running, a, b)
    await a.connected("b")
    await b.connected("a")
    b.links.set_peers({})
    assert a.links.send("b", b"while it hears of it")
    await b.until(lambda: b.received)
    with capture_logs() as logs:
        await b.until(lambda: ("down", "a") in b.events)
        await a.until(lambda: ("down", "b") in a.events)
    told = [e["reason"] for e in logs if e["event"] == "peer refuses this node"]
    assert told and told[0].startswith("removed: node a is no part of the topology")
    await asyncio.sleep(SHOWN_S)
    assert not b.links.connected("a")
    # One that is added again within the time stays.
    peer = peers.Peer("127.0.0.1", ports["a"])
    b.links.set_peers({"a": peer})
    await b.connected("a")
    b.links.set_peers({})
    b.links.set_peers({"a": peer})
    before = list(b.events)
    await asyncio.sleep(SHOWN_S)
    assert b.events == before and b.links.connected("a")
