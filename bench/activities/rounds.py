"""Rounds on a shared clock: in each, all callers of all workers begin at the same moment.

With `contended`, they all race for one key, the same in every process; without, each caller has a
key of its own. So what a race costs stands beside the same burst without one.
"""

import asyncio
from dataclasses import dataclass

from globaltable.bench.activities.activity import Clock, create, warm_up
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client


@dataclass(frozen=True, slots=True)
class Rounds:
    """`rounds` bursts of `callers` ops, one every `interval_s`."""

    name: str
    """Begins the keys that are raced for."""
    callers: int
    rounds: int
    interval_s: float
    contended: bool
    warm_up_ops: int = 20

    async def prepare(self, client: Client, label: str) -> None:
        await warm_up(client, label, self.warm_up_ops)

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        async def one(round_: int, caller: int, at_s: float) -> None:
            own = f"{label}:{caller}"
            key = f"{self.name}:{round_}" if self.contended else f"{own}:{round_}"
            if await create(client, key, own, at_s, clock, findings):
                findings.won.append(key)

        # A round that takes longer than the interval overlaps the next: nobody waits for it.
        async with asyncio.TaskGroup() as group:
            for round_ in range(self.rounds):
                at_s = (round_ + 1) * self.interval_s
                await clock.sleep_until(at_s)
                if clock.stop.is_set():
                    return
                for caller in range(self.callers):
                    group.create_task(one(round_, caller, at_s))
