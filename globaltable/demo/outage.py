"""A node is killed while every region binds; how long until each group takes writes again."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from globaltable.client import GlobalTable
from globaltable.demo.ledger import Ledger
from globaltable.demo.race import unit_of
from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.model import qualified_name
from globaltable.topology import Topology


class Resumption(NamedTuple):
    """Seconds from the kill to the first acknowledged write."""

    led_by_it: float
    """Of the slowest group that the killed node led."""
    led_by_others: float
    """Of the slowest of the other groups: they had no reason to wait."""


async def measure(
    client: GlobalTable,
    topology: Topology,
    led: Sequence[int],
    kill: Callable[[], None],
    ledger: Ledger,
    *,
    patience_s: float = 30.0,
) -> Resumption:
    """Write to every group from a region that stays, one op outstanding each, and `kill`."""
    killed_at: float | None = None
    resumed: dict[int, float] = {}

    async def probe(group: int) -> None:
        end = time.perf_counter() + patience_s
        for key in _keys_of(topology, client.table, group):
            began = time.perf_counter()
            if began > end:
                return
            try:
                ledger.note(key, await client.bind(key, unit_of("probe"), timeout=patience_s))
            except (Unavailable, DeadlineExceeded):
                continue
            if killed_at is not None and began > killed_at:
                resumed[group] = time.perf_counter() - killed_at
                return

    groups = [group.number for group in topology.groups]
    async with asyncio.TaskGroup() as probes:
        for group in groups:
            probes.create_task(probe(group))
        await asyncio.sleep(0.2)
        kill()
        killed_at = time.perf_counter()
    never = float("inf")
    return Resumption(
        max((resumed.get(group, never) for group in led), default=0.0),
        max((resumed.get(group, never) for group in groups if group not in led), default=0.0),
    )


def _keys_of(topology: Topology, table: str, group: int) -> Iterator[str]:
    for number in itertools.count():
        key = f"probe:{number}"
        if topology.group_of(qualified_name(table, key)) == group:
            yield key
