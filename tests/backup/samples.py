"""Backups made of rows that a test names."""

import io
from collections.abc import Iterable, Mapping

from globaltable.backup.reading import BackupReader
from globaltable.backup.records import FORMAT_VERSION, Begin, Header, Origin
from globaltable.backup.writing import BackupWriter
from globaltable.model import qualified_name
from globaltable.row_keys import row_key
from globaltable.topology import group_of_slot, slot_of
from globaltable.wire.packing import pack
from globaltable.wire.rows import Row, encode_row

GROUPS, SLOTS = 2, 16
REVISION = 1_000
HEADER = Header(
    format_version=FORMAT_VERSION,
    origin=Origin.ONLINE,
    cluster="sample",
    cluster_id="",
    successor_id="",
    tables=("t", "u"),
    slots=SLOTS,
    groups=GROUPS,
    begun_at_ms=1_700_000_000_000,
    made_by="0",
)


def named(rows: Mapping[tuple[str, str], Row]) -> dict[bytes, Row]:
    return {qualified_name(table, key): row for (table, key), row in rows.items()}


def stored(rows: Mapping[bytes, Row], group: int) -> list[tuple[bytes, bytes]]:
    """A group's, as its table would give them."""
    own = (name for name in rows if group_of_slot(slot_of(name, SLOTS), GROUPS) == group)
    return sorted((row_key(name, SLOTS), encode_row(rows[name])) for name in own)


def written(rows: Mapping[bytes, Row], at_a_time: int = 3) -> bytes:
    file = io.BytesIO()
    writer = BackupWriter(file.write, HEADER)
    for group in range(GROUPS):
        writer.begin_group(Begin(group, REVISION, 1, "a"))
        own = stored(rows, group)
        for start in range(0, len(own), at_a_time):
            writer.rows(pack(own[start : start + at_a_time]))
        writer.end_group()
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> tuple[BackupReader, dict[bytes, Row]]:
    reader = BackupReader(io.BytesIO(data).read)
    return reader, dict(_flat(reader))


def _flat(reader: BackupReader) -> Iterable[tuple[bytes, Row]]:
    for _, rows in reader.chunks():
        yield from rows
