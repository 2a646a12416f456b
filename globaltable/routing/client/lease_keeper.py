"""Keeps a unit's lease: takes it, renews it, and knows when it was taken away.

Responsible for the binding `lease/<unit>` in `routing.meta` as the unit sees it. `lease.py` says
why the times are safe, `fence.py` what a unit does that lost its lease once.

Invariants: a renewal counts from when it was sent, and only if it is known to have taken effect.
That the unit lost its lease is durable before the lease is taken again. A holder other than this
store's is waited for as a mover waits.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol

from globaltable.errors import GlobalTableError, NotBound, VersionConflict
from globaltable.model import Binding
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.fence import Fence
from globaltable.routing.lease import LeaseRecord, Standing, lease_key, wait_s

RENEWALS_PER_LEASE: Final = 4
RETRY_S: Final = 0.2


class Identity(Protocol):
    """Of a fence store: who holds the lease, and what must be durable about it."""

    identity: str
    distrust: bool

    async def begin_to_distrust(self) -> None: ...


class LeaseKeeper:
    """Made anew for each process. `run` until it is cancelled."""

    def __init__(
        self, meta: Bindings, fence: Fence, store: Identity, clock: Callable[[], float]
    ) -> None:
        self._meta = meta
        self._fence = fence
        self._store = store
        self._clock = clock
        self._key = lease_key(fence.unit)
        self._record = LeaseRecord(Standing.HELD, store.identity, fence.lease.lease_s)
        self._version = 0
        """Of the record, as last known; 0 if it is to be read."""
        self._others_until_s = -math.inf
        """Until when another holder may still believe in its lease."""
        self._trusts_nobody = False
        self.trouble: GlobalTableError | None = None
        """Why it could not be renewed the last time; None if it could."""
        self.first_granted = asyncio.Event()

    async def run(self) -> None:
        """Take the lease and renew it for ever."""
        period_s = self._fence.lease.lease_s / RENEWALS_PER_LEASE
        while True:
            try:
                await self.renew()
                self.trouble = None
                delay_s = period_s
            except GlobalTableError as error:
                self.trouble = error
                delay_s = min(RETRY_S, period_s)
            await asyncio.sleep(delay_s)

    async def renew(self) -> None:
        """Renew the lease once, or take it. Raises what the client and the store do."""
        for _ in range(4):
            if not self._version and not await self._read():
                continue
            if self._trusts_nobody and not self._store.distrust:
                await self._store.begin_to_distrust()
            sent_s = self._clock()
            try:
                binding = await self._meta.move(
                    self._key, to=self._record.text(), version=self._version
                )
            except VersionConflict as conflict:
                self._found(conflict.current)
            except NotBound:
                self._version = 0
                self._lose()
            else:
                self._version = binding.version
                self._granted(sent_s)
                return

    async def _read(self) -> bool:
        """Find the record, or make it; whether it is there to be renewed."""
        sent_s = self._clock()
        binding = await self._meta.get(self._key, linearizable=True)
        if binding is None:
            if self._trusts_nobody and not self._store.distrust:
                await self._store.begin_to_distrust()
            binding = await self._meta.bind(self._key, self._record.text())
            if binding.created:
                self._version = binding.version
                self._granted(sent_s)
                return True
        self._found(binding)
        return True

    def _found(self, binding: Binding) -> None:
        """The record as it is, if it is not what this keeper left."""
        record = LeaseRecord.read(binding.unit)
        self._version = binding.version
        mine = record.holder == self._store.identity
        if mine and record.standing is Standing.HELD:
            return  # a renewal whose end was not known, or of the process before this one
        self._lose()
        if not mine:
            self._others_until_s = self._clock() + wait_s(max(record.lease_s, self._record.lease_s))

    def _lose(self) -> None:
        self._fence.lose_lease()
        self._trusts_nobody = True

    def _granted(self, sent_s: float) -> None:
        if sent_s >= self._others_until_s:
            self._fence.lease.granted(sent_s)
            self.first_granted.set()
