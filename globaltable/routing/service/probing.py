"""Whether the units that have an address can be reached from here.

Responsible for asking, and for what a number of unanswered questions means (`Standing`). A unit
that takes a TCP connection counts as well: what it speaks is not known here.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from globaltable.routing.config import Probes
from globaltable.routing.fleet import Unit


class Standing:
    """How each unit has answered, and who is unhealthy by that: who has failed so many times in a
    row. One answer makes it well again."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self._in_a_row: dict[str, int] = {}

    def note(self, unit: str, answered: bool) -> None:
        self._in_a_row[unit] = 0 if answered else self._in_a_row.get(unit, 0) + 1

    @property
    def unhealthy(self) -> frozenset[str]:
        return frozenset(unit for unit, count in self._in_a_row.items() if count >= self._failures)


async def is_reached(address: str, timeout_s: float) -> bool:
    """Whether something takes a connection at "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def probe(
    units: Iterable[Unit], probes: Probes, tell: Callable[[frozenset[str]], None]
) -> None:
    """Ask all of them again and again, and tell who is unhealthy. Until it is cancelled."""
    asked = [unit for unit in units if unit.address]
    standing = Standing(probes.failures)
    while True:
        answers = await asyncio.gather(
            *(is_reached(unit.address, probes.timeout_s) for unit in asked)
        )
        for unit, answered in zip(asked, answers, strict=True):
            standing.note(unit.name, answered)
        tell(standing.unhealthy)
        await asyncio.sleep(probes.period_s)
