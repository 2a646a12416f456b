"""Protobuf that is well-formed and wrong: fields repeated, lost, reordered, of other wire types.

Knows of a message only what its bytes tell: a list of fields, some of which may be messages.
"""

import random
from typing import Final, NamedTuple

_VARINTS: Final = (0, 1, 2, 127, 128, 65_536, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS: Final = (
    b"", b"\x00", b"k", b"im.session", b"\xff\xfe", b"\xed\xa0\x80", b"\x00\x00k", b"\xff\xff",
    b"x" * 65, b"x" * 257, b"x" * 3_000, b"\x00\x05" + b"k" * 600, "\u00e9".encode() * 128,
)  # fmt: skip
_MANY: Final = (2, 10, 3_000, 20_000)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field as it stands in the bytes."""

    number: int
    wire: int
    value: bytes


def change(data: bytes, chance: random.Random) -> bytes:
    """`data` with one field changed; only that field if it is no message."""
    fields = _parse(data)
    if not fields:
        return data + _hostile(chance)
    at = chance.randrange(len(fields))
    field = fields[at]
    match chance.randrange(9):
        case 0:
            del fields[at]
        case 1:
            fields[at:at] = [field] * chance.choice(_MANY[:2])
        case 2:
            chance.shuffle(fields)
        case 3:
            fields[at] = field._replace(number=chance.choice((1, 2, 3, 4, 5, 6, 19, 536_870_911)))
        case 4:
            return _join(fields) + _hostile(chance)
        case _:
            fields[at] = _changed(field, chance)
    return _join(fields)


def _changed(field: Field, chance: random.Random) -> Field:
    if field.wire == _VARINT:
        return field._replace(value=_varint(chance.choice(_VARINTS)))
    if field.wire != _BYTES:
        return field._replace(value=chance.randbytes(len(field.value)))
    if field.value and chance.randrange(3):
        return field._replace(value=change(field.value, chance))
    return field._replace(value=chance.choice(_TEXTS))


def _hostile(chance: random.Random) -> bytes:
    number = chance.choice((1, 2, 3, 4, 5, 7))
    match chance.randrange(6):
        case 0:  # a length that is not there
            return _varint(number << 3 | _BYTES) + _varint(chance.choice(_VARINTS))
        case 1:  # a group that does not end
            return _varint(number << 3 | 3) * chance.choice((1, 150))
        case 2:  # messages in messages
            inner = b""
            for _ in range(chance.choice((3, 90, 150))):
                inner = _varint(number << 3 | _BYTES) + _varint(len(inner)) + inner
            return inner
        case 3:  # a varint that goes on
            return _varint(number << 3) + b"\xff" * 11
        case 4:  # very many elements
            return (_varint(number << 3 | _BYTES) + b"\x00") * chance.choice(_MANY)
        case _:
            return _join([Field(number, _BYTES, chance.choice(_TEXTS))])


def _parse(data: bytes) -> list[Field]:
    """The fields, as far as they go."""
    fields: list[Field] = []
    at = 0
    while at < len(data):
        key, start = _read_varint(data, at)
        if key & 7 == _VARINT:
            _, end = _read_varint(data, start)
            value = data[start:end]
        elif key & 7 == _BYTES:
            size, start = _read_varint(data, start)
            end = start + size
            value = data[start:end]
        else:
            end = start + {_FIXED64: 8, _FIXED32: 4}.get(key & 7, len(data))
            value = data[start:end]
        if end > len(data):
            break
        fields.append(Field(key >> 3, key & 7, value))
        at = end
    return fields


def _join(fields: list[Field]) -> bytes:
    parts: list[bytes] = []
    for number, wire, value in fields:
        parts.append(_varint(number << 3 | wire))
        if wire == _BYTES:
            parts.append(_varint(len(value)))
        parts.append(value)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The value, and where it ends: beyond the end of `data` if it does not."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    return value, len(data) + 1
