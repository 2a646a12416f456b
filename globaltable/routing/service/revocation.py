"""Takes the leases of lost units away, and waits until they must have ended (`routing.lease`).

Invariant: a unit counts as lost only while its record stands as this mover left it, or found it,
before it waited. A unit that comes back changes the record first.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from globaltable.errors import NotBound, VersionConflict
from globaltable.model import Binding
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.lease import LEASE_S_MIN, LeaseRecord, Standing, lease_key, wait_s

_NOBODY: Final = LeaseRecord(Standing.REVOKED, "nobody", LEASE_S_MIN)
"""Of a unit that never had a lease: one that is started later finds that it must trust nobody."""

_TICK_S: Final = 0.001


class Revocations:
    """Of one mover. `clock` is its own, and only counts."""

    def __init__(self, meta: Bindings, clock: Callable[[], float]) -> None:
        self._meta = meta
        self._clock = clock
        self._waited: dict[str, int] = {}

    async def revoke(self, unit: str) -> float:
        """Take a unit's lease away, and return when it has ended; how many seconds that took.

        Raises what the client does.
        """
        key = lease_key(unit)
        while True:
            binding = await self._meta.get(key, linearizable=True)
            if binding is None:
                await self._meta.bind(key, _NOBODY.text())
                continue
            record = LeaseRecord.read(binding.unit)
            if record.standing is Standing.HELD:
                text = record._replace(standing=Standing.REVOKED).text()
                try:
                    binding = await self._meta.move(key, to=text, version=binding.version)
                except (VersionConflict, NotBound):
                    continue
            return await self._wait(unit, binding, record.lease_s)

    async def _wait(self, unit: str, binding: Binding, lease_s: float) -> float:
        """From now: when it was revoked by somebody else is not known."""
        began_s = self._clock()
        until_s = began_s + wait_s(lease_s)
        while self._clock() < until_s:
            await asyncio.sleep(max(until_s - self._clock(), _TICK_S))
        self._waited[unit] = binding.version
        return self._clock() - began_s

    async def in_force(self, unit: str) -> bool:
        """Whether the unit has no lease, and has had none since it was waited for."""
        version = self._waited.get(unit)
        if version is None:
            return False
        binding = await self._meta.get(lease_key(unit), linearizable=True)
        return binding is not None and binding.version == version
