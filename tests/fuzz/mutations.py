"""Inputs made from valid encodings: bytes changed, lengths inflated, values replaced.

Invariant: what a `Mutator` makes depends on its seeds and its random generator alone.
"""

import enum
import random
from collections.abc import Callable, Sequence
from typing import Final

from tests.fuzz import hostile_msgpack, hostile_protobuf

INPUT_BYTES_MAX: Final = 65_536
_LENGTHS: Final = (0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_STACKED_MAX: Final = 4
_AS_IT_IS_ONE_IN: Final = 50
_TEXT_PIECES: Final = (
    b"[" * 3_000, b"{" * 3_000, b"9" * 5_000, b"0x" + b"f" * 5_000, b"1e400", b"nan", b"-inf",
    b"\xff\xfe", b"\x00", b"\n", b'"', b'"""', b"'", b"\\u0000", b"\\uD800", b"= ", b"[[a]]\n",
    b"1979-05-27T07:32:00Z", b"true", b"[]", b"{}", b"-1", b"0", b"1_000", "٣".encode(), b".",
    b"/", b"..", b"\\n", b"\\\\", b'\\"', b"\x7f",
)  # fmt: skip


class Grammar(enum.Enum):
    """What the bytes are, besides bytes."""

    PLAIN = "no structure but lengths"
    MSGPACK = "MessagePack"
    PROTOBUF = "protobuf"
    TEXT = "text"


class Mutator:
    """Makes one input after the other from valid ones."""

    def __init__(self, seeds: Sequence[bytes], grammar: Grammar, chance: random.Random) -> None:
        assert seeds
        self._seeds = seeds
        self._chance = chance
        changes: list[Callable[[bytes], bytes]] = [
            self._flip_bits, self._truncate, self._splice, self._inflate, self._repeat,
            self._overwrite, self._extend,
        ]  # fmt: skip
        own: Callable[[bytes], bytes] | None = {
            Grammar.MSGPACK: self._change_msgpack,
            Grammar.PROTOBUF: self._change_protobuf,
            Grammar.TEXT: self._change_text,
        }.get(grammar)
        # What knows the grammar gets past the first checks, so it is as likely as all the others.
        self._changes = changes + [own] * len(changes) if own is not None else changes

    def next(self) -> bytes:
        chance = self._chance
        data = chance.choice(self._seeds)
        if chance.randrange(_AS_IT_IS_ONE_IN) == 0:
            return data
        for _ in range(1 + min(int(chance.expovariate(1.2)), _STACKED_MAX - 1)):
            change = chance.choice(self._changes)
            data = change(data)[:INPUT_BYTES_MAX]
        return data

    # --- changes ---------------------------------------------------------------------------------

    def _place(self, data: bytes) -> int:
        return self._chance.randrange(len(data) + 1)

    def _flip_bits(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._chance.choice((1, 1, 1, 2, 4, 16)) if data else 0):
            changed[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _splice(self, data: bytes) -> bytes:
        other = self._chance.choice(self._seeds)
        return data[: self._place(data)] + other[self._place(other) :]

    def _inflate(self, data: bytes) -> bytes:
        """Write a length where one may stand: absurd, or a little beyond what is there."""
        length = self._chance.choice((*_LENGTHS, len(data), len(data) - 1, len(data) + 1))
        size = self._chance.choice((1, 2, 4))
        written = (max(0, length) & ((1 << 8 * size) - 1)).to_bytes(size, "big")
        at = self._place(data)
        return data[:at] + written + data[at + size :]

    def _repeat(self, data: bytes) -> bytes:
        start, end = sorted((self._place(data), self._place(data)))
        times = self._chance.choice((1, 2, 8, 200))
        return data[:end] + data[start:end][:256] * times + data[end:]

    def _overwrite(self, data: bytes) -> bytes:
        at, size = self._place(data), self._chance.choice((1, 1, 4, 16))
        return data[:at] + self._chance.randbytes(size) + data[at + size :]

    def _extend(self, data: bytes) -> bytes:
        return data + self._chance.randbytes(self._chance.choice((1, 2, 9, 300)))

    def _change_msgpack(self, data: bytes) -> bytes:
        return hostile_msgpack.change(data, self._chance)

    def _change_protobuf(self, data: bytes) -> bytes:
        return hostile_protobuf.change(data, self._chance)

    def _change_text(self, data: bytes) -> bytes:
        start = self._place(data)
        end = min(len(data), start + self._chance.choice((0, 0, 1, 2, 5, 20)))
        if self._chance.randrange(2):
            # The value of a setting, whole.
            equals = data.find(b"= ", start)
            if equals >= 0:
                start = equals + 2
                end = data.find(b"\n", start) if b"\n" in data[start:] else len(data)
        return data[:start] + self._chance.choice(_TEXT_PIECES) + data[end:]
