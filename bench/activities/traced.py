"""One caller for each lane, every op written down: for what happens around a failure.

A lane is a set of keys that live or die together, those of one consistency group.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from globaltable.bench.activities.activity import Clock, create, warm_up
from globaltable.bench.findings import Findings, Trace
from globaltable.bench.systems import Client


@dataclass(frozen=True, slots=True)
class Traced:
    """Creates each lane's keys one after the other until they are used up, or it is stopped."""

    lanes: Mapping[str, Sequence[str]]
    """Keys by lane; nobody else uses them."""
    pause_s: float = 0.0
    """Between an answer and the next op."""

    async def prepare(self, client: Client, label: str) -> None:
        await warm_up(client, label, 20)

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        async def caller(lane: str, keys: Sequence[str]) -> None:
            for key in keys:
                if clock.stop.is_set():
                    return
                began_s = clock.now_s()
                won = await create(client, key, label, began_s, clock, findings)
                ended_s = clock.now_s()
                start_s = clock.start_s
                trace = Trace(lane, start_s + began_s, start_s + ended_s, won is not None)
                findings.traces.append(trace)
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)

        async with asyncio.TaskGroup() as group:
            for lane, keys in self.lanes.items():
                group.create_task(caller(lane, keys))
