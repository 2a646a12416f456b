"""The table's worker: carries out the core's jobs on `table/`, in order, off the loop's thread.

Results go back to the core on the loop's thread, as inputs of a later turn.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from globaltable.errors import ProtocolError
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
            self._run(lambda: self._store.flush(job.flushes), lambda _: self._core.flushed())
            return
        group, task = job
        match task:
            case ReadChunk():
                self._run(
                    lambda: self._read(group, task),
                    lambda read: self._core.chunk_read(group, task, *read),
                )
            case EndRead():
                self._run(lambda: self._end_read(group, task), lambda _: None)
            case StageChunk():
                self._run(
                    lambda: self._stage(group, task), lambda kept: self._staged(group, task, kept)
                )
            case InstallSnapshot():
                self._run(
                    lambda: self._store.install(group, task.state),
                    lambda _: self._core.snapshot_installed(group),
                )

    def sweep(self) -> None:
        """Delete some of what an installed snapshot replaced, until nothing is left."""

        def swept(more: bool) -> None:
            if more:
                self.sweep()

        self._run(self._store.sweep, swept)

    def _run(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        def done(future: Future[Any]) -> None:
            if not future.cancelled():
                self._call_soon(self._finish, future, then)

        self._thread.submit(work).add_done_callback(done)

    def _finish(self, future: Future[Any], then: Callable[[Any], None]) -> None:
        error = future.exception()
        if error is not None:
            self._on_failure(error)
            return
        then(future.result())
        self._wake()

    def close(self) -> None:
        """Wait for what is queued. Results of it are dropped."""
        self._thread.shutdown(wait=True)
        for source in self._sources.values():
            source.close()
        self._sources.clear()

    # --- on the worker's thread ------------------------------------------------------------------

    def _read(self, group: int, job: ReadChunk) -> tuple[Any, Any]:
        key = (group, job.peer, job.transfer)
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = self._store.open_snapshot(group)
        return source.state, source.next_chunk()

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

    def _staged(self, group: int, job: StageChunk, kept: bool) -> None:
        if kept:
            self._core.chunk_staged(group, job)
        else:
            self._core.chunk_refused(group, job)
