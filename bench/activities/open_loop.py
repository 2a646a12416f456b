"""Ops that begin when their time has come, whether or not earlier ones were answered.

Responsible for there being no coordinated omission: the n-th op is due at n / rate, and its latency
is counted from then, even if this process or the client came to it later.

What is under way is bounded (`OUTSTANDING_MAX`). Ops that are due beyond it wait, and their wait
counts. Those that have not begun `drain_s` after the last was due are recorded as failed with the
time they have waited, and counted as missed.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from globaltable.bench.activities.activity import Clock, create, warm_up
from globaltable.bench.findings import FAILED, Findings
from globaltable.bench.systems import Client

OUTSTANDING_MAX: Final = 20_000
PATIENCE_S: Final = 30.0
"""With the last ops: longer than the timeout of any client here."""
_TICK_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Creates fresh keys at a rate. The first `settle_s` seconds are asked but not counted."""

    rate_per_s: float
    seconds: float
    settle_s: float = 1.0
    drain_s: float = 5.0
    warm_up_ops: int = 20

    async def prepare(self, client: Client, label: str) -> None:
        await warm_up(client, label, self.warm_up_ops)

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        total = round(self.rate_per_s * (self.settle_s + self.seconds))
        uncounted = round(self.rate_per_s * self.settle_s)
        settling = Findings()
        under_way: set[asyncio.Task[bool | None]] = set()
        number = 0
        give_up_s = self.settle_s + self.seconds + self.drain_s
        while number < total and not clock.stop.is_set() and clock.now_s() < give_up_s:
            due = min(total, int(clock.now_s() * self.rate_per_s) + 1)
            while number < due and len(under_way) < OUTSTANDING_MAX:
                where = findings if number >= uncounted else settling
                intended_s = number / self.rate_per_s
                op = create(client, f"{label}:{number}", label, intended_s, clock, where)
                task = asyncio.ensure_future(op)
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                number += 1
            await asyncio.sleep(_TICK_S)
        if not clock.stop.is_set():
            for late in range(max(number, uncounted), total):
                findings.missed += 1
                now_s = clock.now_s()
                findings.record(FAILED, now_s - late / self.rate_per_s, now_s)
        await _outlast(under_way, findings)


async def _outlast(under_way: set[asyncio.Task[bool | None]], findings: Findings) -> None:
    """Wait for what is under way; what does not end although every op has a timeout is told."""
    if not under_way:
        return
    _, left = await asyncio.wait(under_way, timeout=PATIENCE_S)
    for task in left:
        task.cancel()
    if left:
        findings.errors["NeverEnded"] += len(left)
        await asyncio.wait(left)
