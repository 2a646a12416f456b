"""A client of routers: its hottest routes, kept up to date by their stream, and gone on with when
no router answers.

::

    async with RouteClient(["router-1:7301", "router-2:7301"]) as routes:
        told = await routes.resolve("chat", "cid:1001", Context(region="beijing"))
        send(told.address, message, told.header)

Responsible for asking as little as can be: what is known is answered from memory; what is asked for
in one turn of the loop travels together; one stream tells of changes of all that is held. When a
router is lost the next one is asked, and told which versions are held: so nothing is missed.

Invariant: a route never goes back to an older version while it is kept (`RouteCache`).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc

from globaltable import validation
from globaltable.client import ClientClosed
from globaltable.errors import (
    ConnectFailed,
    GlobalTableError,
    InvalidArgument,
    NotBound,
    OutcomeUnknown,
    ProtocolError,
    Unavailable,
)
from globaltable.routing.context import NO_CONTEXT, Context
from globaltable.routing.resolution import NoHome, NoUnit, Source
from globaltable.routing.resolving import OUTAGE_S
from globaltable.routing.route import Route
from globaltable.routing.route_cache import RouteCache
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc

ROUTES_MAX_DEFAULT: Final = 4_096
ROUTES_MAX: Final = 8_000
"""With what was evicted and not let go of yet, below what a stream may hold."""
GRACE_S_DEFAULT: Final = 86_400.0
RENEW_BELOW: Final = 0.2
"""A route is renewed in the last part of its life, when it is used."""
PAUSE_MIN_S: Final = 0.05
PAUSE_MAX_S: Final = 2.0
_QUERIES_MAX: Final = 1_024
_log: Final = logging.getLogger(__name__)
_END: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]

SOURCE_OF: Final = {
    pb.ROUTE_SOURCE_RULE: Source.RULE,
    pb.ROUTE_SOURCE_CACHE: Source.CACHE,
    pb.ROUTE_SOURCE_READ: Source.READ,
    pb.ROUTE_SOURCE_CREATED: Source.CREATED,
    pb.ROUTE_SOURCE_GRACE: Source.GRACE,
    pb.ROUTE_SOURCE_PROVISIONAL: Source.PROVISIONAL,
}
_Name = tuple[str, str]


class Told(NamedTuple):
    """A route, as a client goes by it. `address` is the unit's, if it is configured."""

    route: Route
    header: bytes | None
    source: Source
    address: str


class _Asked(NamedTuple):
    query: pb.RouteQuery
    create: bool
    answer: "asyncio.Future[pb.RouteResult]"


class RouteClient:
    """Finds units by asking routers. For the tasks of one event loop."""

    def __init__(
        self,
        routers: Sequence[str],
        *,
        routes_max: int = ROUTES_MAX_DEFAULT,
        cache: RouteCache | None = None,
        timeout_s: float = 5.0,
        grace_s: float = GRACE_S_DEFAULT,
        credentials: grpc.ChannelCredentials | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`routers` are asked in turn as they fail. At most `routes_max` routes are kept; `cache`
        may hold those of a former run. A route is gone on with for `grace_s` past its expiry while
        no router answers."""
        if isinstance(routers, str) or not routers:
            raise InvalidArgument(f"routers must be a list of addresses, not {routers!r}")
        if not 1 <= routes_max <= ROUTES_MAX:
            raise InvalidArgument(f"routes_max must be 1 to {ROUTES_MAX}, not {routes_max!r}")
        self.cache: Final = cache if cache is not None else RouteCache(entries_max=routes_max)
        self._routes_max = routes_max
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._clock = clock
        self._channels = [
            grpc.aio.insecure_channel(one)
            if credentials is None
            else grpc.aio.secure_channel(one, credentials)
            for one in routers
        ]
        self._stubs: list[Any] = [
            pb_grpc.RoutingServiceStub(one)  # type: ignore[arg-type]
            for one in self._channels
        ]
        self._current = 0
        self._not_before_s = 0.0
        """While no router answers, when to ask again what somebody knows; else 0."""
        self._lives_s: dict[str, float] = {}
        """Of each dimension, how long its routes live from when they are made."""
        self._addresses: dict[str, str] = {}
        self._waiting: list[_Asked] = []
        self._flights: dict[tuple[_Name, bool], asyncio.Future[pb.RouteResult]] = {}
        self._held: dict[_Name, None] = {}
        """What the stream has been told to follow, in that order."""
        self._to_hold: list[_Name] = []
        self._stream_is_due = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.pushed = 0
        """Changes that the stream told."""

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._begin(self._follow())
        for cached in self.cache:
            self._hold((cached.route.dimension, cached.route.key))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        for flight in list(self._flights.values()):
            if not flight.done():
                flight.set_exception(ClientClosed("the client was closed"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close(None)

    def _begin(self, doing: Any) -> None:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- resolving -------------------------------------------------------------------------------

    def known(self, dimension: str, key: str) -> Told | None:
        """The route if it is known and has not expired; awaits nothing."""
        now_s = self._clock()
        cached = self.cache.find(dimension, key, now_s)
        if cached is None:
            return None
        return Told(*cached, Source.CACHE, self._addresses.get(cached.route.unit, ""))

    async def resolve(
        self, dimension: str, key: str, context: Context = NO_CONTEXT, *, create: bool = True
    ) -> Told:
        """The unit of a key, in any layer: see `Router.resolve`, which decides. Raises what that
        raises; `ConnectFailed` if no router answers and nothing is known."""
        told = self.known(dimension, key)
        if told is None:
            return await self._ask(dimension, key, context, create)
        left_s = told.route.expires_at_s - self._clock()
        if left_s < RENEW_BELOW * self._lives_s.get(dimension, 0.0):
            self._renew(dimension, key)
        return told

    def _renew(self, dimension: str, key: str) -> None:
        if not self._closed and self._clock() >= self._not_before_s:
            self._flight(dimension, key, NO_CONTEXT, False)

    async def _ask(self, dimension: str, key: str, context: Context, create: bool) -> Told:
        validation.require_key(key)
        context.require_valid()
        known = self.cache.last_known(dimension, key)
        if known is not None and self._not_before_s and self._is_in_grace(known.route):
            # Somebody asks all the same, but nobody waits for it who need not.
            self._renew(dimension, key)
            return Told(*known, Source.GRACE, self._addresses.get(known.route.unit, ""))
        try:
            # One caller's cancellation is not the others'.
            result = await asyncio.shield(self._flight(dimension, key, context, create))
        except Unavailable:
            if known is None or not self._is_in_grace(known.route):
                raise
            return Told(*known, Source.GRACE, self._addresses.get(known.route.unit, ""))
        return _told(result)

    def _is_in_grace(self, route: Route) -> bool:
        return self._clock() < route.expires_at_s + self._grace_s

    def _flight(
        self, dimension: str, key: str, context: Context, create: bool
    ) -> "asyncio.Future[pb.RouteResult]":
        if self._closed:
            raise ClientClosed("the client is closed")
        name = ((dimension, key), create)
        flight = self._flights.get(name)
        if flight is None:
            query = pb.RouteQuery(
                dimension=dimension,
                key=key,
                region=context.region,
                creator=context.creator,
                attributes=context.attributes,
            )
            flight = self._flights[name] = asyncio.get_running_loop().create_future()
            flight.add_done_callback(lambda one: self._landed(name, one))
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._send)
            self._waiting.append(_Asked(query, create, flight))
        return flight

    def _landed(self, name: tuple[_Name, bool], flight: "asyncio.Future[pb.RouteResult]") -> None:
        del self._flights[name]
        if not flight.cancelled():
            flight.exception()  # whoever waits is told; of a renewal nobody need be

    def _send(self) -> None:
        """Ask for all that waits, in as few calls as may be."""
        waiting, self._waiting = self._waiting, []
        for create in (True, False):
            some = [one for one in waiting if one.create is create]
            for start in range(0, len(some), _QUERIES_MAX):
                if not self._closed:
                    self._begin(self._carry(some[start : start + _QUERIES_MAX], create))

    async def _carry(self, asked: list[_Asked], create: bool) -> None:
        request = pb.ResolveRequest(queries=[one.query for one in asked], lookup=not create)
        try:
            response = await self._called(request)
            if len(response.results) != len(asked):
                raise ProtocolError(
                    f"the router sent {len(response.results)} results for {len(asked)} queries"
                )
        except GlobalTableError as error:
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        for one, result in zip(asked, response.results, strict=True):
            refused = self._refused(result, one.query.key)
            if one.answer.done():
                continue
            if refused is not None:
                one.answer.set_exception(refused)
            else:
                one.answer.set_result(result)

    def _refused(self, result: pb.RouteResult, key: str) -> GlobalTableError | None:
        """Take an answer in; the error if it is none."""
        if result.failure:
            return _error(result, key)
        try:
            self._learn(result)
        except ProtocolError as error:
            return error
        return None

    async def _called(self, request: pb.ResolveRequest) -> pb.ResolveResponse:
        """Ask one router after another. A query may be asked twice: a bind is safe to repeat."""
        last: grpc.aio.AioRpcError | None = None
        for _ in self._stubs:
            at = self._current
            try:
                response: pb.ResolveResponse = await self._stubs[at].Resolve(
                    request, timeout=self._timeout_s
                )
            except grpc.aio.AioRpcError as error:
                last = error
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidArgument(error.details() or "") from None
                self._leave(at)
            else:
                self._not_before_s = 0.0
                return response
        assert last is not None
        self._not_before_s = self._clock() + OUTAGE_S
        raise ConnectFailed(f"no router answers; the last said {last.code()}: {last.details()}")

    def _leave(self, router: int) -> None:
        """Go on at the next router, unless somebody has gone on already."""
        if self._current == router:
            self._current = (router + 1) % len(self._stubs)

    def _learn(self, result: pb.RouteResult) -> None:
        if result.layer != pb.LAYER_L2 or not result.route.version:
            return
        fresh = result.source in (pb.ROUTE_SOURCE_READ, pb.ROUTE_SOURCE_CREATED)
        self._keep(result.route, fresh=fresh)
        self._hold((result.route.dimension, result.route.key))

    def _keep(self, message: pb.Route, *, fresh: bool) -> None:
        route = _route(message)
        if fresh:
            self._lives_s[route.dimension] = route.expires_at_s - self._clock()
        try:
            self.cache.put(route, message.header or None)
        except InvalidArgument as error:
            raise ProtocolError(f"the router sent what is no route: {error}") from error
        self._addresses[route.unit] = message.address

    # --- the stream ------------------------------------------------------------------------------

    def _hold(self, name: _Name) -> None:
        if name not in self._held:
            self._held[name] = None
            self._to_hold.append(name)
            self._stream_is_due.set()

    def _take_due(self) -> pb.WatchRoutesRequest:
        """What the stream is to be told: what to follow, and what has been evicted since."""
        request = pb.WatchRoutesRequest()
        if len(self._held) > self._routes_max + self._routes_max // 8 + 16:
            kept = {(one.route.dimension, one.route.key) for one in self.cache}
            for name in [one for one in self._held if one not in kept]:
                del self._held[name]
                request.release.append(pb.HeldKey(dimension=name[0], key=name[1]))
        for name in self._to_hold:
            if name in self._held:
                request.hold.append(self._held_key(name))
        self._to_hold.clear()
        self._stream_is_due.clear()
        return request

    def _held_key(self, name: _Name) -> pb.HeldKey:
        cached = self.cache.last_known(*name)
        version = cached.route.version if cached is not None else 0
        return pb.HeldKey(dimension=name[0], key=name[1], version=version)

    async def _follow(self) -> None:
        """One stream after another, each of which begins with the versions that are held."""
        pause_s = PAUSE_MIN_S
        while True:
            await self._stream_is_due.wait()
            at = self._current
            stream = self._stubs[at].WatchRoutes()
            reading = asyncio.create_task(self._read(stream))
            try:
                self._to_hold = list(self._held)
                while True:
                    await stream.write(self._take_due())
                    due = asyncio.create_task(self._stream_is_due.wait())
                    await asyncio.wait({reading, due}, return_when=asyncio.FIRST_COMPLETED)
                    due.cancel()
                    if reading.done():
                        break
                if reading.result():
                    pause_s = PAUSE_MIN_S
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # whatever ended it, the next one resumes it
            except ProtocolError as error:
                _log.error("a router is left: %s", error)
            finally:
                stream.cancel()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            self._leave(at)
            self._stream_is_due.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _read(self, stream: Any) -> bool:
        """Take in what a stream tells, until it ends; whether it had begun."""
        begun = False
        with contextlib.suppress(grpc.aio.AioRpcError):
            while (message := await stream.read()) is not _END:
                begun = True
                for update in message.updates:
                    self._update(update.route)
        return begun

    def _update(self, message: pb.Route) -> None:
        self.pushed += 1
        if message.unit:
            self._keep(message, fresh=True)
            return
        try:
            self.cache.outdate(message.dimension, message.key, message.version)
        except InvalidArgument as error:
            raise ProtocolError(f"the router sent what is no route: {error}") from error


def _route(message: pb.Route) -> Route:
    return Route(
        message.dimension, message.key, message.unit, message.version, message.expires_at_s
    )


def _told(result: pb.RouteResult) -> Told:
    source = SOURCE_OF.get(result.source)
    if source is None or not result.route.unit:
        raise ProtocolError(f"the router sent a route of source {result.source}: {result.route}")
    header = result.route.header or None
    return Told(_route(result.route), header, source, result.route.address)


def _error(result: pb.RouteResult, key: str) -> GlobalTableError:
    """The error that a router's answer stands for."""
    message = result.message
    match result.failure:
        case pb.ROUTE_FAILURE_NO_HOME:
            return NoHome(message)
        case pb.ROUTE_FAILURE_NOT_BOUND:
            return NotBound(key)
        case pb.ROUTE_FAILURE_NO_UNIT:
            return NoUnit(message)
        case pb.ROUTE_FAILURE_INVALID_ARGUMENT:
            return InvalidArgument(message)
        case pb.ROUTE_FAILURE_UNAVAILABLE:
            return Unavailable(message)
        case pb.ROUTE_FAILURE_UNKNOWN:
            return OutcomeUnknown(message)
        case _:
            return ProtocolError(f"the router says of {key!r}: {message}")
