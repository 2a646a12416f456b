"""What a replica holds at one revision, so that replicas can be compared while they serve.

The revision is chosen by who compares, a little ahead of all replicas; each freezes its table when
it applies that very entry (`group.Replica.freeze_at`), whatever comes behind it. One that has
passed it says so, and another revision is tried. So what is compared is the same state of the same
log under any load, and one who is told of a difference need not ask whether it was only late.

Rows in memory are held from the moment of freezing, the flushed ones under them are read some at a
time. A digest is over a slot's keys and rows, in order.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from typing import Final

from globaltable.errors import Corrupt
from globaltable.group import Replica
from globaltable.row_keys import SLOT_BYTES
from globaltable.server.core import NodeCore
from globaltable.server.reading import TableReaders
from globaltable.store.frozen import FrozenRows
from globaltable.store.table import RowSource
from globaltable.table_state import Frozen
from globaltable.v1 import admin_pb2 as pb
from globaltable.wire.holdings import moves_fields
from globaltable.wire.packing import pack

DIGEST_BYTES: Final = 16
_CHUNK_BYTES: Final = 32_768
_PATIENCE_S: Final = 60.0
"""How long a replica waits for a revision to come."""


class _Passed(Exception):
    """The revision can no longer be seen."""


class SlotDigests:
    """Over rows that come in ascending order of their keys."""

    def __init__(self) -> None:
        self.rows = 0
        self.slots: list[int] = []
        self.digests: list[bytes] = []
        self._present = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def add(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        self.rows += len(rows)
        for slot, own in groupby(rows, lambda row: int.from_bytes(row[0][:SLOT_BYTES], "big")):
            if not self.slots or slot != self.slots[-1]:
                assert not self.slots or slot > self.slots[-1], "rows are out of order"
                self.end()
                self.slots.append(slot)
            self._present.update(b"".join(map(pack, own)))

    def end(self) -> None:
        """Of the present slot, if there is one."""
        if len(self.digests) < len(self.slots):
            self.digests.append(self._present.digest())
        self._present = hashlib.blake2b(digest_size=DIGEST_BYTES)


def history_digest(frozen: Frozen) -> bytes:
    """Of what decides how ops that come again are answered."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    # Who the members are decides no answer, and a founder that never wrote it down has it not here.
    where = (*frozen.state[:3], None, *moves_fields(frozen.state.moves))
    digest.update(pack([where, frozen.history]))
    return digest.digest()


class Digests:
    def __init__(self, core: NodeCore, readers: TableReaders) -> None:
        self._core = core
        self._readers = readers
        self._loop = asyncio.get_running_loop()

    async def parts(
        self, group: int, revision: int, slots: Sequence[int]
    ) -> AsyncGenerator[pb.DigestPart, None]:
        """Raises `NoQuorum`, `Overloaded`, or `Corrupt`."""
        with self._readers.place():
            replica = self._core.serving(group)
            reached: asyncio.Future[tuple[Frozen, asyncio.Future[RowSource]] | None]
            reached = self._loop.create_future()

            def freeze(frozen: Frozen | None) -> None:
                # What is flushed after this moment must not be read, so the reader is opened now.
                if not reached.done():
                    seen = None if frozen is None else (frozen, self._readers.open(group))
                    reached.set_result(seen)

            armed = replica.freeze_at(revision, freeze)
            yield _standing(replica, passed=not armed)
            if not armed:
                return
            try:
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        seen = await reached
                finally:
                    replica.thaw(revision)
                if seen is None:
                    raise _Passed
                async for part in self._read(group, *seen, slots):
                    yield part
            except (_Passed, TimeoutError):
                yield _standing(replica, passed=True)

    async def _read(
        self,
        group: int,
        frozen: Frozen,
        opening: "asyncio.Future[RowSource]",
        slots: Sequence[int],
    ) -> AsyncGenerator[pb.DigestPart, None]:
        source = await opening
        try:
            if source.state.applied > frozen.state.applied:
                # A snapshot was installed before its turn came.
                raise _Passed
            rows = FrozenRows(source, frozen)
            if slots:
                async for part in self._rows_of(rows, slots):
                    yield part
                return
            digests = SlotDigests()

            def add() -> bool:
                chunk = rows.next_rows(_CHUNK_BYTES)
                digests.add(chunk)
                return bool(chunk)

            while await self._readers.run(add):
                pass
            digests.end()
            result = pb.DigestResult(
                rows=digests.rows,
                slots=digests.slots,
                digests=b"".join(digests.digests),
                history_digest=await self._readers.run(lambda: history_digest(frozen)),
            )
            yield pb.DigestPart(result=result)
        except Corrupt as error:
            self._core.fail(group, error)
            raise
        finally:
            self._readers.close(source)

    async def _rows_of(
        self, rows: FrozenRows, slots: Sequence[int]
    ) -> AsyncGenerator[pb.DigestPart, None]:
        for slot in sorted(slots):
            head = slot.to_bytes(SLOT_BYTES, "big")
            rows.seek(head)
            ended = False
            while not ended:
                chunk = await self._readers.run(lambda: rows.next_rows(_CHUNK_BYTES))
                own = [row for row in chunk if row[0].startswith(head)]
                ended = len(own) < len(chunk) or not chunk
                if own:
                    yield pb.DigestPart(rows=pack(own))


def _standing(replica: Replica, passed: bool) -> pb.DigestPart:
    standing = pb.DigestStanding(passed=passed, applied_revision=replica.table.applied)
    return pb.DigestPart(standing=standing)
