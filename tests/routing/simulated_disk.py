"""What a simulated unit has beside it: a disk that loses what was not synced, and headers."""

import asyncio
import json
import random
from collections.abc import Sequence

from globaltable.errors import StorageError
from globaltable.routing.fence import Closed
from globaltable.routing.route import Route


class Headers:
    """Signs and verifies, without cryptography: what is forged is not the matter here. They live so
    long that no expiry averts anything."""

    def sign(self, route: Route, now_s: float) -> bytes:
        return json.dumps(route).encode()

    def verify(self, header: bytes, now_s: float) -> Route:
        return Route(*json.loads(header))


class Disk:
    """What a unit's crash leaves: the fence, and the sessions' messages."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.identity = f"store-{unit}"
        self.distrust = False
        self.rows: dict[tuple[str, str], int] = {}
        self.messages: dict[str, list[int]] = {}


class Store:
    """A process's fence store on a disk: what was not synced at a crash may be there or not."""

    def __init__(self, disk: Disk, dice: random.Random) -> None:
        self._disk = disk
        self._dice = dice
        self._dead = False
        self._unsynced: list[Sequence[Closed]] = []
        self.identity = disk.identity
        self.distrust = disk.distrust

    def closed_version(self, dimension: str, key: str) -> int:
        return self._disk.rows.get((dimension, key), 0)

    def _keep(self, rows: Sequence[Closed]) -> None:
        for dimension, key, version, _ in rows:
            name = dimension, key
            self._disk.rows[name] = max(version, self._disk.rows.get(name, 0))

    async def _sync(self) -> None:
        await asyncio.sleep(self._dice.uniform(0.001, 0.1))
        if self._dead:
            raise StorageError("the process is gone")

    async def close_rows(self, rows: Sequence[Closed]) -> None:
        self._unsynced.append(rows)
        await self._sync()
        self._unsynced.remove(rows)
        self._keep(rows)

    async def begin_to_distrust(self) -> None:
        await self._sync()
        self.distrust = self._disk.distrust = True

    def crash(self) -> None:
        self._dead = True
        for rows in self._unsynced:
            if self._dice.random() < 0.5:
                self._keep(rows)
