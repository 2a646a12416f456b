"""What GlobalTable says of keys that a fence knows nothing of; and keys that a unit claims.

Responsible for asking once for all messages that wait for the same key, and for what each answer
allows (`fence.py`, rules 2 and 5).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from globaltable.errors import InvalidArgument, NotBound, VersionConflict
from globaltable.model import Binding
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.fence import Fence

CLAIMS_MAX: Final = 4
"""In a row, of a key that others change at the same time."""


class Ownership:
    """Asks for one unit. `tables` are the clients of the dimensions' tables."""

    def __init__(
        self,
        fence: Fence,
        tables: Mapping[str, Bindings],
        clock: Callable[[], float],
        reclaim_after_s: float,
    ) -> None:
        self._fence = fence
        self._tables = tables
        self._clock = clock
        self._reclaim_after_s = reclaim_after_s
        self._asking: dict[tuple[str, str], asyncio.Task[bool]] = {}

    def table(self, dimension: str) -> Bindings:
        """Raises InvalidArgument if this unit has none of that dimension."""
        table = self._tables.get(dimension)
        if table is None:
            known = ", ".join(sorted(self._tables))
            raise InvalidArgument(f"{dimension!r} is no dimension of this unit; it has {known}")
        return table

    async def ask(self, dimension: str, key: str) -> bool:
        """Have the fence know what GlobalTable does; False if the key is not bound.

        Raises what the client does.
        """
        name = dimension, key
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._ask(dimension, key))
            task.add_done_callback(lambda task: self._asked(name, task))
        return await asyncio.shield(task)

    def _asked(self, name: tuple[str, str], task: asyncio.Task[bool]) -> None:
        del self._asking[name]
        if not task.cancelled():
            task.exception()  # told to whoever waits, of whom there may be none left

    async def _ask(self, dimension: str, key: str) -> bool:
        fence = self._fence
        table = self.table(dimension)
        closed, closed_for_s = fence.closed(dimension, key, self._clock())
        # Where nothing was closed, an old answer is as good as an old header: the nearest replica
        # may say it. Of what was closed here, it would tell only what is known.
        binding = None
        if not closed and not fence.distrust:
            binding = await table.get(key)
        if binding is None:
            binding = await table.get(key, linearizable=True)
        if binding is None:
            return False
        if binding.unit != fence.unit or (binding.version > closed and not fence.distrust):
            fence.learned(dimension, key, binding.unit, binding.version, self._clock())
        elif fence.distrust or closed_for_s >= self._reclaim_after_s:
            return await self.claim(dimension, key, binding.version)
        else:
            fence.asked(dimension, key, self._clock())  # drained, and its move not yet committed
        return True

    async def claim(self, dimension: str, key: str, version: int) -> bool:
        """Bind a key anew to this unit, from a version at which it is bound to it; False if it is
        not bound. Whoever was to move it from that version can no longer.

        Raises what the client does. After `OutcomeUnknown` the fence does not count on it.
        """
        fence = self._fence
        table = self.table(dimension)
        for _ in range(CLAIMS_MAX):
            epoch = fence.lease.epoch
            try:
                binding = await table.move(key, to=fence.unit, version=version)
            except NotBound:
                return False
            except VersionConflict as conflict:
                if not self._is_ours(dimension, key, conflict.current):
                    return True
                version = conflict.current.version
            else:
                fence.claimed(dimension, key, binding.version, epoch, self._clock())
                return True
        return True

    def _is_ours(self, dimension: str, key: str, binding: Binding) -> bool:
        if binding.unit == self._fence.unit:
            return True
        self._fence.learned(dimension, key, binding.unit, binding.version, self._clock())
        return False

    async def close(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
