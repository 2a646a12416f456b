"""What a client of routers knows: its hottest routes, what it holds of them, and what is to be
asked. No I/O.

Responsible for everything about a client that does not depend on how one waits for an answer:
`RouteClient` and `SyncRouteClient` are shells over it.

Invariants:

* a route never goes back to an older version while it is kept (`RouteCache`);
* all that is kept is held, so that a router tells of its changes; what is held and was evicted is
  let go of before it is an eighth of what may be kept.

Not thread-safe: for one event loop, or a lock around it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from globaltable import validation
from globaltable.errors import (
    GlobalTableError,
    InvalidArgument,
    NotBound,
    OutcomeUnknown,
    ProtocolError,
    Unavailable,
)
from globaltable.routing.context import Context
from globaltable.routing.resolution import NoHome, NoUnit, Source
from globaltable.routing.resolving import OUTAGE_S
from globaltable.routing.route import Route
from globaltable.routing.route_cache import CachedRoute, RouteCache
from globaltable.v1 import routing_pb2 as pb

ROUTES_MAX_DEFAULT: Final = 4_096
ROUTES_MAX: Final = 8_000
"""With what was evicted and not let go of yet, below what a stream may hold."""
GRACE_S_DEFAULT: Final = 86_400.0
RENEW_BELOW: Final = 0.2
"""A route is renewed in the last part of its life, when it is used."""

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


def require_routers(routers: object) -> None:
    """Refuse what is no list of addresses."""
    if isinstance(routers, str) or not routers:
        raise InvalidArgument(f"routers must be a list of addresses, not {routers!r}")


class RouteBook:
    """The knowledge of one client."""

    def __init__(
        self,
        routes_max: int,
        cache: RouteCache | None,
        grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        if not 1 <= routes_max <= ROUTES_MAX:
            raise InvalidArgument(f"routes_max must be 1 to {ROUTES_MAX}, not {routes_max!r}")
        self.cache: Final = cache if cache is not None else RouteCache(entries_max=routes_max)
        self.pushed = 0
        """Changes that routers told of by themselves."""
        self._routes_max = routes_max
        self._grace_s = grace_s
        self._clock = clock
        self._not_before_s = 0.0
        """While no router answers, when to ask again what somebody knows; else 0."""
        self._lives_s: dict[str, float] = {}
        """Of each dimension, how long its routes live from when they are made."""
        self._addresses: dict[str, str] = {}
        self._held: dict[_Name, None] = {}
        """What a router is to tell of, in the order in which it was learnt."""
        self._to_hold: list[_Name] = []
        for cached in self.cache:
            self._hold((cached.route.dimension, cached.route.key))

    # --- answers ---------------------------------------------------------------------------------

    def known(self, dimension: str, key: str) -> Told | None:
        """The route if it is known and has not expired."""
        cached = self.cache.find(dimension, key, self._clock())
        return None if cached is None else self._told(cached, Source.CACHE)

    def is_due(self, told: Told) -> bool:
        """Whether a known route should be renewed by now."""
        left_s = told.route.expires_at_s - self._clock()
        return left_s < RENEW_BELOW * self._lives_s.get(told.route.dimension, 0.0)

    def gone_on_with(self, dimension: str, key: str) -> Told | None:
        """The route that is gone by while no router answers, though it has expired."""
        cached = self.cache.last_known(dimension, key)
        if cached is None or self._clock() >= cached.route.expires_at_s + self._grace_s:
            return None
        return self._told(cached, Source.GRACE)

    def at_hand(self, dimension: str, key: str) -> tuple[Told | None, bool]:
        """What is told without a question, if anything is; and whether somebody should ask all the
        same, for whom nobody waits."""
        told = self.known(dimension, key)
        if told is not None:
            return told, self.is_due(told)
        told = self.gone_on_with(dimension, key) if self.is_cut_off else None
        return told, told is not None

    def _told(self, cached: CachedRoute, source: Source) -> Told:
        return Told(*cached, source, self._addresses.get(cached.route.unit, ""))

    # --- questions -------------------------------------------------------------------------------

    @property
    def is_cut_off(self) -> bool:
        """Whether no router has answered when one was asked last."""
        return bool(self._not_before_s)

    def may_ask(self) -> bool:
        """Whether to ask what somebody knows: while no router answers, only now and then."""
        return self._clock() >= self._not_before_s

    def reached(self) -> None:
        """A router has answered."""
        self._not_before_s = 0.0

    def unreached(self) -> None:
        """None has."""
        self._not_before_s = self._clock() + OUTAGE_S

    @staticmethod
    def query(dimension: str, key: str, context: Context) -> pb.RouteQuery:
        """The question for a key. Raises `InvalidArgument`, `LimitExceeded`."""
        validation.require_key(key)
        context.require_valid()
        return pb.RouteQuery(
            dimension=dimension,
            key=key,
            region=context.region,
            creator=context.creator,
            attributes=context.attributes,
        )

    def outcome(self, result: pb.RouteResult, key: str) -> Told | GlobalTableError:
        """Take a router's answer in: the route, or the error that it stands for."""
        if result.failure:
            return _error(result, key)
        source = SOURCE_OF.get(result.source)
        message = result.route
        if source is None or not message.unit:
            return ProtocolError(f"the router sent a route of source {result.source}: {message}")
        if result.layer == pb.LAYER_L2 and message.version:
            try:
                self._keep(message, fresh=source in (Source.READ, Source.CREATED))
            except ProtocolError as error:
                return error
            self._hold((message.dimension, message.key))
        return Told(_route(message), message.header or None, source, message.address)

    def outcomes(
        self, response: pb.ResolveResponse, keys: list[str]
    ) -> list[Told | GlobalTableError]:
        """The same of many, in their order. Raises `ProtocolError` if they are not as many."""
        if len(response.results) != len(keys):
            raise ProtocolError(
                f"the router sent {len(response.results)} results for {len(keys)} queries"
            )
        return [
            self.outcome(result, key) for result, key in zip(response.results, keys, strict=True)
        ]

    def _keep(self, message: pb.Route, *, fresh: bool) -> None:
        route = _route(message)
        try:
            self.cache.put(route, message.header or None)
        except InvalidArgument as error:
            raise ProtocolError(f"the router sent what is no route: {error}") from error
        if fresh:
            self._lives_s[route.dimension] = route.expires_at_s - self._clock()
        self._addresses[route.unit] = message.address

    # --- changes ---------------------------------------------------------------------------------

    def _hold(self, name: _Name) -> None:
        if name not in self._held:
            self._held[name] = None
            self._to_hold.append(name)

    @property
    def has_to_hold(self) -> bool:
        """Whether a router is to be told of more."""
        return bool(self._to_hold)

    def hold_all(self) -> pb.WatchRoutesRequest:
        """What a new stream begins with: all that is held, with the versions known by now."""
        self._to_hold = list(self._held)
        return self.hold_more()

    def hold_more(self) -> pb.WatchRoutesRequest:
        """What a stream is to be told: what it is to tell of, too, and what was evicted since."""
        request = pb.WatchRoutesRequest()
        if len(self._held) > self._routes_max + self._routes_max // 8 + 16:
            kept = {(one.route.dimension, one.route.key) for one in self.cache}
            for name in [one for one in self._held if one not in kept]:
                del self._held[name]
                request.release.append(pb.HeldKey(dimension=name[0], key=name[1]))
        for name in self._to_hold:
            if name in self._held:
                cached = self.cache.last_known(*name)
                version = cached.route.version if cached is not None else 0
                held = pb.HeldKey(dimension=name[0], key=name[1], version=version)
                request.hold.append(held)
        self._to_hold = []
        return request

    def changed(self, message: pb.WatchRoutesResponse) -> None:
        """Take in what a router tells by itself. Raises `ProtocolError`."""
        for update in message.updates:
            route = update.route
            self.pushed += 1
            if route.unit:
                self._keep(route, fresh=True)
                continue
            try:
                self.cache.outdate(route.dimension, route.key, route.version)
            except InvalidArgument as error:
                raise ProtocolError(f"the router sent what is no route: {error}") from error


def _route(message: pb.Route) -> Route:
    return Route(
        message.dimension, message.key, message.unit, message.version, message.expires_at_s
    )


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
