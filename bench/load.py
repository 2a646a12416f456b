"""Callers that bind new keys as fast as they are answered (a closed loop), one region each.

A duration is from the call to its return, so it includes the client library's packing and retries.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from globaltable.client import GlobalTable
from globaltable.model import Binding

Note = Callable[[str, Binding, float], None]
"""Told of each bind that was answered: the key, its binding, and the seconds it took."""


async def bind_all(
    client: GlobalTable, unit: str, keys: Iterator[str], callers: int, note: Note
) -> None:
    """Bind every key of `keys` to `unit`, with so many calls under way at a time."""

    async def caller() -> None:
        for key in keys:
            began = time.perf_counter()
            binding = await client.bind(key, unit)
            note(key, binding, time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
