"""The changes of a table, followed for as long as the router lives.

Responsible for beginning a watch again whenever one ends, and for saying so when changes may have
been missed between two.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from globaltable.client import Change
from globaltable.errors import GlobalTableError, WatchError
from globaltable.routing.client.ground import Ground

RETRY_S: Final = 1.0


class Follower:
    """Follows one table. `trouble` is why it does not at this moment; None while it does."""

    def __init__(
        self,
        ground: Ground,
        table: str,
        *,
        began: Callable[[], Awaitable[None]],
        changed: Callable[[Change], Awaitable[None]],
    ) -> None:
        """`began` is awaited whenever a watch has begun: what was before is to be read then."""
        self._ground = ground
        self.table = table
        self._began = began
        self._changed = changed
        self.trouble: GlobalTableError | None = None
        self.follows = asyncio.Event()
        """Set once it has followed for the first time."""

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                client = await self._ground.client(self.table)
                async with client.watch() as watch:
                    await self._began()
                    self.trouble = None
                    self.follows.set()
                    async for change in watch:
                        await self._changed(change)
            except WatchError:
                continue  # it lost its place: what it missed is read when it begins anew
            except GlobalTableError as error:
                self.trouble = error
                await asyncio.sleep(RETRY_S)
