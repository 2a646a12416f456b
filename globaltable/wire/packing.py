"""MessagePack, with one place that decides what is acceptable.

Invariant: unpacking untrusted bytes either gives a value of plain types (None, bool, int, float,
str, bytes, list) or raises `ProtocolError`; it never allocates more than a small multiple of the
input's size, because declared lengths are checked against it.
"""

from typing import Any

import msgpack

from globaltable.errors import ProtocolError


def pack(value: Any) -> bytes:
    """Encode plain values. Tuples become arrays."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Decode one value that fills `data` exactly. Maps and extension types are refused."""
    size = len(data)
    try:
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
