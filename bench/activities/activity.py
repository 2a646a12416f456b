"""What all activities have in common: a clock that workers share, and an op that is counted.

An activity is a frozen dataclass of plain fields, so that it crosses to its worker as JSON.
`prepare` is done before the start and not measured.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Protocol

from globaltable.bench.findings import FAILED, LOST, WON, Findings
from globaltable.bench.systems import Client


@dataclass(frozen=True, slots=True)
class Clock:
    """Time within one activity; all workers of one measurement have the same start."""

    start_s: float
    """CLOCK_MONOTONIC, which all processes of a machine share, in whatever namespace."""
    stop: asyncio.Event
    """Set when the parent has seen enough."""

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start_s

    async def sleep_until(self, at_s: float) -> None:
        """Exactly: the loop's timers know whole milliseconds only."""
        left_s = at_s - self.now_s() - 0.002
        if left_s > 0:
            await asyncio.sleep(left_s)
        while self.now_s() < at_s:
            await asyncio.sleep(0)


class Activity(Protocol):
    async def prepare(self, client: Client, label: str) -> None:
        """Not measured. `label` begins every key of this process, and of no other."""

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        """Measured; ends by itself, or soon after `clock.stop` is set."""


async def warm_up(client: Client, label: str, ops: int) -> None:
    """Connections open, code paths taken, before anything is measured."""
    for number in range(ops):
        # What fails here for a reason fails again where it is counted.
        with contextlib.suppress(Exception):
            await client.create(f"{label}:warm:{number}", label)


async def create(
    client: Client, key: str, value: str, intended_s: float, clock: Clock, findings: Findings
) -> bool | None:
    """One op, counted from when it was meant to begin: won, lost, or None if it failed."""
    try:
        won = await client.create(key, value)
    except Exception as error:
        record_failure(error, intended_s, clock, findings)
        return None
    now_s = clock.now_s()
    findings.record(WON if won else LOST, now_s - intended_s, now_s)
    return won


def record_failure(error: Exception, intended_s: float, clock: Clock, findings: Findings) -> None:
    """Whatever the client of whichever system raises is a failed op, told by its type."""
    findings.errors[type(error).__name__] += 1
    now_s = clock.now_s()
    findings.record(FAILED, now_s - intended_s, now_s)
