"""Clients of no system, for what is said of loads: they answer as they are told to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from globaltable.bench.activities.activity import Clock
from globaltable.bench.findings import Findings


@dataclass
class TableInMemory:
    """Answers at once, or when `delay` has come back."""

    delay: Callable[[], Awaitable[None]] | None = None
    keys: dict[str, str] = field(default_factory=dict)
    under_way: int = 0
    under_way_max: int = 0

    async def create(self, key: str, value: str) -> bool:
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            if self.delay is not None:
                await self.delay()
            else:
                await asyncio.sleep(0)
            return self.keys.setdefault(key, value) is value
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        pass


def started() -> tuple[Clock, Findings]:
    """A clock that begins now."""
    return Clock(time.monotonic(), asyncio.Event()), Findings()
