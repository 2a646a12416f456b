"""MessagePack that is well-formed and wrong: one value of it is replaced by a hostile one.

Encodes by itself, because the library's packer refuses to write what must be tried: lengths that
are not there, extension types, strings that are not UTF-8.
"""

import random
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack

_INTS: Final = (
    0, 1, -1, 2, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63,
    2**64 - 1, -(2**31), -(2**63),
)  # fmt: skip
_NAN: Final = b"\xcb" + struct.pack(">d", float("nan"))
_DEEP: Final = (3, 500, 1_000, 1_000, 1_015, 1_100)


class Raw(NamedTuple):
    """Bytes to be written as they are."""

    data: bytes


def _length(chance: random.Random) -> int:
    return chance.choice(
        (0, 1, 2, 16, 300, 1_000, 5_000, 7_000, 10_000, 60_000, 2**16, 2**31 - 1, 2**32 - 1)
    )


def _declared(tag: int, length: int, content: bytes = b"") -> Raw:
    return Raw(bytes((tag,)) + length.to_bytes(4, "big") + content)


def _nested(chance: random.Random) -> Raw:
    """Arrays in arrays, each of which says that it is long."""
    depth = chance.choice(_DEEP)
    head = chance.choice((b"\x91", b"\xdd" + _length(chance).to_bytes(4, "big")))
    return Raw(head * depth + b"\xc0" * chance.choice((1, 1, 5_000)))


_HOSTILE: Final[tuple[Callable[[random.Random], Any], ...]] = (
    lambda chance: chance.choice(_INTS),
    lambda chance: chance.choice(_INTS),
    lambda chance: chance.choice((None, True, False, "", b"", [], [[]], {}, {1: 2}, "a" * 70)),
    lambda chance: chance.choice((0.0, 1.0, -1.5, 1e308, float("inf"), Raw(_NAN))),
    lambda chance: chance.choice(("x\0y", "\x00", "\u00e9" * 64, "a" * 300, b"t\0\xff", b"t\0k")),
    lambda chance: Raw(b"\xa4\xff\xfe\xc3("),
    lambda chance: Raw(b"\xd9\x03\xed\xa0\x80"),
    lambda chance: _declared(0xDD, _length(chance)),
    lambda chance: _declared(0xDF, _length(chance)),
    lambda chance: _declared(0xC6, _length(chance), b"x" * chance.choice((0, 20))),
    lambda chance: _declared(0xDB, _length(chance), b"x" * chance.choice((0, 20))),
    lambda chance: _declared(0xC9, _length(chance), b"\x05"),
    lambda chance: Raw(b"\xd4\x01x"),
    lambda chance: Raw(b"\xd7\xff" + bytes(8)),
    lambda chance: Raw(b"\xc1"),
    lambda chance: [chance.choice(_INTS)] * chance.choice((1, 2, 3, 5, 8, 5_000)),
    lambda chance: chance.randbytes(chance.choice((1, 8, 16, 300))),
    _nested,
)


def change(data: bytes, chance: random.Random) -> bytes:
    """`data` with one value replaced, removed, or moved; something hostile if it is no value."""
    try:
        return encode(_changed(msgpack.unpackb(data, raw=False, strict_map_key=False), chance))
    except Exception:
        # No MessagePack, or hostile already: nested too deeply for this.
        return encode(chance.choice(_HOSTILE)(chance))


def _changed(value: Any, chance: random.Random) -> Any:
    if not isinstance(value, list) or not value or chance.randrange(6) == 0:
        if isinstance(value, int) and not isinstance(value, bool) and chance.randrange(2):
            return max(-(2**63), min(2**64 - 1, value + chance.choice((-2, -1, 1, 2, 1_000))))
        if isinstance(value, bytes) and chance.randrange(2):
            # Encodings stand in encodings: entries, proposals, chunks, history.
            skip = chance.choice((0, 0, 1, 4))
            return value[:skip] + change(value[skip:], chance)
        return chance.choice(_HOSTILE)(chance)
    changed = list(value)
    at = chance.randrange(len(changed))
    match chance.randrange(12):
        case 0:
            del changed[at]
        case 1:
            changed.insert(at, chance.choice(changed))
        case 2:
            other = chance.randrange(len(changed))
            changed[at], changed[other] = changed[other], changed[at]
        case _:
            changed[at] = _changed(changed[at], chance)
    return changed


def encode(value: Any) -> bytes:
    """Like the library, but for `Raw`."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, list):
        return b"\xdc" + (len(value) & 65_535).to_bytes(2, "big") + b"".join(map(encode, value))
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed
