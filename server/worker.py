"""The table's worker: carries out the core's jobs on `table/`, in order, off the loop's thread.

Snapshots are read for one transfer at a time, for as long as one is read what was flushed before it
stays on the disk, and what was appended since in the log; and their chunks are read and staged at a
pace, for nobody waits for them but a replica that is behind already.

Results go back to the core on the loop's thread, as inputs of a later turn. A damaged record puts
the replica that it belongs to out of service, and no other; a disk that cannot be written ends the
node.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from globaltable.errors import Corrupt, ProtocolError
from globaltable.raft.transfer import DiscardTable, EndRead, InstallSnapshot, ReadChunk, StageChunk
from globaltable.server.core import NodeCore
from globaltable.server.effects import FlushJob, GroupJob
from globaltable.server.pacing import Pace
from globaltable.store.table import SnapshotSource, TableStore

_Transfer = tuple[int, str, int]
"""Group, peer, and number."""


class TableWorker:
    """`executor` is one thread; `call_soon` brings a result back to the loop's thread, and there
    `call_later` has one wait for its `pace`."""

    def __init__(
        self,
        *,
        core: NodeCore,
        store: TableStore,
        executor: Executor,
        call_soon: Callable[..., object],
        on_failure: Callable[[BaseException], None],
        wake: Callable[[], None],
        pace: Pace | None = None,
        call_later: Callable[..., object] | None = None,
        aside_pace: Pace | None = None,
    ) -> None:
        assert (pace is None) == (call_later is None), "a pace needs a clock"
        self._pace = pace
        self._aside_pace = aside_pace or pace
        self._call_later = call_later
        self._core = core
        self._store = store
        self._call_soon = call_soon
        self._on_failure = on_failure
        self._wake = wake
        self._thread = executor
        self._sources: dict[_Transfer, SnapshotSource] = {}
        self._reading: _Transfer | None = None
        self._waiting: deque[tuple[int, ReadChunk]] = deque()
        """First reads of transfers whose turn has not come."""

    def submit(self, job: GroupJob | FlushJob) -> None:
        """Queue a job. The queue is as long as what the core has under way, which is bounded."""
        if isinstance(job, FlushJob):
            self._run(lambda: self._flush(job), self._flushed)
            return
        group, task = job
        match task:
            case ReadChunk():
                if self._reading in (None, (group, task.peer, task.transfer)):
                    self._begin_read(group, task)
                else:
                    self._waiting.append((group, task))
            case EndRead():
                self._end(group, task)
            case StageChunk():
                self._run(
                    lambda: self._stage(group, task),
                    lambda kept: self._staged(group, task, kept),
                    group,
                    paced=True,
                )
            case InstallSnapshot():
                self._run(
                    lambda: self._store.install(group, task.state),
                    lambda _: self._core.snapshot_installed(group),
                    group,
                )
            case DiscardTable():
                self.forget(group)
                self._run(lambda: self._store.discard(group), lambda _: self._discarded(group))

    def _begin_read(self, group: int, job: ReadChunk) -> None:
        self._reading = (group, job.peer, job.transfer)
        self._run(
            lambda: self._read(group, job),
            lambda read: self._core.chunk_read(group, job, *read),
            group,
            paced=True,
        )

    def _end(self, group: int, job: EndRead) -> None:
        ended = (group, job.peer, job.transfer)
        self._waiting = deque(
            (other, read)
            for other, read in self._waiting
            if (other, read.peer, read.transfer) != ended
        )
        self._run(lambda: self._end_read(group, job), lambda _: None)
        if self._reading == ended:
            self._reading = None
            if self._waiting:
                self._begin_read(*self._waiting.popleft())

    def forget(self, group: int) -> None:
        """Its replica is out of service: it asks for nothing any more, not even for a read to
        end."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0] != group)
        if self._reading is not None and self._reading[0] == group:
            self._end(group, EndRead(*self._reading[1:]))

    def sweep(self) -> None:
        """Delete some of what an installed snapshot replaced, until nothing is left."""

        def swept(more: bool) -> None:
            if more:
                self.sweep()

        self._run(self._store.sweep, swept)

    def aside(self, work: Callable[[], Any], told: Callable[[Future[Any]], None]) -> None:
        """Work that is no job of the core's, in its turn among them, and at a pace of its own.
        `told` is called on the loop's thread; what is wrong with the result is for it to judge."""
        self._submit(work, told, self._aside_pace)

    def _run(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        group: int | None = None,
        paced: bool = False,
    ) -> None:
        """`group` is the one that the work is for, if it is for one."""
        self._submit(
            work, lambda future: self._finish(future, then, group), self._pace if paced else None
        )

    def _submit(
        self, work: Callable[[], Any], told: Callable[[Future[Any]], None], pace: Pace | None
    ) -> None:
        worked_s = 0.0

        def timed() -> Any:
            nonlocal worked_s
            if pace is None:
                return work()
            began = pace.time()
            try:
                return work()
            finally:
                worked_s = pace.time() - began

        def done(future: Future[Any]) -> None:
            if not future.cancelled():
                self._call_soon(finish, future)

        def finish(future: Future[Any]) -> None:
            if pace is None:
                told(future)
            else:
                assert self._call_later is not None
                self._call_later(pace.rest_s(worked_s), told, future)

        self._thread.submit(timed).add_done_callback(done)

    def _finish(self, future: Future[Any], then: Callable[[Any], None], group: int | None) -> None:
        error = future.exception()
        if isinstance(error, Corrupt) and group is not None:
            self._core.fail(group, error)
        elif error is not None:
            self._on_failure(error)
            return
        else:
            try:
                then(future.result())
            except Exception as unforeseen:
                self._on_failure(unforeseen)
                return
        self._wake()

    def close(self) -> None:
        """Wait for what is queued. Results of it are dropped."""
        self._thread.shutdown(wait=True)
        for source in self._sources.values():
            source.close()
        self._sources.clear()

    # --- on the worker's thread ------------------------------------------------------------------

    def _flush(self, job: FlushJob) -> list[tuple[int, Corrupt]]:
        """The groups whose table could not be read, and so not be added to."""
        try:
            self._store.flush(job.flushes)
        except Corrupt:
            return self._flush_one_by_one(job)
        return []

    def _flush_one_by_one(self, job: FlushJob) -> list[tuple[int, Corrupt]]:
        damaged = []
        for group, flush in job.flushes:
            try:
                self._store.flush([(group, flush)])
            except Corrupt as error:
                damaged.append((group, error))
        return damaged

    def _read(self, group: int, job: ReadChunk) -> tuple[Any, Any]:
        key = (group, job.peer, job.transfer)
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = self._store.open_snapshot(group)
        try:
            return source.state, source.next_chunk()
        except Corrupt:
            # The replica stops, and asks for nothing any more, not even for this to end.
            self._end_read(group, EndRead(job.peer, job.transfer))
            raise

    def _end_read(self, group: int, job: EndRead) -> None:
        source = self._sources.pop((group, job.peer, job.transfer), None)
        if source is not None:
            source.close()

    def _stage(self, group: int, job: StageChunk) -> bool:
        try:
            self._store.stage(group, job.number, job.payload)
        except ProtocolError:
            return False
        return True

    # --- on the loop's thread --------------------------------------------------------------------

    def _flushed(self, damaged: list[tuple[int, Corrupt]]) -> None:
        for group, error in damaged:
            self._core.fail(group, error)
        self._core.flushed()

    def _discarded(self, group: int) -> None:
        self._core.discarded(group)
        self.sweep()

    def _staged(self, group: int, job: StageChunk, kept: bool) -> None:
        if kept:
            self._core.chunk_staged(group, job)
        else:
            self._core.chunk_refused(group, job)
