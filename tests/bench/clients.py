"""Clients of no system, for what is said of loads: they answer as they are told to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from globaltable.bench.activities.activity import Clock
from globaltable.bench.findings import Findings
from globaltable.bench.systems.globaltable import GlobalTableClient
from globaltable.client import Created
from globaltable.model import Binding


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


@dataclass
class MintingTable:
    """As the client library's table: it mints keys, and writes down what it was asked for."""

    created: bool = True
    fails: Exception | None = None
    """Raised for each create."""
    asked: list[str] = field(default_factory=list)
    minted: list[str] = field(default_factory=list)

    async def bind(self, key: str, unit: str) -> Binding:
        self.asked.append("bind")
        return Binding(unit, 1, 1, created=True)

    async def create(self, unit: str, *, prefix: str) -> Created:
        self.asked.append("create")
        if self.fails is not None:
            raise self.fails
        self.minted.append(f"{prefix}{len(self.minted)}")
        return Created(self.minted[-1], Binding(unit, 1, 1, self.created))


def minting(table: MintingTable) -> GlobalTableClient:
    return GlobalTableClient(cast(Any, table))


def started() -> tuple[Clock, Findings]:
    """A clock that begins now."""
    return Clock(time.monotonic(), asyncio.Event()), Findings()
