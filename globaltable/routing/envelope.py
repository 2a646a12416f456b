"""Values that are kept in a file: MessagePack behind a magic, a version, a length and a checksum.

Responsible for telling a whole file of a known format from everything else, before anything in it
is decoded. `routing/client/kept_file.py` reads and writes them.
"""

import hashlib
import struct
from typing import Any, Final

import msgpack

from globaltable.errors import Corrupt

_HEAD: Final = struct.Struct(">4sHI16s")
MAGIC_BYTES: Final = 4


def wrap(magic: bytes, version: int, value: Any) -> bytes:
    """The content of a file that holds `value`."""
    return seal(magic, version, msgpack.packb(value, use_bin_type=True))


def seal(magic: bytes, version: int, payload: bytes) -> bytes:
    """The content of a file of what is encoded already."""
    assert len(magic) == MAGIC_BYTES, magic
    return _HEAD.pack(magic, version, len(payload), _checksum(magic, version, payload)) + payload


def unwrap(magic: bytes, version: int, content: bytes) -> Any:
    """The value in a file. Raises `Corrupt` if it is damaged, or of another kind or version.

    The caller bounds the size of `content`. It holds None, numbers, strings, bytes and lists, in
    any shape: the caller looks at that, too.
    """
    if len(content) < _HEAD.size:
        raise Corrupt(f"{len(content)} bytes, of {_HEAD.size} at least")
    found_magic, found_version, size, checksum = _HEAD.unpack_from(content)
    if found_magic != magic:
        raise Corrupt(f"it begins with {found_magic!r}, not with {magic!r}")
    if found_version != version:
        raise Corrupt(f"format {found_version}, where {version} is known")
    payload = content[_HEAD.size :]
    if len(payload) != size or _checksum(magic, version, payload) != checksum:
        raise Corrupt("its checksum is wrong: it was cut or changed")
    try:
        # Lists in lists may each declare as many elements as there are bytes, and room is made for
        # them before they are looked for. So they are counted before.
        counting = msgpack.Unpacker(max_buffer_size=size)
        counting.feed(payload)
        counting.skip()
        return msgpack.unpackb(payload, raw=False, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise Corrupt(f"it does not decode: {error}") from error


def _checksum(magic: bytes, version: int, payload: bytes) -> bytes:
    digest = hashlib.blake2b(magic + version.to_bytes(2, "big"), digest_size=16)
    digest.update(payload)
    return digest.digest()
