"""The console's connections over real sockets: bounded in number, in time, and in what they say."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from globaltable.errors import StorageError
from globaltable.server.config import Address
from globaltable.server.console import connections, stream
from globaltable.server.console.calls import Shown
from globaltable.server.console.connections import (
    CONNECTIONS_MAX,
    HEAD_BYTES_MAX,
    SHOWN,
    Connections,
)
from globaltable.server.console.stream import Streams
from globaltable.testing.cluster import free_ports

Application = Callable[[Any, Any, Any], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    shown: Shown = scope["state"][SHOWN]
    headers = [(b"content-length", str(len(shown.address)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": shown.address.encode()})


@asynccontextmanager
async def serving(application: Application = _hello) -> AsyncIterator[Address]:
    address = Address("127.0.0.1", free_ports(1)[0])
    one = Connections(address, application, None)
    await one.start()
    try:
        yield address
    finally:
        await one.close()


@asynccontextmanager
async def connected(
    address: Address, said: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=2**20)
    try:
        writer.write(said)
        yield reader, writer
    finally:
        writer.close()


async def _ended(reader: asyncio.StreamReader, timeout_s: float = 5.0) -> bytes:
    """What was said until the connection's end."""
    said = b""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                part = await reader.read(65_536)
            except ConnectionResetError:
                return said
            if not part:
                return said
            said += part


async def test_a_request_is_answered_and_knows_where_it_came_from() -> None:
    async with serving() as address, connected(address, GET) as (reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"server:" not in head.lower(), "what serves it is nobody's business"
        host, port = writer.get_extra_info("sockname")
        place = f"ipv4:{host}:{port}"
        assert (await reader.readexactly(len(place))).decode() == place, "as gRPC has it"


@pytest.mark.parametrize("said", [b"", b"GET / HT", GET + b"GET / HT"], ids=repr)
async def test_who_says_nothing_or_half_a_request_is_let_go(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.2)
    async with serving() as address, connected(address, said) as (reader, _):
        await _ended(reader)


async def test_who_trickles_is_let_go_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.3)
    async with serving() as address, connected(address, GET[:-4]) as (reader, writer):
        ending = asyncio.create_task(_ended(reader))
        async with asyncio.timeout(5.0):
            while not ending.done():
                writer.write(b"\r\nx: y")
                await asyncio.sleep(0.05)


async def test_more_than_there_may_be_are_closed_unanswered() -> None:
    async with serving() as address:
        idle = [
            socket.create_connection((address.host, address.port)) for _ in range(CONNECTIONS_MAX)
        ]
        try:
            await asyncio.sleep(0.1)
            async with connected(address, GET) as (reader, _):
                assert await _ended(reader) == b""
            idle.pop().close()
            await asyncio.sleep(0.1)
            async with connected(address, GET) as (reader, _):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        finally:
            for one in idle:
                one.close()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * (2 * HEAD_BYTES_MAX),
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
    ids=["too long a head", "TLS in the clear", "no Host", "two Hosts"],
)
async def test_what_is_no_request_is_answered_so_and_ends(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.5)
    async with serving() as address, connected(address, said) as (reader, _):
        assert (await _ended(reader)).startswith(b"HTTP/1.1 4") or said[0] == 0x16


async def test_an_address_in_use_is_refused_by_name() -> None:
    async with serving() as address:
        with pytest.raises(StorageError, match=f"console address {address} cannot be listened on"):
            await Connections(address, _hello, None).start()


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


class _Flood:
    """A desk whose every look is large, and at once."""

    def course(self) -> dict[str, Any]:
        return {}

    async def view(self, shown: Shown, after: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"look": after + 1, "filling": "x" * 60_000}


async def test_a_stream_that_is_not_read_is_dropped_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it was sent by then is bounded by its buffers."""
    monkeypatch.setattr(stream, "SLOW_S", 0.3)
    desk: Any = _Flood()
    streams = Streams(desk)

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await streams.serve(scope, receive, send, "", "")

    async with serving(streaming) as address:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.connect((address.host, address.port))
            slow.sendall(GET)
            async with asyncio.timeout(10.0):
                await _until(lambda: streams._count == 1)
                await _until(lambda: streams._count == 0)
        async with connected(address, GET) as (reader, _):
            await reader.readuntil(b"event: view\n")
            await _until(lambda: streams._count == 1)
        async with asyncio.timeout(5.0):
            await _until(lambda: streams._count == 0)


async def test_streams_end_in_good_order_with_the_node() -> None:
    desk: Any = _Flood()
    streams = Streams(desk)

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await streams.serve(scope, receive, send, "", "")

    async with serving(streaming) as address, connected(address, GET) as (reader, _):
        await reader.readuntil(b"event: view\n")
        streams.close()
        async with asyncio.timeout(5.0):
            await reader.readuntil(b"\r\n0\r\n\r\n")
