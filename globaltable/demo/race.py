"""All regions bind the same new sessions at once, each to a unit of its own."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from globaltable.client import GlobalTable
from globaltable.demo.ledger import Ledger
from globaltable.model import Binding

CALLERS: Final = 16
"""Calls under way from each region at a time."""

_STRIDE: Final = 64
"""Regions take the sessions in a like order, but not in lockstep."""

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


async def race(
    clients: Mapping[str, GlobalTable],
    keys: Sequence[str],
    ledger: Ledger,
    progress: Callable[[], None],
) -> dict[str, list[float]]:
    """Bind each key from every region; the seconds each bind took, by region."""
    durations: dict[str, list[float]] = {region: [] for region in clients}

    def noting(region: str) -> Note:
        def note(key: str, binding: Binding, seconds: float) -> None:
            ledger.note(key, binding)
            durations[region].append(seconds)
            progress()

        return note

    async with asyncio.TaskGroup() as regions:
        for region, client in clients.items():
            order = iter(_shuffled(keys, region))
            regions.create_task(bind_all(client, unit_of(region), order, CALLERS, noting(region)))
    return durations


async def one_at_a_time(
    clients: Mapping[str, GlobalTable], ops: int, ledger: Ledger, progress: Callable[[], None]
) -> dict[str, list[float]]:
    """Each region in turn binds new sessions with one op outstanding."""
    durations: dict[str, list[float]] = {}
    for region, client in clients.items():
        took = durations[region] = []

        def note(key: str, binding: Binding, seconds: float, took: list[float] = took) -> None:
            ledger.note(key, binding)
            took.append(seconds)
            progress()

        keys = (f"single:{region}:{number}" for number in range(ops))
        await bind_all(client, unit_of(region), keys, 1, note)
    return durations


def unit_of(region: str) -> str:
    """The unit that callers in a region bind to."""
    return f"unit-{region}"


def _shuffled(keys: Sequence[str], region: str) -> list[str]:
    rng = random.Random(region)
    order: list[str] = []
    for start in itertools.count(0, _STRIDE):
        part = list(keys[start : start + _STRIDE])
        if not part:
            return order
        rng.shuffle(part)
        order += part
    raise AssertionError("not reached")
