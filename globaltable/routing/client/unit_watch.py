"""A unit hears of moves that it was not told of, from the changes of a dimension's table.

No promise rests on it: a unit that hears nothing refuses the same messages, and asks where their
sessions are. Hearing of it answers them at once.
"""

import asyncio
from typing import Final

from globaltable.client import ChangeKind, GlobalTable
from globaltable.errors import GlobalTableError, WatchError
from globaltable.routing.client.unit import Unit

RETRY_S: Final = 1.0


async def follow_moves(unit: Unit, dimension: str, table: GlobalTable) -> None:
    """Until it is cancelled. What happens while no node can be watched is missed."""
    while True:
        try:
            async with table.watch() as changes:
                async for change in changes:
                    if change.kind is ChangeKind.MOVED:
                        unit.hear(dimension, change.key, change.unit, change.version)
        except WatchError:
            continue
        except GlobalTableError:
            await asyncio.sleep(RETRY_S)
