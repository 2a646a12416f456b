"""Links between real sockets: they come up, come back, keep order, and let nobody else in."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from globaltable.errors import ProtocolError
from globaltable.server.frames import FrameKind, FrameParser, encode
from globaltable.server.handshake import HELLO_BYTES_MAX, decode_hello, encode_hello
from globaltable.server.peers import UNKNOWN_CONNECTIONS_MAX, Peer, PeerLinks
from globaltable.server.tls import Certificates
from globaltable.server.versions import SPOKEN, Versions
from globaltable.testing.cluster import free_ports

TIMEOUT_S = 5.0
POISON = b"what the core refuses"


class Wire:
    """One node's links, and what they have told it."""

    def __init__(
        self,
        name: str,
        ports: Mapping[str, int],
        *,
        cluster: str = "im",
        delay_s: float = 0.0,
        buffer_bytes_max: int = 1 << 20,
        idle_timeout_s: float = 5.0,
        plan: int = 0,
        certificates: Certificates | None = None,
        versions: Versions = SPOKEN,
    ) -> None:
        self.name = name
        self.received: list[tuple[str, bytes]] = []
        self.events: list[tuple[str, str]] = []
        self._moved = asyncio.Event()
        peers = {
            peer: Peer("127.0.0.1", port, delay_s) for peer, port in ports.items() if peer != name
        }
        self.links = PeerLinks(
            cluster=cluster,
            node=name,
            incarnation=1,
            listen=("127.0.0.1", ports[name]),
            peers=peers,
            on_payload=self._on_payload,
            on_up=lambda peer: self._on_event("up", peer),
            on_down=lambda peer: self._on_event("down", peer),
            buffer_bytes_max=buffer_bytes_max,
            reconnect_min_s=0.01,
            reconnect_max_s=0.05,
            random=random.Random(1),
            plan=plan,
            ping_interval_s=0.05,
            idle_timeout_s=idle_timeout_s,
            certificates=certificates,
            versions=versions,
        )

    def _on_payload(self, peer: str, payload: bytes) -> None:
        if payload == POISON:
            raise ProtocolError("no message of any version")
        self.received.append((peer, payload))
        self._moved.set()

    def _on_event(self, kind: str, peer: str) -> None:
        self.events.append((kind, peer))
        self._moved.set()

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait for something that an event or a payload brings about."""
        async with asyncio.timeout(TIMEOUT_S):
            while not reached():
                self._moved.clear()
                await self._moved.wait()

    async def connected(self, *peers: str) -> None:
        await self.until(lambda: all(self.links.connected(peer) for peer in peers))


@pytest.fixture
async def running() -> AsyncIterator[AsyncExitStack]:
    """What is started is stopped, whatever happens."""
    async with AsyncExitStack() as stack:
        yield stack


async def start(running: AsyncExitStack, *wires: Wire) -> None:
    for wire in wires:
        await wire.links.start()
        running.push_async_callback(wire.links.close)


def ports_of(names: str) -> dict[str, int]:
    return dict(zip(names, free_ports(len(names)), strict=True))


async def _pair(running: AsyncExitStack, **settings: float) -> tuple[Wire, Wire]:
    """Nodes `a` and `b`, connected."""
    ports = ports_of("ab")
    a = Wire("a", ports, **settings)  # type: ignore[arg-type]
    b = Wire("b", ports)
    await start(running, a, b)
    await a.connected("b")
    await b.connected("a")
    return a, b


class Stranger:
    """A bare connection to a peer port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def dial(cls, running: AsyncExitStack, port: int) -> "Stranger":
        stranger = cls(*await asyncio.open_connection("127.0.0.1", port))
        running.push_async_callback(stranger.close)
        return stranger

    @classmethod
    async def listen(
        cls,
        running: AsyncExitStack,
        port: int,
        serve: Callable[["Stranger"], Awaitable[None]],
    ) -> None:
        """Be the one that is dialled."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stranger = cls(reader, writer)
            running.push_async_callback(stranger.close)
            await serve(stranger)

        server = await asyncio.start_server(accept, "127.0.0.1", port)
        running.callback(server.close)

    async def close(self) -> None:
        self.writer.transport.abort()
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    @property
    def is_over(self) -> bool:
        return self._reader.at_eof() or self._reader.exception() is not None

    async def frames_until_closed(self) -> list[tuple[FrameKind, bytes]]:
        """What it is told before it is cut off."""
        parser = FrameParser(1 << 20)
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return list(parser.feed(await self._reader.read(-1)))
            except ConnectionResetError:
                return []

    async def first_frame(self) -> tuple[FrameKind, bytes]:
        async with asyncio.timeout(TIMEOUT_S):
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            body = await self._reader.readexactly(size)
            return FrameKind(body[0]), body[1:]


class TestExchange:
    async def test_three_nodes_connect_each_to_each_and_talk_in_order(
        self, running: AsyncExitStack
    ) -> None:
        ports = ports_of("abc")
        wires = [Wire(name, ports) for name in "abc"]
        await start(running, *wires)
        for wire in wires:
            await wire.connected(*set("abc") - {wire.name})
        for number in range(50):
            for wire in wires:
                for peer in set("abc") - {wire.name}:
                    assert wire.links.send(peer, f"{wire.name}{peer}{number}".encode())
        for wire in wires:
            await wire.until(lambda wire=wire: len(wire.received) == 100)  # type: ignore[misc]
            for peer in set("abc") - {wire.name}:
                expected = [f"{peer}{wire.name}{number}".encode() for number in range(50)]
                assert [data for sender, data in wire.received if sender == peer] == expected

    async def test_a_payload_larger_than_any_buffer_arrives_whole(
        self, running: AsyncExitStack
    ) -> None:
        a, b = await _pair(running, buffer_bytes_max=16 << 20)
        payload = random.Random(1).randbytes(8 << 20)
        assert a.links.send("b", payload)
        await b.until(lambda: b.received)
        assert b.received == [("a", payload)]

    async def test_the_round_trip_is_measured(self, running: AsyncExitStack) -> None:
        a, b = await _pair(running)
        assert b.links.send("a", b"behind the first ping's answer")
        await a.until(lambda: a.received)
        assert 0 < a.links.round_trip_s("b") < TIMEOUT_S
        assert a.links.round_trip_s("z") == 0.0

    async def test_what_is_sent_to_a_peer_that_is_away_is_refused(
        self, running: AsyncExitStack
    ) -> None:
        a = Wire("a", ports_of("ab"))
        await start(running, a)
        assert not a.links.send("b", b"lost")
        assert not a.links.connected("b")
        assert a.links.buffered_bytes("b") == 0


class TestReconnection:
    @pytest.mark.parametrize("restarted", ["a", "b"])
    async def test_after_either_end_was_closed_and_opened_again(
        self, running: AsyncExitStack, restarted: str
    ) -> None:
        """The one that dials, and the one that accepts."""
        ports = ports_of("ab")
        wires = {name: Wire(name, ports) for name in "ab"}
        await start(running, *wires.values())
        stays = wires["b" if restarted == "a" else "a"]
        await stays.connected(restarted)
        await wires[restarted].links.close()
        await stays.until(lambda: not stays.links.connected(restarted))
        assert not stays.links.send(restarted, b"nobody is there")
        again = Wire(restarted, ports)
        await start(running, again)
        await stays.connected(restarted)
        assert stays.events == [("up", restarted), ("down", restarted), ("up", restarted)]
        await again.connected(stays.name)
        assert stays.links.send(restarted, b"welcome back")
        await again.until(lambda: again.received)
        assert again.received == [(stays.name, b"welcome back")]

    async def test_a_later_connection_of_a_peer_replaces_the_earlier_one(
        self, running: AsyncExitStack
    ) -> None:
        """Its other end has given the earlier one up, though this end has not heard of it."""
        ports = ports_of("ab")
        b = Wire("b", ports)
        await start(running, b)
        hello = encode(FrameKind.HELLO, encode_hello("im", "a", "b", 1))
        first = await Stranger.dial(running, ports["b"])
        first.writer.write(hello)
        await b.connected("a")
        second = await Stranger.dial(running, ports["b"])
        second.writer.write(hello + encode(FrameKind.DATA, b"from the second"))
        await b.until(lambda: b.received)
        assert b.events == [("up", "a"), ("down", "a"), ("up", "a")]
        await first.frames_until_closed()
        assert b.links.connected("a")

    async def test_a_peer_with_another_plan_is_connected_and_known(
        self, running: AsyncExitStack
    ) -> None:
        ports = ports_of("abc")
        a, b, c = Wire("a", ports, plan=7), Wire("b", ports, plan=7), Wire("c", ports, plan=8)
        await start(running, a, b, c)
        for wire in (a, b, c):
            await wire.connected(*{*"abc"} - {wire.name})
        same = [
            (wire.name, peer)
            for wire in (a, b, c)
            for peer in "abc"
            if wire.links.has_same_plan(peer)
        ]
        assert same == [("a", "b"), ("b", "a")]

    async def test_a_peer_that_falls_silent_is_given_up(self, running: AsyncExitStack) -> None:
        ports = ports_of("ab")
        b = Wire("b", ports, idle_timeout_s=0.1)
        await start(running, b)
        stranger = await Stranger.dial(running, ports["b"])
        with capture_logs() as logs:
            stranger.writer.write(encode(FrameKind.HELLO, encode_hello("im", "a", "b", 1)))
            await b.until(lambda: ("down", "a") in b.events)
        assert [entry["peer"] for entry in logs if entry["event"] == "peer is silent"] == ["a"]


class TestStrangers:
    async def test_a_node_of_another_cluster_is_refused_while_the_true_one_connects(
        self, running: AsyncExitStack
    ) -> None:
        ports = ports_of("ab")
        b = Wire("b", ports)
        impostor = Wire("a", ports | ports_of("a"), cluster="other")
        with capture_logs() as logs:
            await start(running, b, impostor)
            async with asyncio.timeout(TIMEOUT_S):
                while not any(entry["event"] == "peer refuses this node" for entry in logs):
                    await asyncio.sleep(0.005)
            a = Wire("a", ports)
            await start(running, a)
            await a.connected("b")
            await b.connected("a")
        reason = "cluster 'other' is not 'im'"
        at_b = [entry for entry in logs if entry["event"] == "peer connection refused"]
        assert at_b and {entry["reason"] for entry in at_b} == {reason}
        told = [entry for entry in logs if entry["event"] == "peer refuses this node"]
        assert {(entry["peer"], entry["reason"]) for entry in told} == {("b", reason)}
        assert not impostor.links.connected("b")
        assert b.events == [("up", "a")]

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff" * 64,
            encode(FrameKind.HELLO, b"\xc1 no handshake"),
            encode(FrameKind.DATA, b"before the handshake"),
            encode(FrameKind.HELLO, b"x" * HELLO_BYTES_MAX),
            encode(FrameKind.HELLO, encode_hello("im", "b", "b", 1)),
            encode(FrameKind.HELLO, encode_hello("im", "z", "b", 1)),
        ],
        ids=["http", "ones", "no msgpack", "data first", "over-long", "itself", "unknown node"],
    )
    async def test_garbage_is_refused_with_a_reason_and_hurts_nobody(
        self, running: AsyncExitStack, data: bytes
    ) -> None:
        ports = ports_of("ab")
        a, b = Wire("a", ports), Wire("b", ports)
        await start(running, a, b)
        await a.connected("b")
        with capture_logs() as logs:
            stranger = await Stranger.dial(running, ports["b"])
            stranger.writer.write(data)
            ((kind, reason),) = await stranger.frames_until_closed()
        assert kind is FrameKind.REFUSE and reason
        assert [entry["reason"] for entry in logs] == [reason.decode()]
        assert a.links.send("b", b"still here")
        await b.until(lambda: b.received)
        assert b.received == [("a", b"still here")]

    async def test_garbage_after_the_handshake_ends_that_connection_only(
        self, running: AsyncExitStack
    ) -> None:
        ports = ports_of("abc")
        b, c = Wire("b", ports), Wire("c", ports)
        await start(running, b, c)
        await c.connected("b")
        stranger = await Stranger.dial(running, ports["c"])
        stranger.writer.write(encode(FrameKind.HELLO, encode_hello("im", "a", "c", 1)))
        await c.connected("a")
        stranger.writer.write(encode(FrameKind.HELLO, b"again"))
        await c.until(lambda: ("down", "a") in c.events)
        assert b.links.send("c", b"still here")
        await c.until(lambda: c.received)

    async def test_a_payload_the_core_refuses_ends_the_connection(
        self, running: AsyncExitStack
    ) -> None:
        a, b = await _pair(running)
        with capture_logs() as logs:
            assert a.links.send("b", POISON)
            await b.until(lambda: ("down", "a") in b.events)
        assert "no message of any version" in {entry.get("reason") for entry in logs}
        await b.connected("a")

    async def test_those_that_say_nothing_are_bounded(self, running: AsyncExitStack) -> None:
        ports = ports_of("ab")
        b = Wire("b", ports)
        await start(running, b)
        for _ in range(UNKNOWN_CONNECTIONS_MAX):
            await Stranger.dial(running, ports["b"])
        one_more = await Stranger.dial(running, ports["b"])
        assert await one_more.frames_until_closed() == []

    async def test_the_one_that_answers_must_be_the_one_that_was_dialled(
        self, running: AsyncExitStack
    ) -> None:
        ports = ports_of("abz")
        told: asyncio.Future[tuple[FrameKind, bytes]] = asyncio.Future()

        async def answer(caller: Stranger) -> None:
            kind, hello = await caller.first_frame()
            assert (kind, decode_hello(hello).to) == (FrameKind.HELLO, "b")
            caller.writer.write(encode(FrameKind.HELLO, encode_hello("im", "z", "a", 1)))
            reply = await caller.first_frame()
            if not told.done():
                told.set_result(reply)

        await Stranger.listen(running, ports["b"], answer)
        a = Wire("a", {name: ports[name] for name in "ab"})
        await start(running, a)
        async with asyncio.timeout(TIMEOUT_S):
            assert await told == (FrameKind.REFUSE, b"node 'z' is not one of ['b']")
        assert a.events == []


class TestBounds:
    async def test_a_peer_that_does_not_read_fills_its_buffer_and_no_more(
        self, running: AsyncExitStack
    ) -> None:
        ports = ports_of("ab")

        async def greet(caller: Stranger) -> None:
            caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
            caller.writer.write(encode(FrameKind.HELLO, encode_hello("im", "b", "a", 1)))

        await Stranger.listen(running, ports["b"], greet)
        bound = 1 << 20
        a = Wire("a", ports, buffer_bytes_max=bound)
        await start(running, a)
        await a.connected("b")
        piece = b"x" * (1 << 16)
        sent = 0
        while a.links.send("b", piece):
            sent += 1
            assert sent < 2_000, "the kernel cannot hold this much"
            await asyncio.sleep(0)
        assert bound - 2 * len(piece) < a.links.buffered_bytes("b") <= bound
        assert a.links.connected("b"), "refused, not cut off"

    async def test_what_is_delayed_counts(self, running: AsyncExitStack) -> None:
        a, _ = await _pair(running, delay_s=60.0, buffer_bytes_max=10_000)
        assert a.links.send("b", b"x" * 9_000)
        assert 9_000 < a.links.buffered_bytes("b") < 10_000
        assert not a.links.send("b", b"x" * 1_000)


async def test_an_injected_delay_keeps_the_order_and_is_about_what_was_asked(
    running: AsyncExitStack,
) -> None:
    delay_s = 0.05
    a, b = await _pair(running, delay_s=delay_s)
    sent_at = time.monotonic()
    for number in range(20):
        assert a.links.send("b", bytes((number,)))
    await b.until(lambda: len(b.received) == 20)
    took_s = time.monotonic() - sent_at
    assert [data for _, data in b.received] == [bytes((number,)) for number in range(20)]
    assert delay_s <= took_s < delay_s + 1.0
    await a.until(lambda: b.links.send("a", b"") and a.received)
    assert a.links.round_trip_s("b") >= delay_s


async def test_closed_links_leave_nothing_running() -> None:
    before = asyncio.all_tasks()
    async with AsyncExitStack() as running:
        await _pair(running)
    assert asyncio.all_tasks() == before
