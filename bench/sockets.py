"""What TCP connections of this machine have carried, as the kernel counts it.

Asked over netlink (`sock_diag(7)`), which needs no rights and no other program. A count is of one
end, from the connection's beginning: it is gone with the connection. So who compares two moments
must see the same connections in both (`Carried.since`).
"""

import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from globaltable.errors import GlobalTableError

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_DONE: Final = 3
_ERROR: Final = 2
_ESTABLISHED: Final = 1 << 1
_INFO: Final = 2
"""The attribute that holds a `tcp_info`; also the bit of it in a request."""
_HEADER: Final = struct.Struct("=IHHII")
_MESSAGE_BYTES: Final = 72
_ATTRIBUTE: Final = struct.Struct("=HH")
_PORTS: Final = struct.Struct("!HH")
_BYTES_ACKED_AT: Final = 120
_SEGMENTS_OUT_AT: Final = 136
_READ_BYTES: Final = 1 << 16

SEGMENT_HEADER_BYTES: Final = 66
"""Ethernet, IPv4, and TCP with its timestamps."""


class ConnectionsChanged(GlobalTableError):
    """A connection was lost or made between two moments: what it carried is not known."""


class Sent(NamedTuple):
    """By one end of a connection."""

    payload_bytes: int
    segments: int


@dataclass(frozen=True, slots=True)
class Carried:
    """By both ends of all connections looked at, from their beginning or between two moments."""

    by_ends: Mapping[tuple[int, int], Sent]
    """By local and remote port."""

    def since(self, before: "Carried") -> "Carried":
        """What was carried since. Raises `ConnectionsChanged`."""
        if self.by_ends.keys() != before.by_ends.keys():
            changed = sorted(self.by_ends.keys() ^ before.by_ends.keys())
            raise ConnectionsChanged(f"connections between these ports came or went: {changed}")
        return Carried(
            {
                ends: Sent(
                    sent.payload_bytes - before.by_ends[ends].payload_bytes,
                    sent.segments - before.by_ends[ends].segments,
                )
                for ends, sent in self.by_ends.items()
            }
        )

    @property
    def payload_bytes(self) -> int:
        return sum(sent.payload_bytes for sent in self.by_ends.values())

    @property
    def segments(self) -> int:
        return sum(sent.segments for sent in self.by_ends.values())

    @property
    def wire_bytes(self) -> int:
        """With the headers that a network of segments, not of loopback, would carry."""
        return self.payload_bytes + SEGMENT_HEADER_BYTES * self.segments


def carried(ports: Collection[int]) -> Carried:
    """By established IPv4 connections to these ports, in the network namespace of this process."""
    return Carried({ends: sent for ends, sent in _connections() if {*ends} & {*ports}})


def _connections() -> Iterator[tuple[tuple[int, int], Sent]]:
    body = struct.pack(
        "=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), _ESTABLISHED
    )
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
        asked.send(header + body)
        while True:
            for kind, message in _messages(asked.recv(_READ_BYTES)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    (number,) = struct.unpack_from("=i", message)
                    raise OSError(-number, "the kernel does not tell of its sockets")
                yield _ends(message), _sent(message)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _ends(message: bytes) -> tuple[int, int]:
    local, remote = _PORTS.unpack_from(message, 4)
    return local, remote


def _sent(message: bytes) -> Sent:
    attributes = message[_MESSAGE_BYTES:]
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _INFO:
            info = attributes[_ATTRIBUTE.size : length]
            (payload_bytes,) = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)
            (segments,) = struct.unpack_from("=I", info, _SEGMENTS_OUT_AT)
            return Sent(payload_bytes, segments)
        attributes = attributes[(length + 3) & ~3 :]
    raise OSError("the kernel tells nothing of a socket; it must be Linux 4.2 or later")
