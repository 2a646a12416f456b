"""Callers that each await one op, and then begin the next: as many outstanding as callers."""

import asyncio
import hashlib
from dataclasses import dataclass

from globaltable.bench.activities.activity import Clock, create, warm_up
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Creates fresh keys for `seconds`, or until each caller has made `ops_max`."""

    callers: int
    seconds: float
    ops_max: int = 1_000_000_000
    warm_up_ops: int = 20
    scattered: bool = False
    """Keys in no order, so that each is written to another place of a large table."""

    async def prepare(self, client: Client, label: str) -> None:
        await warm_up(client, label, self.warm_up_ops)

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        async def caller(name: str) -> None:
            for number in range(self.ops_max):
                now_s = clock.now_s()
                if now_s >= self.seconds or clock.stop.is_set():
                    return
                key = f"{name}:{number}"
                if self.scattered:
                    key = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
                await create(client, key, label, now_s, clock, findings)

        async with asyncio.TaskGroup() as group:
            for number in range(self.callers):
                group.create_task(caller(f"{label}:{number}"))
