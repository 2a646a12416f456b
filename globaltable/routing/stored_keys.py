"""The key records of an audience as the content of a file, so that a unit can check headers before
it has reached GlobalTable. Nothing in it is secret; who may write it may sign (Ed25519)."""

from collections.abc import Iterable
from typing import Final

from globaltable.errors import Corrupt
from globaltable.routing import envelope
from globaltable.routing.keyring import (
    KEYS_MAX,
    KeyRecord,
    decode_record,
    encode_record,
    record_name,
)

MAGIC: Final = b"GTkr"
FORMAT_VERSION: Final = 1
FILE_BYTES_MAX: Final = KEYS_MAX * 512


def encode_keys(audience: str, records: Iterable[KeyRecord]) -> bytes:
    """The content of a file of these records."""
    rows = [(record_name(audience, record.key_id), encode_record(record)) for record in records]
    return envelope.wrap(MAGIC, FORMAT_VERSION, rows)


def decode_keys(audience: str, content: bytes) -> list[KeyRecord]:
    """The records of a file. Raises `Corrupt`, also if they are another audience's."""
    if len(content) > FILE_BYTES_MAX:
        raise Corrupt(f"{len(content)} bytes, of {FILE_BYTES_MAX} at most")
    rows = envelope.unwrap(MAGIC, FORMAT_VERSION, content)
    if not isinstance(rows, list) or len(rows) > KEYS_MAX:
        raise Corrupt("it holds no list of key records")
    return [_record(audience, row) for row in rows]


def _record(audience: str, row: object) -> KeyRecord:
    match row:
        case [str(name), str(unit)]:
            return decode_record(audience, name, unit)
    raise Corrupt("it holds something that is no key record")
