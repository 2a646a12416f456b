"""A node's part in a backup: the rows of the groups that are asked for, one after the other.

What it promises: each group as of a revision at or after the call. A read barrier is taken first,
so that the replica has applied all that was acknowledged anywhere before; then what it has applied
is flushed, and read from the disk. Groups are not of the same moment, nor need they be: an op is on
one key, and keys of two groups have no order.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Final, Protocol

from globaltable.errors import Corrupt, NoQuorum
from globaltable.holdings import Holdings
from globaltable.row_keys import is_system_row, slot_of_row
from globaltable.server.core import NodeCore
from globaltable.server.effects import FlushJob, GroupJob
from globaltable.server.reading import TableReaders
from globaltable.store.table import RowSource
from globaltable.v1 import admin_pb2 as pb
from globaltable.wire.packing import pack

CHUNK_BYTES: Final = 32_768
"""Read at a time, and held. While it is read the interpreter is shared with the event loop."""

_FLUSH_POLL_S: Final = 0.01
_FLUSH_TIMEOUT_S: Final = 60.0


class Barriers(Protocol):
    async def barrier_of(self, groups: Collection[int], timeout_s: float | None) -> None: ...


class Flusher(Protocol):
    """`TableWorker`."""

    def submit(self, job: GroupJob | FlushJob) -> None: ...


class Backups:
    def __init__(
        self, core: NodeCore, barriers: Barriers, flusher: Flusher, readers: TableReaders
    ) -> None:
        self._core = core
        self._barriers = barriers
        self._flusher = flusher
        self._readers = readers
        self._loop = asyncio.get_running_loop()

    async def parts(self, groups: Sequence[int]) -> AsyncGenerator[pb.BackupPart, None]:
        """Raises `NoQuorum`, `Overloaded`, or `Corrupt`."""
        with self._readers.place():
            for group in groups:
                self._core.serving(group)
            await self._barriers.barrier_of(groups, None)
            for group in groups:
                await self._flush(group)
            for group in groups:
                self._core.serving(group)
                source = await self._readers.open(group)
                try:
                    async for part in self._rows(group, source):
                        yield part
                finally:
                    self._readers.close(source)

    async def _flush(self, group: int) -> None:
        """Until what the replica has applied by now is on the disk."""
        wanted = self._core.serving(group).table.applied
        deadline = self._loop.time() + _FLUSH_TIMEOUT_S
        while self._core.serving(group).table.flushed < wanted:
            if self._loop.time() > deadline:
                raise NoQuorum(f"group {group} was not flushed within {_FLUSH_TIMEOUT_S:.0f} s")
            if not self._core.is_flushing:
                job = self._core.begin_flush(self._loop.time(), [group])
                if job is not None:
                    self._flusher.submit(job)
            await asyncio.sleep(_FLUSH_POLL_S)

    async def _rows(self, group: int, source: RowSource) -> AsyncGenerator[pb.BackupPart, None]:
        begin = pb.BackupBegin(
            group=group,
            revision=source.state.applied,
            term=source.state.applied_term,
            node=self._core.node,
            rows_about=source.rows_about,
        )
        yield pb.BackupPart(begin=begin)
        topology = self._core.topology
        # As of the revision that is read: what the replica has applied since may have moved slots.
        held = Holdings(topology.deal_of(group), topology.slots, source.state.moves).held

        def read() -> bytes:
            while rows := source.next_rows(CHUNK_BYTES):
                own = [row for row in rows if slot_of_row(row[0]) in held]
                if callers := [row for row in own if not is_system_row(row[0])]:
                    return pack(callers)
            return b""

        try:
            while payload := await self._readers.run(read):
                yield pb.BackupPart(rows=payload)
        except Corrupt as error:
            self._core.fail(group, error)
            raise
        yield pb.BackupPart(end=pb.BackupEnd(group=group))
