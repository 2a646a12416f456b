"""A backup as it is written: in order, once, and checked, row by row, before it is called done.

Invariant: the file ends with a trailer only after every group of the header has been written.
"""

import hashlib
from collections.abc import Callable

from globaltable.backup import records
from globaltable.backup.contents import Contents
from globaltable.backup.records import Begin, Header, Kind, Trailer
from globaltable.wire.packing import pack


class BackupWriter:
    """`write` takes the file's bytes, one piece after the other."""

    def __init__(self, write: Callable[[bytes], object], header: Header) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self.contents = Contents(header)
        self.bytes = 0
        self._put(records.MAGIC)
        self._put(records.encode(Kind.HEADER, records.encode_header(header)))

    def begin_group(self, head: Begin) -> None:
        self.contents.begin(head)
        self._put(records.encode(Kind.BEGIN, pack(head)))

    def rows(self, payload: bytes) -> None:
        """`Rows`, packed; `Corrupt` if any is not what may stand in a backup."""
        self.contents.rows(records.decode_rows(payload))
        self._put(records.encode(Kind.ROWS, payload))

    def end_group(self) -> None:
        self._put(records.encode(Kind.END, pack(self.contents.end())))

    def finish(self) -> Trailer:
        trailer = Trailer(*self.contents.totals(), self._digest.digest())
        self._put(records.encode(Kind.TRAILER, pack(trailer)))
        return trailer

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self.bytes += len(data)
        self._write(data)
