"""Rows of whole groups read for who asks from outside the core: backups, and comparisons.

They are read on the table's thread, in its turn among flushes and snapshots, slower than the
latter, through a read transaction of their own: what is flushed meanwhile does not show, and costs
room on the disk until the reader closes.

Invariant: there are `READERS_MAX` at most, and each is closed, whatever becomes of who asked.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from globaltable.errors import Overloaded
from globaltable.store.table import RowSource

READERS_MAX: Final = 4
_RETRY_DELAY_S: Final = 1.0

T = TypeVar("T")


class RowStore(Protocol):
    def open_rows(self, group: int) -> RowSource: ...


class TableThread(Protocol):
    """`TableWorker`."""

    def aside(self, work: Callable[[], Any], told: Callable[[Future[Any]], None]) -> None: ...


class TableReaders:
    """All belong to the event loop's thread, but for the work that is handed to `run`."""

    def __init__(self, store: RowStore, thread: TableThread) -> None:
        self._store = store
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._readers = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """For one who reads. Raises `Overloaded`."""
        if self._readers >= READERS_MAX:
            raise Overloaded(f"{self._readers} backups or checks read this node", _RETRY_DELAY_S)
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    def open(self, group: int) -> "asyncio.Future[RowSource]":
        """Queued at once: it sees all flushes that were queued before, and none that is after."""
        return self._run(lambda: self._store.open_rows(group), lambda source: source.close())

    async def run(self, work: Callable[[], T]) -> T:
        """The result of work on the table's thread."""
        return await self._run(work, lambda _: None)

    def close(self, source: RowSource) -> None:
        with contextlib.suppress(RuntimeError):  # the thread has ended, and what it held with it
            self._thread.aside(source.close, lambda _: None)

    def _run(self, work: Callable[[], T], drop: Callable[[T], None]) -> "asyncio.Future[T]":
        wanted: asyncio.Future[T] = self._loop.create_future()

        def told(done: Future[T]) -> None:
            error = done.exception()
            if wanted.cancelled():
                if error is None:
                    drop(done.result())
            elif error is not None:
                wanted.set_exception(error)
            else:
                wanted.set_result(done.result())

        self._thread.aside(work, told)
        return wanted
