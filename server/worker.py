"""The table's worker: carries out the core's jobs on `table/`, in order, off the loop's thread.

Results go back to the core on the loop's thread, as inputs of a later turn. A damaged record puts
the replica that it belongs to out of service, and no other; a disk that cannot be written ends the
node.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from globaltable.errors import Corrupt, ProtocolError
from globaltable.raft.transfer import EndRead, InstallSnapshot, ReadChunk, StageChunk
from globaltable.server.core import FlushJob, GroupJob, NodeCore
from globaltable.store.table import SnapshotSource, TableStore


class TableWorker:
    """`executor` is one thread; `call_soon` brings a result back to the loop's thread."""

    def __init__(
        self,
        *,
        core: NodeCore,
        store: TableStore,
        executor: Executor,
        call_soon: Callable[..., object],
        on_failure: Callable[[BaseException], None],
        wake: Callable[[], None],
    ) -> None:
        self._core = core
        self._store = store
        self._call_soon = call_soon
        self._on_failure = on_failure
        self._wake = wake
        self._thread = executor
        self._sources: dict[tuple[int, str, int], SnapshotSource] = {}

    def submit(self, job: GroupJob | FlushJob) -> None:
        """Queue a job. The queue is as long as what the core has under way, which is bounded."""
        if isinstance(job, FlushJob):
            self._run(lambda: self._flush(job), self._flushed)
            return
        group, task = job
        match task:
            case ReadChunk():
                self._run(
                    lambda: self._read(group, task),
                    lambda read: self._core.chunk_read(group, task, *read),
                    group,
                )
            case EndRead():
                self._run(lambda: self._end_read(group, task), lambda _: None)
            case StageChunk():
                self._run(
                    lambda: self._stage(group, task),
                    lambda kept: self._staged(group, task, kept),
                    group,
                )
            case InstallSnapshot():
                self._run(
                    lambda: self._store.install(group, task.state),
                    lambda _: self._core.snapshot_installed(group),
                    group,
                )

    def sweep(self) -> None:
        """Delete some of what an installed snapshot replaced, until nothing is left."""

        def swept(more: bool) -> None:
            if more:
                self.sweep()

        self._run(self._store.sweep, swept)

    def _run(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        group: int | None = None,
    ) -> None:
        """`group` is the one that the work is for, if it is for one."""

        def done(future: Future[Any]) -> None:
            if not future.cancelled():
                self._call_soon(self._finish, future, then, group)

        self._thread.submit(work).add_done_callback(done)

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

    def _staged(self, group: int, job: StageChunk, kept: bool) -> None:
        if kept:
            self._core.chunk_staged(group, job)
        else:
            self._core.chunk_refused(group, job)
