"""Frames on a stream between two nodes: a length, a kind, a body.

Invariant: no more than one frame's bound is ever held, and a length beyond the bound is refused
before anything of its size is allocated.
"""

import enum
from collections.abc import Iterator
from typing import Final

from globaltable.errors import ProtocolError

_LENGTH_BYTES: Final = 4


class FrameKind(enum.IntEnum):
    """The first byte of a frame's body. Part of the wire's format."""

    HELLO = 1
    REFUSE = 2
    PING = 3
    PONG = 4
    DATA = 5
    TOPOLOGY = 6


_KINDS: Final = {int(kind): kind for kind in FrameKind}


def encode(kind: FrameKind, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(_LENGTH_BYTES, "big") + bytes((kind,)) + body


class FrameParser:
    """Bytes in, in any pieces; frames out, in order."""

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """The frames completed by `data`. Raises `ProtocolError` where they stop being frames."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH_BYTES:
                size = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
                if not 1 <= size <= self.frame_bytes_max:
                    raise ProtocolError(
                        f"a frame of {size} bytes; between 1 and {self.frame_bytes_max} are allowed"
                    )
                end = start + _LENGTH_BYTES + size
                if len(buffer) < end:
                    break
                kind = _KINDS.get(buffer[start + _LENGTH_BYTES])
                if kind is None:
                    raise ProtocolError(f"frame kind {buffer[start + _LENGTH_BYTES]} is not known")
                body = bytes(memoryview(buffer)[start + _LENGTH_BYTES + 1 : end])
                start = end
                yield kind, body
        finally:
            del buffer[:start]
