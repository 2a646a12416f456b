"""The asyncio router: carries out what a `Resolver` decides, and keeps it up to date.

::

    async with Router(config) as router:
        resolution = await router.resolve("chat", "cid:1001", Context(region="beijing"))
        send(resolution.route.unit, message, resolution.header)

Responsible for tasks: one question at a time for each key, however many wait for its answer;
renewals behind the callers' backs; the watches of the dimensions' tables and of `routing.meta`.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from globaltable.client import Change, ChangeKind, ClientClosed, GlobalTable
from globaltable.errors import (
    ConfigError,
    DeadlineExceeded,
    GlobalTableError,
    NotBound,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    VersionConflict,
)
from globaltable.routing import policy_text
from globaltable.routing.client import meta as shared
from globaltable.routing.client.following import Follower
from globaltable.routing.client.ground import Ground
from globaltable.routing.config import Bound, RoutingConfig
from globaltable.routing.context import NO_CONTEXT, Context
from globaltable.routing.fleet import UnitState
from globaltable.routing.resolution import Resolution, Resolving, RouteChange, Signer
from globaltable.routing.resolving import OUTAGE_S, Resolver
from globaltable.routing.route_cache import RouteCache

META_WAIT_S: Final = 1.0
"""How long opening waits for the policies that were set at run time; then it goes on with those of
the file, and adopts the others when it can."""
RENEWALS_MAX: Final = 256
"""Renewals under way at a time. What is due beyond that is renewed when it is asked for again."""
FLIGHTS_MAX: Final = 65_536
"""Keys asked for at a time; what is beyond is refused."""
READ_ANEW_KEYS: Final = 4_096

_log: Final = logging.getLogger(__name__)
_Key = tuple[str, str, bool]


class PolicyChanged(Rejected):
    """Somebody else has set the policy since."""


class Listener(Protocol):
    """Who is told of changes, on the router's loop."""

    def changed(self, change: RouteChange) -> None:
        """A key's unit has changed. Told of every key of every table that is followed."""
        ...

    def held(self, dimension: str) -> Iterable[str]:
        """The keys it wants to be told of again when changes may have been missed."""
        ...


class Router:
    """Finds the unit of any key of any dimension. For the tasks of one event loop."""

    def __init__(
        self,
        config: RoutingConfig,
        *,
        signer: Signer | None = None,
        cache: RouteCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`signer` signs the routes that are given out (`routing.header.HeaderSigner`); without,
        they carry no header. `cache` may hold routes of a former run; `clock` tells seconds
        since the epoch."""
        self.resolver: Final = Resolver(
            config, signer=signer, cache=cache, salt=secrets.randbits(32)
        )
        self._config = config
        self._clock = clock
        self._ground = Ground(config.endpoints, config.timeout_s, config.tls)
        self._flights: dict[_Key, asyncio.Task[Resolution]] = {}
        self._renewals: set[_Key] = set()
        self._listeners: list[Listener] = []
        self._meta = Follower(
            self._ground,
            config.meta_table,
            began=self._read_meta,
            changed=self._meta_changed,
        )
        self._followers = [self._meta, *(self._follower(one) for one in config.bound)]
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.policy_trouble: dict[str, str] = {}
        """Why a policy that was set is not gone by, by its name; the one before it is."""

    # --- life ------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Begin to follow. It returns whether or not GlobalTable can be reached."""
        assert not self._tasks and not self._closed, "opened twice"
        self._tasks = [asyncio.create_task(one.run()) for one in self._followers]
        for task in self._tasks:
            task.add_done_callback(_log_end)
        waiting = [asyncio.create_task(one.follows.wait()) for one in self._followers]
        await asyncio.wait(waiting, timeout=META_WAIT_S)
        for one in waiting:
            one.cancel()
        return self

    async def close(self) -> None:
        """Let go of everything. Callers that wait are told `ClientClosed`."""
        self._closed = True
        tasks = [*self._tasks, *self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._ground.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- resolving -------------------------------------------------------------------------------

    async def resolve(
        self,
        dimension: str,
        key: str,
        context: Context = NO_CONTEXT,
        *,
        create: bool = True,
    ) -> Resolution:
        """The unit of a key, in any layer.

        In L2, a key that is not bound is bound where the policy proposes, unless somebody else was
        first; without `create`, `NotBound` is raised. Raises

        * `InvalidArgument`, `LimitExceeded`: of no dimension, no key, or too large a context;
        * `NoHome`: no rule of layer L1 knows the key;
        * `NoUnit`: no unit may be given it now;
        * `ConnectFailed`, `NoQuorum`, `Overloaded`, `DeadlineExceeded`, `OutcomeUnknown`: as
          GlobalTable raises them, if there is nothing to fall back upon (`Source`);
        * `ClientClosed`.
        """
        told = self.known(dimension, key, context)
        if told is not None:
            return told
        return await self._asked((dimension, key, create), context)

    def known(self, dimension: str, key: str, context: Context = NO_CONTEXT) -> Resolution | None:
        """The answer if it can be given at once, which asks nobody and awaits nothing; else None.

        What nears its end is renewed behind the caller's back.
        """
        now_s = self._clock()
        resolver = self.resolver
        told = resolver.at_once(dimension, key, context, now_s)
        if told is not None and resolver.is_due(told, now_s):
            self._renew((dimension, key, False))
        return told

    async def resolve_many(
        self,
        asked: Sequence[tuple[str, str, Context]],
        *,
        create: bool = True,
        timeout_s: float | None = None,
    ) -> list[Resolution | GlobalTableError]:
        """The same of many, in their order; of each its answer, or the error that `resolve` would
        raise. What is asked of GlobalTable travels together. What has no answer after `timeout_s`
        is an error, too: `OutcomeUnknown`, for it goes on."""
        answers: list[Resolution | GlobalTableError | None] = []
        flights: dict[int, asyncio.Task[Resolution]] = {}
        for at, (dimension, key, context) in enumerate(asked):
            try:
                told = self.known(dimension, key, context)
                answers.append(told)
                if told is None:
                    flights[at] = self._flight((dimension, key, create), context)
            except GlobalTableError as error:
                answers.append(error)
        if flights:
            await asyncio.wait(flights.values(), timeout=timeout_s)
        for at, task in flights.items():
            answers[at] = self._outcome(task) if task.done() else _late(asked[at][1], create)
        return [answer for answer in answers if answer is not None]

    @staticmethod
    def _outcome(task: asyncio.Task[Resolution]) -> Resolution | GlobalTableError:
        if task.cancelled():
            return ClientClosed("the router was closed")
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, GlobalTableError):
            return error
        raise error

    async def _asked(self, key: _Key, context: Context) -> Resolution:
        flight = self._flight(key, context)
        # One caller's cancellation is not the others'.
        await asyncio.wait([flight])
        outcome = self._outcome(flight)
        if isinstance(outcome, GlobalTableError):
            raise outcome
        return outcome

    def _flight(self, key: _Key, context: Context) -> asyncio.Task[Resolution]:
        """The question that is under way for a key; begun if there is none."""
        if self._closed:
            raise ClientClosed("the router is closed")
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MAX:
                raise Overloaded(f"{len(self._flights)} keys are being asked for", OUTAGE_S)
            dimension, name, create = key
            resolving = self.resolver.resolving(
                dimension, name, context, self._clock(), create=create
            )
            flight = self._flights[key] = asyncio.create_task(self._carry(resolving))
            flight.add_done_callback(lambda task: self._landed(key, task))
        return flight

    def _landed(self, key: _Key, task: asyncio.Task[Resolution]) -> None:
        del self._flights[key]
        self._renewals.discard(key)
        if not task.cancelled():
            task.exception()  # whoever waits is told; of a renewal nobody need be

    async def _carry(self, resolving: Resolving) -> Resolution:
        try:
            ask = next(resolving)
            while True:
                try:
                    answer = await self._ground.ask(ask)
                except GlobalTableError as error:
                    ask = resolving.throw(error)
                else:
                    ask = resolving.send(answer)
        except StopIteration as end:
            resolution: Resolution = end.value
            return resolution

    def _renew(self, key: _Key) -> None:
        if key not in self._flights and len(self._renewals) < RENEWALS_MAX and not self._closed:
            self._renewals.add(key)
            self._flight(key, NO_CONTEXT)

    # --- following -------------------------------------------------------------------------------

    @property
    def troubles(self) -> dict[str, str]:
        """What keeps it from being up to date: tables it cannot follow, policies it cannot read."""
        tables = {one.table: str(one.trouble) for one in self._followers if one.trouble is not None}
        return tables | {f"policy {name}": why for name, why in self.policy_trouble.items()}

    def listen(self, listener: Listener) -> None:
        """Tell of changes from now on."""
        self._listeners.append(listener)

    async def read_anew(self, dimension: str, keys: Iterable[str]) -> list[RouteChange]:
        """How some keys stand now: those that are bound."""
        one = self._config.dimension(dimension)
        if not isinstance(one, Bound):
            return []
        changes: list[RouteChange] = []
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), READ_ANEW_KEYS):
            some = wanted[start : start + READ_ANEW_KEYS]
            bindings = await self._ground.read(one.table, some)
            changes += self.resolver.read_anew(one.table, some, bindings, self._clock())
        return changes

    def _follower(self, dimension: Bound) -> Follower:
        async def began() -> None:
            keys = [*self.resolver.held(dimension.table)]
            for listener in self._listeners:
                keys += listener.held(dimension.name)
            self._tell(await self.read_anew(dimension.name, keys))

        async def changed(change: Change) -> None:
            unit = None if change.kind is ChangeKind.UNBOUND else change.unit
            now_s = self._clock()
            self._tell(
                [self.resolver.changed(dimension.table, change.key, unit, change.version, now_s)]
            )

        return Follower(self._ground, dimension.table, began=began, changed=changed)

    def _tell(self, changes: list[RouteChange]) -> None:
        for change in changes:
            for listener in self._listeners:
                listener.changed(change)

    async def _read_meta(self) -> None:
        await self._read_drained()
        for name in self._config.policies:
            await self._read_policy(name)

    async def _meta_changed(self, change: Change) -> None:
        if change.key.startswith(shared.UNIT_PREFIX):
            await self._read_drained()
        elif change.key.startswith(shared.POLICY_PREFIX):
            await self._read_policy(change.key.removeprefix(shared.POLICY_PREFIX))

    async def _read_drained(self) -> None:
        # By name and behind a barrier: a scan of another node than the watch's may be behind it.
        keys = {shared.UNIT_PREFIX + unit: unit for unit in self._config.fleet.units}
        bindings = await self._ground.read(self._config.meta_table, list(keys))
        self.resolver.fleet = self.resolver.fleet.with_drained(
            keys[key] for key, one in bindings.items() if one.unit == UnitState.DRAINED.value
        )

    async def _read_policy(self, name: str) -> None:
        """Adopt a policy as it was set. What cannot be read is not gone by, and said to be so."""
        if name not in self._config.policies:
            return  # of a newer configuration than this router's, which has no use for it
        client = await self.meta()
        stored = await shared.read_text(client, shared.POLICY_PREFIX + name)
        try:
            policy = (
                self._config.policies[name]
                if stored is None
                else policy_text.parse_json(f"policy {name!r}", stored.text)
            )
        except ConfigError as error:
            self.policy_trouble[name] = str(error)
            return
        self.resolver.policies[name] = policy
        self.policy_trouble.pop(name, None)

    # --- what routers share ----------------------------------------------------------------------

    async def meta(self) -> GlobalTable:
        """The open client of `routing.meta`. Raises `ConnectFailed`."""
        return await self._ground.client(self._config.meta_table)

    async def policy(self, name: str) -> shared.Stored:
        """A policy as it is gone by: that which was set, or that of the file, at version 0."""
        self._require_policy(name)
        client = await self.meta()
        stored = await shared.read_text(client, shared.POLICY_PREFIX + name)
        return stored or shared.Stored(policy_text.to_json(self._config.policies[name]), 0)

    async def set_policy(self, name: str, text: str, version: int) -> shared.Stored:
        """Set a policy, in JSON, for all routers, if it is still at `version`; 0 if it was never
        set. Raises `ConfigError` if it is none, `PolicyChanged`, and what GlobalTable does."""
        self._require_policy(name)
        setting = f"policy {name!r}"
        policy = policy_text.parse_json(setting, text)
        policy_text.require_known(setting, policy, self._config.fleet, self._config.homes.keys())
        client = await self.meta()
        written = policy_text.to_json(policy)
        try:
            return await shared.write_text(client, shared.POLICY_PREFIX + name, written, version)
        except (VersionConflict, NotBound) as error:
            now = error.current.version if isinstance(error, VersionConflict) else 0
            raise PolicyChanged(
                f"{setting} is at version {now}, not at version {version}; get it, decide anew"
            ) from error

    async def drain(self, unit: str, drained: bool) -> None:
        """Give a unit no new sessions, or again some, for all routers."""
        self._config.fleet.require("unit", unit)
        client = await self.meta()
        await shared.write_drained(client, unit, drained)

    def _require_policy(self, name: str) -> None:
        if name not in self._config.policies:
            raise ConfigError(
                f"{name!r} is no policy; those there are: {', '.join(self._config.policies)}"
            )


def _late(key: str, create: bool) -> GlobalTableError:
    if create:
        return OutcomeUnknown(f"{key!r}: no answer yet; it may have been bound, ask again")
    return DeadlineExceeded(f"{key!r}: no answer yet; ask again")


def _log_end(task: asyncio.Task[None]) -> None:
    """A follower ends only when the router is closed: anything else is a mistake of ours."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("a table is not followed any more", exc_info=error)
