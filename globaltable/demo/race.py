"""All regions bind the same new sessions at once, each to a unit of its own."""

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from globaltable.bench.load import bind_all
from globaltable.client import GlobalTable
from globaltable.demo.ledger import Ledger
from globaltable.model import Binding

CALLERS: Final = 16
"""Calls under way from each region at a time."""

_STRIDE: Final = 64
"""Regions take the sessions in a like order, but not in lockstep."""


async def race(
    clients: Mapping[str, GlobalTable],
    keys: Sequence[str],
    ledger: Ledger,
    progress: Callable[[], None],
) -> dict[str, list[float]]:
    """Bind each key from every region; the seconds each bind took, by region."""
    durations: dict[str, list[float]] = {region: [] for region in clients}

    def noting(region: str) -> Callable[[str, Binding, float], None]:
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
