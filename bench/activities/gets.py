"""Local reads of keys that were bound before: one at a time, or many in a call."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from globaltable.bench.activities.activity import Clock
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client
from globaltable.bench.systems.globaltable import GlobalTableClient

GET: Final = "get"
_CREATED_AT_A_TIME: Final = 256


@dataclass(frozen=True, slots=True)
class Gets:
    """`callers` that each read `batch` keys a call, for `seconds`."""

    keys: int
    batch: int
    callers: int
    seconds: float

    async def prepare(self, client: Client, label: str) -> None:
        keys = iter(self._keys(label))

        async def caller() -> None:
            for key in keys:
                await client.create(key, label)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CREATED_AT_A_TIME):
                group.create_task(caller())

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        assert isinstance(client, GlobalTableClient), "only GlobalTable's own reads are measured"
        keys = self._keys(label)
        starts = itertools.cycle(range(0, max(1, len(keys) - self.batch + 1), self.batch))

        async def caller() -> None:
            while (began_s := clock.now_s()) < self.seconds and not clock.stop.is_set():
                start = next(starts)
                found = await client.get(keys[start : start + self.batch])
                now_s = clock.now_s()
                assert found == self.batch, f"{self.batch - found} keys are missing"
                findings.record(GET, now_s - began_s, now_s, count=found)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.callers):
                group.create_task(caller())

    def _keys(self, label: str) -> Sequence[str]:
        return [f"{label}:{number}" for number in range(self.keys)]
