"""A backup as it is read: everything is checked before it is passed on, and the end is not missed.

Invariants: no more than a record is held in memory; whoever has read to the end without an error
has seen the file exactly as it was written.
"""

import hashlib
from collections.abc import Callable, Iterator

from globaltable.backup import records
from globaltable.backup.contents import Contents, NamedRow
from globaltable.backup.records import Begin, Header, Kind, Trailer
from globaltable.errors import Corrupt, InvalidArgument


class NotABackup(InvalidArgument):
    """The file is something else."""


class BackupReader:
    """`read` gives up to that many bytes, and none only at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """Raises `NotABackup`, or `Corrupt`."""
        self._read = read
        self._digest = hashlib.sha256()
        self.bytes = 0
        if self._take_up_to(len(records.MAGIC)) != records.MAGIC:
            raise NotABackup("the file is not a backup: it does not begin as one does")
        try:
            kind, payload = self._next()
            if kind is not Kind.HEADER:
                raise Corrupt("the header is missing")
            self.contents = Contents(records.decode_header(payload))
        except Corrupt as error:
            raise self._placed(error) from error
        self.trailer: Trailer | None = None
        """Once everything has been read."""

    @property
    def header(self) -> Header:
        return self.contents.header

    def chunks(self) -> Iterator[tuple[Begin, list[NamedRow]]]:
        """The rows, a record at a time, with the head of their group. Raises `Corrupt`."""
        try:
            yield from self._chunks()
        except Corrupt as error:
            raise self._placed(error) from error

    def _chunks(self) -> Iterator[tuple[Begin, list[NamedRow]]]:
        head: Begin | None = None
        while self.trailer is None:
            before = self._digest.digest()
            kind, payload = self._next()
            match kind:
                case Kind.HEADER:
                    raise Corrupt("a second header")
                case Kind.BEGIN:
                    head = records.decode_begin(payload)
                    self.contents.begin(head)
                case Kind.ROWS:
                    rows = self.contents.rows(records.decode_rows(payload))
                    assert head is not None, "rows of no group are refused"
                    yield head, rows
                case Kind.END:
                    said, found = records.decode_end(payload), self.contents.end()
                    if said != found:
                        raise Corrupt(f"the file says {said}, but holds {found}")
                case Kind.TRAILER:
                    self.trailer = self._finished(records.decode_trailer(payload), before)

    def _finished(self, said: Trailer, digest: bytes) -> Trailer:
        if said != Trailer(*self.contents.totals(), digest):
            raise Corrupt("the trailer is not that of what stands before it")
        if self._read(1):
            raise Corrupt("something follows the trailer")
        return said

    # --- records ---------------------------------------------------------------------------------

    def _next(self) -> tuple[Kind, bytes]:
        head = self._take(records.HEAD_BYTES)
        kind, length = records.decode_head(head)
        payload = self._take(length)
        records.check_payload(head, payload)
        return kind, payload

    def _take(self, size: int) -> bytes:
        data = self._take_up_to(size)
        if len(data) < size:
            raise Corrupt("the file ends without its trailer: it was cut short")
        return data

    def _take_up_to(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self._read(size - len(data))):
            data += piece
        self._digest.update(data)
        self.bytes += len(data)
        return data

    def _placed(self, error: Corrupt) -> Corrupt:
        return type(error)(f"{error} (before byte {self.bytes:,})")
