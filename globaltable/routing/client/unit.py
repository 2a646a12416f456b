"""The server's side of routing: what a unit does with each message, and with each move.

::

    async with Unit("A", meta=meta, tables={"chat": chats}, store=store, ...) as unit:
        decision = await unit.decide("chat", "cid:1001", header)
        if decision.verdict is Verdict.SERVE:
            with unit.enter(decision) as permit:
                ...                      # make the message durable
                unit.confirm(permit)     # raises if it must not be acknowledged
            # acknowledge, with decision.header if there is a new one

Responsible for putting fence, lease, headers and GlobalTable together. GlobalTable is asked only if
neither the fence nor a header tells: so known sessions go on without it, for as long as the unit's
lease lasts, and decisions say so (`provisional`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from globaltable import validation
from globaltable.errors import DeadlineExceeded, GlobalTableError, Unavailable
from globaltable.model import Binding
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.client.drains import Drains
from globaltable.routing.client.lease_keeper import Identity, LeaseKeeper
from globaltable.routing.client.ownership import Ownership
from globaltable.routing.fence import Admission, Closed, Fence, Permit, Reception, Verdict
from globaltable.routing.handover import Answer, Handover, Place, Reply, UnitLost
from globaltable.routing.lease import LEASE_S_DEFAULT, Lease, control_key
from globaltable.routing.route import Route

_ASKS_MAX: Final = 3
RECEIVES_MAX: Final = 16
"""Sessions whose data is taken in at a time."""


class Verifier(Protocol):
    """`globaltable.routing.verified.VerifiedHeaders`, or `header.HeaderVerifier`."""

    def verify(self, header: bytes, now_s: float) -> Route:
        """Raises a GlobalTableError for what is no header, or no longer one."""


class Signer(Protocol):
    """`globaltable.routing.header.HeaderSigner`."""

    def sign(self, route: Route, now_s: float) -> bytes:
        """Raises a GlobalTableError if no key can sign it now."""


class Store(Identity, Protocol):
    """`fence_store.FenceStore`."""

    def closed_version(self, dimension: str, key: str) -> int: ...

    async def close_rows(self, rows: Sequence[Closed]) -> None: ...


_REFUSALS: Final = {
    Reception.BUSY: Answer.BUSY,
    Reception.SUPERSEDED: Answer.SUPERSEDED,
}

Receive = Callable[[str, Handover], Awaitable[None]]
"""Takes in a session's data: of a dimension, from `handover.source`, at its `version`. It must be
repeatable: a copy replaces what is here of that session. What it raises is told to the mover."""


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """Spans of time, in seconds."""

    lease_s: float = LEASE_S_DEFAULT
    header_ttl_s: int = 300
    renew_before_s: int = 60
    """A header that expires sooner than this is answered with a new one."""
    reclaim_after_s: float = 120.0
    """A key that was drained, and whose move has not been committed for so long, is taken back
    when a message for it comes: its mover is lost, or its data takes too long to hand over."""


class Decision(NamedTuple):
    """What is to be done with a message."""

    verdict: Verdict
    dimension: str
    key: str
    route: Route | None = None
    """Where the key lives, as far as is known; of `SERVE` always, of `MOVED` and `FORWARD` too."""
    header: bytes = b""
    """To be sent back with the answer; empty if the sender's own will do."""
    retry_after_s: float = 0.0
    provisional: bool = False
    """GlobalTable could not be reached the last time."""


class Unit:
    """One unit's end of routing, for one event loop. A context manager: started on entry."""

    def __init__(
        self,
        name: str,
        *,
        meta: Bindings,
        tables: Mapping[str, Bindings],
        store: Store,
        verifier: Verifier,
        signer: Signer,
        receive: Receive | None = None,
        control_address: str = "",
        settings: UnitSettings = UnitSettings(),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`tables` are clients of each dimension's table, `meta` one of `routing.meta`. `receive`
        is what moves hand sessions over by; None if units share their data. Movers reach the unit
        at `control_address`, "host:port"; if it is empty, where they were told."""
        validation.require_unit(name)
        self.name = name
        self._meta = meta
        self._verifier = verifier
        self._signer = signer
        self._receive = receive
        self._control_address = control_address
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self.fence = Fence(name, Lease(settings.lease_s), store, distrust=store.distrust)
        self._drains = Drains(self.fence, store, clock)
        self.fence.on_idle = self._drains.wake
        self.keeper = LeaseKeeper(meta, self.fence, store, clock)
        self._ownership = Ownership(self.fence, tables, clock, settings.reclaim_after_s)
        self._receiving = asyncio.Semaphore(RECEIVES_MAX)
        self._keeping: asyncio.Task[None] | None = None
        self.headers_refused = 0
        self.headers_misplaced = 0
        """Of those, good ones that came with a message of another key."""

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._ownership.close()
        await self._drains.close()

    @property
    def verifier(self) -> Verifier:
        """What checks the headers that come here."""
        return self._verifier

    async def ready(self) -> None:
        """Return once the unit has its lease for the first time."""
        await self.keeper.first_granted.wait()

    async def _keep(self) -> None:
        keeping = asyncio.create_task(self.keeper.run())
        try:
            await self._tell_address()
            await keeping
        finally:
            keeping.cancel()

    async def _tell_address(self) -> None:
        """Bind where this unit is reached, for movers to find."""
        key, address = control_key(self.name), self._control_address
        while address:
            try:
                binding = await self._meta.bind(key, address)
                if binding.unit != address:
                    await self._meta.move(key, to=address, version=binding.version)
                return
            except GlobalTableError:
                await asyncio.sleep(1.0)

    # --- messages --------------------------------------------------------------------------------

    async def decide(self, dimension: str, key: str, header: bytes = b"") -> Decision:
        """What is to become of a message for a key, that came with this header or none.

        Raises InvalidArgument for a key or dimension that cannot be.
        """
        validation.require_key(key)
        self._ownership.table(dimension)
        given = self._verified(dimension, key, header) if header else None
        admission = self.fence.admit(dimension, key, given, self._clock())
        asks = 0
        while admission.verdict is Verdict.ASK and asks < _ASKS_MAX:
            asks += 1
            try:
                if not await self._ownership.ask(dimension, key):
                    admission = Admission(Verdict.NOT_BOUND)
                    break
            except (Unavailable, DeadlineExceeded):
                retry_after_s = 1.0
                return Decision(Verdict.ASK, dimension, key, None, b"", retry_after_s, True)
            admission = self.fence.admit(dimension, key, given, self._clock())
        return self._decision(dimension, key, given, admission)

    def _verified(self, dimension: str, key: str, header: bytes) -> Route | None:
        """The route of a header that is good, and of this key; a bad one says nothing."""
        try:
            route = self._verifier.verify(header, self._wall_clock())
        except GlobalTableError:
            route = None
        if route is None or (route.dimension, route.key) != (dimension, key):
            self.headers_refused += 1
            self.headers_misplaced += route is not None
            return None
        return route

    def _decision(
        self, dimension: str, key: str, given: Route | None, admission: Admission
    ) -> Decision:
        verdict, unit, version, retry_after_s = admission
        provisional = self.keeper.trouble is not None
        if not unit:
            return Decision(verdict, dimension, key, None, b"", retry_after_s, provisional)
        now_s = self._wall_clock()
        settings = self._settings
        route = Route(dimension, key, unit, version, int(now_s) + settings.header_ttl_s)
        header = b""
        known = given is not None and (given.unit, given.version) == (unit, version)
        if known and given is not None and given.expires_at_s - now_s > settings.renew_before_s:
            route = given
        else:
            try:
                header = self._signer.sign(route, now_s)
            except GlobalTableError:
                header = b""  # no key signs now: the sender asks, when its own has expired
        return Decision(verdict, dimension, key, route, header, retry_after_s, provisional)

    def enter(self, decision: Decision) -> Permit:
        """Accept a message that was told `SERVE`, in a `with`. Raises `Moving` if a drain has begun
        since: then it is to be decided anew."""
        assert decision.verdict is Verdict.SERVE and decision.route is not None, decision
        return self.fence.enter(decision.dimension, decision.key, decision.route.version)

    def confirm(self, permit: Permit) -> None:
        """Once the message is durable, and before it is acknowledged. Raises `NotConfirmed`."""
        permit.confirm(self._clock())

    async def end(self, dimension: str, key: str, timeout_s: float = 5.0) -> bool:
        """Unbind a session that lives here, behind a drain of it; whether it is unbound.

        A later bind has a higher version, wherever it is made. Raises what the client does: the
        session is closed then, until GlobalTable tells or it is taken back.
        """
        table = self._ownership.table(dimension)
        binding = await table.get(key, linearizable=True)
        if binding is None or binding.unit != self.name:
            return False
        handover = Handover(key, binding.version, self.name, "")
        (reply,) = await self._drains.drain(dimension, [handover], timeout_s)
        if reply.answer is not Answer.DONE:
            return False
        await table.unbind(key, version=binding.version)
        return True

    def hear(self, dimension: str, key: str, unit: str, version: int) -> None:
        """A move that was watched, of whatever key. It may be old, and may come twice."""
        if unit != self.name and self.fence.remembers(dimension, key):
            self.fence.learned(dimension, key, unit, version, self._clock())

    # --- moves (`UnitControl`) -------------------------------------------------------------------

    async def drain(
        self, dimension: str, handovers: Sequence[Handover], timeout_s: float
    ) -> list[Reply]:
        """Admit no more messages of these keys, wait for those under way, close them durably.

        Raises StorageError if it cannot be told whether they are closed: they stay unadmitted.
        """
        self._ownership.table(dimension)
        self._require_meant(one.source for one in handovers)
        return await self._drains.drain(dimension, handovers, timeout_s)

    def _require_meant(self, units: Iterable[str]) -> None:
        """Refuse what is for another unit, which was reached at this address before: to say for it
        that it has closed something would be fatal."""
        for unit in units:
            if unit != self.name:
                raise UnitLost(f"this is unit {self.name!r}, and was taken for {unit!r}")

    async def receive(self, dimension: str, handovers: Sequence[Handover]) -> list[Reply]:
        """Take in the data of keys that their sources have closed (`fence.py`, rule 6)."""
        table = self._ownership.table(dimension)
        self._require_meant(one.target for one in handovers)
        if not self.fence.lease.held(self._clock()):
            return [Reply(Answer.BUSY, "the unit has no lease")] * len(handovers)
        replies: dict[str, Reply] = {}
        begun: list[Handover] = []
        try:
            for handover in handovers:
                now_s = self._clock()
                reception = self.fence.begin_receiving(
                    dimension, handover.key, handover.version, now_s
                )
                if reception is Reception.BEGUN:
                    begun.append(handover)
                else:
                    replies[handover.key] = Reply(_REFUSALS[reception])
            current = await table.get_many([one.key for one in begun], linearizable=True)
            taken = []
            for handover in begun:
                binding = current.get(handover.key)
                if not _is_current(handover, binding):
                    replies[handover.key] = Reply(Answer.SUPERSEDED)
                else:
                    self.fence.learned(
                        dimension, handover.key, handover.source, handover.version, self._clock()
                    )
                    taken.append(self._take_in(dimension, handover, replies))
            await asyncio.gather(*taken)
        finally:
            for handover in begun:
                self.fence.end_receiving(dimension, handover.key)
        return [replies[handover.key] for handover in handovers]

    async def _take_in(self, dimension: str, handover: Handover, replies: dict[str, Reply]) -> None:
        replies[handover.key] = Reply(Answer.DONE)
        if self._receive is None:
            return
        async with self._receiving:
            try:
                await self._receive(dimension, handover)
            except Exception as error:
                # The application's own: whatever it is, this key is not moved, and others are.
                replies[handover.key] = Reply(Answer.FAILED, f"{type(error).__name__}: {error}")

    async def settle(self, dimension: str, places: Sequence[Place]) -> list[Reply]:
        """Know where keys live; take back those that were closed here, and did not go."""
        self._ownership.table(dimension)
        claims = []
        for place in places:
            now_s = self._clock()
            closed, _ = self.fence.closed(dimension, place.key, now_s)
            if place.unit == self.name and place.version <= closed:
                claims.append(self._ownership.claim(dimension, place.key, place.version))
            else:
                self.fence.learned(dimension, place.key, place.unit, place.version, now_s)
        await asyncio.gather(*claims)
        return [Reply(Answer.DONE)] * len(places)


def _is_current(handover: Handover, binding: Binding | None) -> bool:
    """Whether what was closed is still the key's last version."""
    return binding is not None and binding[:2] == (handover.source, handover.version)
