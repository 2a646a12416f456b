"""GlobalTable as units and movers see it, on simulated time: a table of linearizable ops behind a
network that delays, loses and cuts, and replicas that lag behind it."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable

from globaltable.errors import ConnectFailed, NotBound, OutcomeUnknown, VersionConflict
from globaltable.model import Binding

LAG_S_MAX = 0.5


class SimulatedTable:
    """The truth, and what it has been."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        self.history: dict[str, list[tuple[float, Binding | None]]] = {}
        self.units: dict[tuple[str, int], str] = {}
        """The unit of every version that there has been."""
        self._versions: dict[str, int] = {}

    def write(self, key: str, unit: str | None, now_s: float) -> Binding:
        version = self._versions[key] = self._versions.get(key, 0) + 1
        binding = Binding(unit or "", version, version)
        if unit is None:
            del self.bindings[key]
        else:
            self.bindings[key] = binding
            self.units[key, version] = unit
        self.history.setdefault(key, []).append((now_s, None if unit is None else binding))
        return binding

    def as_of(self, key: str, at_s: float) -> Binding | None:
        known = None
        for when_s, binding in self.history.get(key, []):
            if when_s <= at_s:
                known = binding
        return known


class SimulatedClient:
    """One actor's client of one table (`Bindings`). While it is cut off, calls fail; now and then
    an op takes effect and its answer is lost, or takes effect long after its caller was told so."""

    def __init__(self, table: SimulatedTable, dice: random.Random) -> None:
        self._table = table
        self._dice = dice
        self.cut = False
        self.lossy = 0.0
        self._late: set[asyncio.Task[None]] = set()

    async def _travel(self) -> None:
        slow = self._dice.random() < 0.02
        await asyncio.sleep(
            self._dice.uniform(0.2, 0.8) if slow else self._dice.uniform(0.001, 0.02)
        )

    async def _there(self) -> None:
        await self._travel()
        if self.cut:
            await asyncio.sleep(0.2)
            raise ConnectFailed("cut off")

    async def _back(self) -> None:
        await self._travel()
        if self.cut or self._dice.random() < self.lossy:
            raise OutcomeUnknown("the answer was lost")

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _local(self, key: str, lag_s: float) -> Binding | None:
        return self._table.as_of(key, self._now_s() - lag_s)

    async def get(self, key: str, *, linearizable: bool = False) -> Binding | None:
        return (await self.get_many([key], linearizable=linearizable)).get(key)

    async def get_many(
        self, keys: Iterable[str], *, linearizable: bool = False
    ) -> dict[str, Binding]:
        await self._there()
        lag_s = 0.0 if linearizable else self._dice.uniform(0.0, LAG_S_MAX)
        found = {key: self._local(key, lag_s) for key in keys}
        await self._travel()
        return {key: binding for key, binding in found.items() if binding is not None}

    async def bind(self, key: str, unit: str) -> Binding:
        await self._there()
        binding = self._table.bindings.get(key)
        if binding is None:
            binding = self._table.write(key, unit, self._now_s())._replace(created=True)
        await self._back()
        return binding

    async def move(self, key: str, *, to: str, version: int) -> Binding:
        await self._there()
        if self._dice.random() < self.lossy / 2:
            task = asyncio.create_task(self._move_late(key, to, version))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            raise OutcomeUnknown("it is still on its way")
        binding = self._move(key, to, version)
        await self._back()
        return binding

    async def _move_late(self, key: str, to: str, version: int) -> None:
        await asyncio.sleep(self._dice.uniform(0.1, 4.0))
        current = self._table.bindings.get(key)
        if current is not None and current.version == version:
            self._move(key, to, version)

    def _move(self, key: str, to: str | None, version: int) -> Binding:
        current = self._table.bindings.get(key)
        if current is None:
            raise NotBound(key)
        if current.version != version:
            raise VersionConflict(key, version, current)
        return self._table.write(key, to, self._now_s())

    async def unbind(self, key: str, *, version: int) -> None:
        await self._there()
        self._move(key, None, version)
        await self._back()

    async def scan(self, *, prefix: str = "") -> AsyncIterator[tuple[str, Binding]]:
        await self._there()
        lag_s = self._dice.uniform(0.0, LAG_S_MAX)
        for key in sorted(self._table.history):
            binding = self._local(key, lag_s) if key.startswith(prefix) else None
            if binding is not None:
                yield key, binding
