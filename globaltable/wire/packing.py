"""MessagePack, with one place that decides what is acceptable.

Invariant: unpacking untrusted bytes either gives a value of plain types (None, bool, int, float,
str, bytes, list) or raises `ProtocolError`; it never allocates more than a small multiple of the
input's size, because nothing is built for a length that is declared but not there.
"""

import reprlib
from typing import Any, Final

import msgpack

from globaltable.errors import ProtocolError

_TRUSTED_BYTES: Final = 1_024
"""In so few bytes lengths can be declared for 2 MB of arrays at most."""

shown: Final = reprlib.repr
"""A decoded value for an error's message: short, however large or deeply nested it is."""


_idle: Final[list[msgpack.Packer]] = []
"""Packers that nobody uses, for to make one costs more than a call. Each is used by one call at a
time: what is packed may be a tuple of a class of its own, to walk it takes an iterator, and to make
one may start the cyclic collector, which runs finalizers in the midst of the call. They are Python,
so they may pack something themselves, or let another thread do so."""


def pack(value: Any) -> bytes:
    """Encode plain values. Tuples become arrays."""
    try:
        packer = _idle.pop()
    except IndexError:
        packer = msgpack.Packer(use_bin_type=True)
    packed: bytes = packer.pack(value)
    _idle.append(packer)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Decode one value that fills `data` exactly. Maps and extension types are refused."""
    size = len(data)
    try:
        if size > _TRUSTED_BYTES:
            # Arrays in arrays may each declare a length as large as the input, and room is made
            # for it before its elements are looked for. So they are counted before.
            counting = msgpack.Unpacker(max_buffer_size=size)
            counting.feed(data)
            counting.skip()
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=True,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=size,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"{size} bytes are not acceptable MessagePack: {error}") from error
