"""What a backup file is made of: a magic line, then records, each with its length and checksum.

::

    file    = MAGIC header group* trailer
    group   = begin rows* end
    record  = kind (1 byte)  length (4 bytes)  CRC-32 of kind, length and payload (4)  payload

The payload is MessagePack. The trailer holds the SHA-256 digest of all that stands before it, and
is the last thing in the file: one that was cut short, anywhere, has none.

The header begins with the version of all this, whatever else a later one may hold.

Invariant: what these decoders return is well-typed and within its bounds, or they raise `Corrupt`.
"""

import enum
import zlib
from typing import Any, Final, NamedTuple

from globaltable.errors import Corrupt, ProtocolError
from globaltable.wire.packing import pack, shown, unpack

MAGIC: Final = b"globaltable backup\n"
FORMAT_VERSION: Final = 1
HEAD_BYTES: Final = 9
PAYLOAD_BYTES_MAX: Final = 8_388_608
"""Above a chunk of rows as large as a node may be configured to read at a time."""
DIGEST_BYTES: Final = 32
_KIND_BYTES: Final = 1
_LENGTH_BYTES: Final = 4
_NUMBER_MAX: Final = 2**63 - 1


class NewerBackup(Corrupt):
    """It is of a later release, and may well be whole."""


class Kind(enum.IntEnum):
    """The numbers are those of the file."""

    HEADER = 1
    BEGIN = 2
    ROWS = 3
    END = 4
    TRAILER = 5


class Origin(enum.StrEnum):
    """How the rows were come by."""

    ONLINE = "online"
    """From a cluster that served: all that was acknowledged before the backup's begin."""
    SALVAGE = "salvage"
    """From what was left of a cluster that lost its majority: something may be missing."""


class Header(NamedTuple):
    """Of which cluster the backup is, and what it promises to hold."""

    format_version: int
    origin: str
    cluster: str
    cluster_id: str
    """Empty for a cluster that has none but its name."""
    successor_id: str
    """Of a salvage: the id that the cluster must have which it is restored to. Else empty."""
    tables: tuple[str, ...]
    slots: int
    groups: int
    begun_at_ms: int
    """Unix time by the clock of who took it."""
    made_by: str
    """The version of the software."""


class Begin(NamedTuple):
    """The rows of a group follow, as they were at `revision`."""

    group: int
    revision: int
    term: int
    node: str


class End(NamedTuple):
    """How much of the group was written before."""

    group: int
    rows: int
    bindings: int


class Trailer(NamedTuple):
    groups: int
    rows: int
    digest: bytes


Rows = list[tuple[bytes, bytes]]
"""Row keys and rows, as a table stores them (`globaltable.wire.rows`)."""


def encode(kind: Kind, payload: bytes) -> bytes:
    """A record."""
    assert len(payload) <= PAYLOAD_BYTES_MAX, len(payload)
    head = bytes((kind,)) + len(payload).to_bytes(_LENGTH_BYTES, "big")
    return head + _crc(head, payload) + payload


def _crc(head: bytes, payload: bytes) -> bytes:
    return zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "big")


def decode_head(head: bytes) -> tuple[Kind, int]:
    """The kind of a record, and the length of its payload."""
    number, length = head[0], int.from_bytes(head[_KIND_BYTES : _KIND_BYTES + _LENGTH_BYTES], "big")
    try:
        kind = Kind(number)
    except ValueError as error:
        raise Corrupt(f"kind {number} of a record is not known") from error
    if length > PAYLOAD_BYTES_MAX:
        raise Corrupt(f"a record of {length} bytes is over the bound")
    return kind, length


def check_payload(head: bytes, payload: bytes) -> None:
    """Raise `Corrupt` unless the payload is what the head was written for."""
    size = _KIND_BYTES + _LENGTH_BYTES
    if _crc(head[:size], payload) != head[size:]:
        raise Corrupt("a record fails its checksum")


def encode_header(header: Header) -> bytes:
    return pack(header)


def _require_format(payload: bytes) -> None:
    """The first field, and all that is for certain of what a later release has written."""
    match _unpacked(payload, "header"):
        case [int(version), *_] if version > FORMAT_VERSION:
            raise NewerBackup(
                f"the backup is in format {version}, and this release reads format "
                f"{FORMAT_VERSION}: use the release that wrote it, or a later one"
            )


def decode_header(payload: bytes) -> Header:
    _require_format(payload)
    fields = _fields(payload, "header", (int, str, str, str, str, list, int, int, int, str))
    if fields[0] != FORMAT_VERSION:
        raise Corrupt(f"there is no format {fields[0]} of a backup")
    tables = fields[5]
    if not all(type(table) is str for table in tables):
        raise Corrupt(f"not names of tables: {shown(tables)}")
    fields[5] = tuple(tables)
    header = Header(*fields)
    if header.origin not in {*Origin} or not 1 <= header.groups <= header.slots <= 65_536:
        raise Corrupt(f"not the header of a backup: {shown(fields)}")
    return header


def decode_begin(payload: bytes) -> Begin:
    return Begin(*_fields(payload, "begin of a group", (int, int, int, str)))


def decode_end(payload: bytes) -> End:
    return End(*_fields(payload, "end of a group", (int, int, int)))


def decode_trailer(payload: bytes) -> Trailer:
    return Trailer(*_fields(payload, "trailer", (int, int, bytes)))


def decode_rows(payload: bytes) -> Rows:
    """Pairs of bytes; what they must be besides is for `contents` to say."""
    try:
        pairs = unpack(payload)
        rows = [(key, row) for key, row in pairs]
    except (ProtocolError, TypeError, ValueError) as error:
        raise Corrupt(f"not rows: {error}") from error
    if not all(type(key) is type(row) is bytes for key, row in rows):
        raise Corrupt("a row is a key and a value, both of bytes")
    return rows


def _fields(payload: bytes, what: str, types: tuple[type, ...]) -> list[Any]:
    fields = _unpacked(payload, what)
    if type(fields) is not list or tuple(map(type, fields)) != types:
        raise Corrupt(f"not the {what}: {shown(fields)}")
    for value in fields:
        if type(value) is int and not 0 <= value <= _NUMBER_MAX:
            raise Corrupt(f"a number of the {what} is out of range: {shown(fields)}")
    return fields


def _unpacked(payload: bytes, what: str) -> Any:
    try:
        return unpack(payload)
    except ProtocolError as error:
        raise Corrupt(f"the {what} does not decode: {error}") from error
