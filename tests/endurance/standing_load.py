"""A table of a fixed number of sessions, which are bound, moved and unbound without end.

Responsible for the demand beside the recorded clients: callers in each region at a rate, and
watchers who read what changes. As the keys stay the same ones, what grows is what leaks.

Invariant: a caller has one op under way; an error of the library's is counted, and any other ends
the run.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from globaltable.client import GlobalTable
from globaltable.errors import GlobalTableError, VersionConflict
from globaltable.model import Binding
from tests.faults.workload import TABLE

CALLERS_PER_REGION: Final = 16
WATCHERS_PER_REGION: Final = 3
_TIMEOUT_S: Final = 3.0
_WATCHED_PREFIX: Final = "standing:1"
_RETRY_S: Final = 1.0
_FILL_AT_ONCE: Final = 2_000


@dataclass(slots=True)
class StandingLoad:
    """`asking` may be cleared, so that nobody writes, and set again."""

    addresses: Mapping[str, str]
    sessions: int
    ops_per_s: float
    asking: asyncio.Event = field(default_factory=asyncio.Event)
    done: Counter[str] = field(default_factory=Counter)
    """Ops by how they ended, and changes seen."""
    under_way: int = 0
    known: dict[str, Binding | None] = field(default_factory=dict)
    """What the callers of all regions were told last, so that most of what they ask is a change."""

    async def run(self) -> None:
        """Until cancelled."""
        self.asking.set()
        async with asyncio.TaskGroup() as group:
            for region, own in self.addresses.items():
                nodes = [own, *(other for other in self.addresses.values() if other != own)]
                group.create_task(self._in_region(region, nodes))

    async def fill(self) -> None:
        """Bind every session once, so that the table has its size from the beginning."""
        nodes = list(self.addresses.values())
        async with GlobalTable.connect(nodes, table=TABLE, timeout=60.0, discover=False) as table:
            for start in range(0, self.sessions, _FILL_AT_ONCE):
                numbers = range(start, min(self.sessions, start + _FILL_AT_ONCE))
                keys = [f"standing:{number}" for number in numbers]
                bound = await asyncio.gather(*(table.bind(key, "unit") for key in keys))
                self.known |= dict(zip(keys, bound, strict=True))

    async def quiet(self) -> None:
        """Nobody asks any more, and nothing is under way."""
        self.asking.clear()
        while self.under_way:
            await asyncio.sleep(0.05)

    async def _in_region(self, region: str, nodes: list[str]) -> None:
        async with (
            GlobalTable.connect(nodes, table=TABLE, timeout=_TIMEOUT_S, discover=False) as table,
            asyncio.TaskGroup() as group,
        ):
            for number in range(CALLERS_PER_REGION):
                group.create_task(self._call(f"{region}{number}", table))
            for _ in range(WATCHERS_PER_REGION):
                group.create_task(self._watch(table))

    async def _call(self, name: str, table: GlobalTable) -> None:
        rng = random.Random(f"standing {name}")
        period_s = CALLERS_PER_REGION * len(self.addresses) / self.ops_per_s
        while True:
            await asyncio.sleep(rng.uniform(0.5, 1.5) * period_s)
            await self.asking.wait()
            key = f"standing:{rng.randrange(self.sessions)}"
            self.under_way += 1
            try:
                self.known[key] = await _change(
                    table, key, self.known.get(key), f"{name}-unit", rng
                )
                self.done["ok"] += 1
            except VersionConflict as conflict:
                self.known[key] = conflict.current
                self.done["ok"] += 1
            except GlobalTableError as error:
                self.known.pop(key, None)
                self.done[type(error).__name__] += 1
            finally:
                self.under_way -= 1

    async def _watch(self, table: GlobalTable) -> None:
        while True:
            try:
                async with table.watch(prefix=_WATCHED_PREFIX) as changes:
                    async for _ in changes:
                        self.done["changes"] += 1
            except GlobalTableError as error:
                self.done[f"watch: {type(error).__name__}"] += 1
                await asyncio.sleep(_RETRY_S)


async def _change(
    table: GlobalTable, key: str, known: Binding | None, unit: str, rng: random.Random
) -> Binding | None:
    """Bind what is not bound; move what is, or now and then unbind it."""
    if known is None:
        return await table.bind(key, unit)
    if rng.random() < 0.8:
        return await table.move(key, to=unit, version=known.version)
    await table.unbind(key, version=known.version)
    return None
