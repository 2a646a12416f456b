"""The drains of a unit: no more is admitted, what is under way ends, and the keys are closed.

Invariants: a drain is answered `DONE` only when its key is durably closed (persist, then answer),
and is closed only under the unit's lease: without it another process may be serving for this unit.
Whoever gives up before it began to persist lets go; from then on it does not, even if it is
cancelled or the disk fails, for the row may be on the disk.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from globaltable.errors import GlobalTableError
from globaltable.routing.fence import Closed, Drained, Fence
from globaltable.routing.handover import Answer, Handover, Reply


class Rows(Protocol):
    async def close_rows(self, rows: Sequence[Closed]) -> None: ...


class Drains:
    """Of one unit."""

    def __init__(self, fence: Fence, rows: Rows, clock: Callable[[], float]) -> None:
        self._fence = fence
        self._rows = rows
        self._clock = clock
        self._idle = asyncio.Event()
        self._persisting: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """The last message under way of some key has left."""
        self._idle.set()

    async def drain(
        self, dimension: str, handovers: Sequence[Handover], timeout_s: float
    ) -> list[Reply]:
        fence = self._fence
        drained: dict[Handover, Drained] = {}
        held: set[Handover] = set()
        try:
            for one in handovers:
                if one in drained:
                    continue
                drained[one] = fence.drain(dimension, one.key, one.version, self._clock())
                if drained[one] in (Drained.EMPTY, Drained.UNDER_WAY):
                    held.add(one)
            await self._emptied(dimension, held, timeout_s)
            empty = []
            if fence.lease.held(self._clock()):
                empty = [one for one in held if fence.is_empty(dimension, one.key)]
                held.difference_update(empty)
        finally:
            for one in held:
                fence.let_go(dimension, one.key)
        if empty:
            rows = [Closed(dimension, one.key, one.version, one.target) for one in empty]
            task = asyncio.create_task(self._persist(rows))
            self._persisting.add(task)
            task.add_done_callback(self._persisting.discard)
            await asyncio.shield(task)
        return [self._reply(drained[one], one in held) for one in handovers]

    def _reply(self, drained: Drained, busy: bool) -> Reply:
        if drained is Drained.SUPERSEDED:
            return Reply(Answer.SUPERSEDED)
        return Reply(Answer.BUSY if busy else Answer.DONE)

    async def _emptied(self, dimension: str, held: set[Handover], timeout_s: float) -> None:
        """Return when nothing is under way of any of them, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(self._fence.is_empty(dimension, one.key) for one in held):
                    self._idle.clear()
                    await self._idle.wait()

    async def _persist(self, rows: Sequence[Closed]) -> None:
        await self._rows.close_rows(rows)
        self._fence.close(rows, self._clock())

    async def close(self) -> None:
        """Return when nothing is being persisted."""
        ended = await asyncio.gather(*self._persisting, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, GlobalTableError):
                raise error
