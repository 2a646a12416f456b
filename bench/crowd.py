"""Thousands of clients that do nothing: idle connections, and watchers that never read on.

Responsible for such clients as bare HTTP/2 connections, so that thousands fit into one process.
One that watches is an idle client and a slow reader at once: what is sent to it fills its window,
then waits in the node, which must bound it.

Invariant: connections are closed on exit.
"""

import contextlib
import resource
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from globaltable.server.config import Address
from globaltable.v1 import globaltable_pb2 as pb

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_HEAD_BYTES: Final = 9
_KIND_AT: Final = 3
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_RECEIVE_BYTES: Final = 4_096
_ANSWER_TIMEOUT_S: Final = 20.0
_FILES_SPARE: Final = 256


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _header(name: bytes, value: bytes) -> bytes:
    """Literal, not indexed, not compressed (RFC 7541 §6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def watch_request(authority: str, table: str, prefix: str) -> bytes:
    """All that a client sends to watch a prefix."""
    headers = b"".join(
        _header(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/globaltable.v1.GlobalTableService/Watch"),
            (b":authority", authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    message = pb.WatchRequest(table=table, prefix=prefix).SerializeToString()
    body = b"\0" + struct.pack(">I", len(message)) + message
    return b"".join(
        (
            _PREFACE,
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_SETTINGS, _ACK, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, headers),
            _frame(_DATA, _END_STREAM, 1, body),
        )
    )


def room_for(wanted: int) -> int:
    """How many connections this process may have, having raised its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + _FILES_SPARE:
        soft = hard if hard < wanted + _FILES_SPARE else wanted + _FILES_SPARE
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - _FILES_SPARE)


def _wait_served(client: socket.socket) -> None:
    """Read until the first message of the watch has begun to come."""
    received = b""
    while True:
        rest = received
        while len(rest) >= _HEAD_BYTES:
            if rest[_KIND_AT] == _DATA:
                return
            rest = rest[_HEAD_BYTES + int.from_bytes(rest[:_KIND_AT], "big") :]
        more = client.recv(_RECEIVE_BYTES)
        if not more:
            raise ConnectionError("a watch was not served")
        received += more


def _greet(client: socket.socket) -> None:
    """Say no more than that this is HTTP/2, and hear as much."""
    client.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
    if not client.recv(_RECEIVE_BYTES):
        raise ConnectionError("a connection was not served")
    client.sendall(_frame(_SETTINGS, _ACK, 0, b""))


@contextlib.contextmanager
def connections(addresses: Sequence[str], count: int) -> Iterator[list[socket.socket]]:
    """So many clients, of these nodes in turn, that ask for nothing."""
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(room_for(count)):
            address = Address.parse(addresses[number % len(addresses)], "address")
            client = stack.enter_context(socket.socket())
            client.settimeout(_ANSWER_TIMEOUT_S)
            client.connect((address.host, address.port))
            _greet(client)
            clients.append(client)
        yield clients


@contextlib.contextmanager
def crowd(addresses: list[str], count: int, table: str) -> Iterator[list[socket.socket]]:
    """So many clients, of these nodes in turn, each watching the table.

    They read until the watch has begun, and then nothing any more.
    """
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(room_for(count)):
            address = Address.parse(addresses[number % len(addresses)], "address")
            client = stack.enter_context(socket.socket())
            # Little room in the kernel, so that the node soon notices that nobody reads.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            client.settimeout(_ANSWER_TIMEOUT_S)
            client.connect((address.host, address.port))
            client.sendall(watch_request(str(address), table, ""))
            clients.append(client)
        for client in clients:
            _wait_served(client)
        yield clients
