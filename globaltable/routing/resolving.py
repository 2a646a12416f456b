"""How a key finds its unit: what is answered at once, what is asked, and what when nobody answers.

Responsible for every decision of a router; it does no I/O and looks at no clock. What must be asked
of GlobalTable it yields (`Ask`), and is sent the answer, or the error thrown; the shells in
`routing.client` carry that out, with tasks or with threads.

Invariants:

* A key that is bound is never answered with a unit that GlobalTable has not named. What is placed
  without GlobalTable says so (`Source.PROVISIONAL`), carries version 0 and no header, and is not
  kept as a route.
* Of a key, the version never falls from one answer to the next while it is kept.
* A header is signed for what GlobalTable has said since, and lives from before the question. It may
  be old all the same, for a replica or a watch may be behind: what a unit may serve is for its own
  fence to say. What is gone on with past its expiry is not signed anew.
* A route lives for `ttl_s` from when its asking began, never longer. If the answers took longer
  than that, it has expired when it is handed out; what comes of the cache has not.
"""

import zlib
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterable, Mapping
from typing import Final

from globaltable import validation
from globaltable.errors import (
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    NotBound,
    Unavailable,
)
from globaltable.model import Binding
from globaltable.routing import rendezvous, static_rules
from globaltable.routing.config import (
    Bound,
    Layer,
    Nearest,
    RoutingConfig,
    Static,
    Unreachable,
)
from globaltable.routing.context import Context
from globaltable.routing.fleet import Fleet
from globaltable.routing.policies import Policy, Question
from globaltable.routing.resolution import (
    Answer,
    Ask,
    NoHome,
    NoUnit,
    Resolution,
    Resolving,
    RouteChange,
    Signer,
    Source,
    Verb,
)
from globaltable.routing.route import Route
from globaltable.routing.route_cache import BYTES_MIN, CachedRoute, RouteCache

FALLBACK_TIMEOUT_S: Final = 0.5
"""How long GlobalTable may take if there is something to fall back upon."""
ROUTE_BYTES: Final = 1_024
"""Room for each route that is kept, by which those of long names give way sooner."""
OUTAGE_S: Final = 1.0
"""For how long after a failure it is not asked again, if there is something to fall back upon."""
RENEWAL_FROM: Final = 0.75
RENEWAL_SPREAD: Final = 0.15
"""A route is renewed after this part of its life, and up to so much more: routers that learnt of a
key at one moment do not all ask for it at another."""


Unreached = (Unavailable, DeadlineExceeded)


class _Outage:
    """Whether a kind of question goes unanswered: since the last one failed, and until one does
    not. It is not asked again all the time: `lasts` says when not yet."""

    def __init__(self) -> None:
        self.is_on = False
        self._until_s = 0.0

    def failed(self, now_s: float) -> None:
        self.is_on = True
        self._until_s = now_s + OUTAGE_S

    def answered(self) -> None:
        self.is_on = False
        self._until_s = 0.0

    def lasts(self, now_s: float) -> bool:
        return now_s < self._until_s


def route_cache(config: RoutingConfig) -> RouteCache:
    """An empty cache of the size that is configured."""
    return RouteCache(
        entries_max=config.cached_max, bytes_max=max(config.cached_max * ROUTE_BYTES, BYTES_MIN)
    )


class Resolver:
    """The decisions of one router. For one event loop, or a lock around it."""

    def __init__(
        self,
        config: RoutingConfig,
        *,
        signer: Signer | None = None,
        cache: RouteCache | None = None,
        salt: int = 0,
    ) -> None:
        """`salt` is any number, another one for each router: renewals are spread by it."""
        self.config: Final = config
        self.fleet: Fleet = config.fleet
        self.policies: dict[str, Policy] = dict(config.policies)
        self.cache: Final = cache if cache is not None else route_cache(config)
        self.answered: Final[Counter[Source]] = Counter()
        """How many answers came from where, but for `hits`: for a metric."""
        self.hits = 0
        """Answers from the cache: apart, for to hash an enum costs a tenth of such an answer."""
        self._renew_below_s = {
            one.name: one.ttl_s * (1.0 - RENEWAL_FROM) for one in config.dimensions.values()
        }
        self.unsigned: Final[Counter[str]] = Counter()
        """Routes that could not be signed, by the error's name: for a metric."""
        self._signer = signer
        self._salt = salt
        self._homes = config.homes
        self._by_table = {one.table: one for one in config.bound}
        self._reads, self._binds, self._signatures = _Outage(), _Outage(), _Outage()
        self._placed: OrderedDict[tuple[str, str], str] = OrderedDict()
        """Units that keys were placed in provisionally: they are bound there if nobody was first,
        for that is where their messages are. At most as many as routes are kept."""

    # --- at once ---------------------------------------------------------------------------------

    def at_once(
        self, dimension: str, key: str, context: Context, now_s: float
    ) -> Resolution | None:
        """The answer that needs nobody to be asked. Raises `InvalidArgument`, `NoHome`, `NoUnit`.

        It may be due for renewal all the same (`is_due`).
        """
        cached = self.cache.find(dimension, key, now_s)
        if cached is not None:
            self.hits += 1
            return Resolution(cached.route, Layer.L2, Source.CACHE, cached.header)
        one = self.config.dimension(dimension)
        validation.require_key(key)
        context.require_valid()
        match one:
            case Nearest():
                unit = self._nearest(one, key, context)
            case Static():
                found = static_rules.unit_of(one.rules, key)
                if found is None:
                    raise NoHome(f"no rule of {dimension!r} knows {key!r}; add one that does")
                unit = found
            case Bound():
                # While GlobalTable does not answer, nobody waits for it who need not.
                return self._gone_on_with(one, key, now_s) if self._reads.is_on else None
        self.answered[Source.RULE] += 1
        route = Route(dimension, key, unit, 0, int(now_s + one.ttl_s))
        return Resolution(route, one.layer, Source.RULE)

    def _gone_on_with(self, dimension: Bound, key: str, now_s: float) -> Resolution | None:
        known = self.cache.last_known(dimension.name, key)
        if known is not None:
            if now_s >= known.route.expires_at_s + dimension.grace_s:
                return None
            self.answered[Source.GRACE] += 1
            return Resolution(known.route, Layer.L2, Source.GRACE, known.header)
        placed = self._placed.get((dimension.name, key))
        return None if placed is None else self._provisional(dimension, key, placed, now_s)

    def _provisional(self, dimension: Bound, key: str, unit: str, now_s: float) -> Resolution:
        self.answered[Source.PROVISIONAL] += 1
        route = Route(dimension.name, key, unit, 0, int(now_s + OUTAGE_S) + 1)
        return Resolution(route, Layer.L2, Source.PROVISIONAL)

    def _nearest(self, dimension: Nearest, key: str, context: Context) -> str:
        units = self.fleet.nearest(context.region or self.config.region, dimension.among)
        unit = rendezvous.chosen(key, ((one.name, one.capacity) for one in units))
        if unit is None:
            raise NoUnit(f"no unit of {dimension.name!r} serves: {self._how_units_fare()}")
        return unit

    def is_due(self, resolution: Resolution, now_s: float) -> bool:
        """Whether an answer should be renewed by now: it nears its end, or lacks a header, or was
        given because GlobalTable did not answer, which it may by now."""
        route, _, source, header = resolution
        if source is not Source.CACHE:
            gone_on_with = source is Source.GRACE or source is Source.PROVISIONAL
            return gone_on_with and not self._reads.lasts(now_s)
        if header is None and self._signer is not None:
            return not self._signatures.lasts(now_s)
        left_s = route.expires_at_s - now_s
        below_s = self._renew_below_s.get(route.dimension, 0.0)
        if left_s > below_s:
            return False
        share = (zlib.crc32(route.key.encode()) ^ self._salt) % 1_024 / 1_024
        return left_s <= below_s * (1.0 - RENEWAL_SPREAD / (1.0 - RENEWAL_FROM) * share)

    # --- what must be asked ----------------------------------------------------------------------

    def resolving(
        self, dimension: str, key: str, context: Context, now_s: float, *, create: bool = True
    ) -> Resolving:
        """Ask GlobalTable for a key of layer L2, and bind it where the policy proposes if nobody
        has; without `create`, raise `NotBound`.

        Raises what GlobalTable does if it cannot be asked and nothing is to be gone on with.
        """
        one = self.config.dimension(dimension)
        if not isinstance(one, Bound):
            raise InvalidArgument(f"{dimension!r} is of layer {one.layer.value}: nothing is bound")
        known = self.cache.last_known(dimension, key)
        may_fall_back = self._may_fall_back(one, known, now_s, create)
        if may_fall_back and self._reads.lasts(now_s):
            return self._fallen_back(one, key, context, known, now_s)
        timeout_s = FALLBACK_TIMEOUT_S if may_fall_back else None
        try:
            told = yield from self._read(one, key, known, now_s, timeout_s)
            if told is not None:
                return told
            if not create:
                raise NotBound(key)
            if may_fall_back and self._binds.lasts(now_s):
                return self._fallen_back(one, key, context, known, now_s)
            unit = self._proposed(one, key, context)
            return (yield from self._bind(one, key, unit, now_s, timeout_s))
        except Unreached as error:
            if not may_fall_back or isinstance(error, NoUnit):
                raise
            return self._fallen_back(one, key, context, known, now_s)

    def _read(
        self,
        dimension: Bound,
        key: str,
        known: CachedRoute | None,
        now_s: float,
        timeout_s: float | None,
    ) -> Generator[Ask, Answer, Resolution | None]:
        table = dimension.table
        try:
            binding = (yield Ask(Verb.READ, table, key, timeout_s=timeout_s)).binding
        except Unreached:
            self._reads.failed(now_s)
            raise
        self._reads.answered()
        if known is not None and (binding is None or binding.version < known.route.version):
            # The replica is behind what was known here; or the key was unbound; or the cluster was
            # recovered from a survivor that had not heard of that version.
            ask = Ask(Verb.READ_BEHIND_BARRIER, table, key, timeout_s=timeout_s)
            binding = (yield ask).binding
            if binding is None or binding.version < known.route.version:
                self.cache.forget(dimension.name, key)
        if binding is None:
            return None
        return self._learnt(dimension, key, binding, now_s, Source.READ)

    def _bind(
        self, dimension: Bound, key: str, unit: str, now_s: float, timeout_s: float | None
    ) -> Resolving:
        try:
            binding = (yield Ask(Verb.BIND, dimension.table, key, unit, timeout_s)).binding
        except Unreached:
            self._binds.failed(now_s)
            raise
        self._binds.answered()
        assert binding is not None, (dimension, key)
        self._placed.pop((dimension.name, key), None)
        source = Source.CREATED if binding.created else Source.READ
        return self._learnt(dimension, key, binding, now_s, source)

    # --- what was learnt -------------------------------------------------------------------------

    def _learnt(
        self, dimension: Bound, key: str, binding: Binding, asked_s: float, source: Source
    ) -> Resolution:
        route = self._route(dimension, key, binding.unit, binding.version, asked_s)
        kept = self._keep(route, asked_s)
        self.answered[source] += 1
        return Resolution(kept.route, Layer.L2, source, kept.header)

    def _keep(self, route: Route, asked_s: float) -> CachedRoute:
        """Keep a route with its header; what is kept by then, if a watch was faster."""
        made = CachedRoute(route, self._signed(route, asked_s))
        if not self.cache.put(*made):
            newer = self.cache.find(route.dimension, route.key, asked_s)
            if newer is not None and newer.route.version > route.version:
                return newer
        return made

    @staticmethod
    def _route(dimension: Bound, key: str, unit: str, version: int, asked_s: float) -> Route:
        return Route(dimension.name, key, unit, version, int(asked_s + dimension.ttl_s))

    def _signed(self, route: Route, asked_s: float) -> bytes | None:
        if self._signer is None:
            return None
        try:
            return self._signer.sign(route, asked_s)
        except GlobalTableError as error:
            # The route is right all the same, and the unit knows what it owns.
            self.unsigned[type(error).__name__] += 1
            self._signatures.failed(asked_s)
            return None

    # --- when nobody answers ---------------------------------------------------------------------

    def _may_fall_back(
        self, dimension: Bound, known: CachedRoute | None, now_s: float, create: bool
    ) -> bool:
        if known is not None and now_s < known.route.expires_at_s + dimension.grace_s:
            return True
        return create and dimension.unreachable is Unreachable.PROVISIONAL

    def _fallen_back(
        self,
        dimension: Bound,
        key: str,
        context: Context,
        known: CachedRoute | None,
        now_s: float,
    ) -> Resolution:
        # A watch may have told of it meanwhile.
        known = self.cache.last_known(dimension.name, key) or known
        if known is not None:
            # However old: it is never placed anew as long as it is known to be bound.
            self.answered[Source.GRACE] += 1
            return Resolution(known.route, Layer.L2, Source.GRACE, known.header)
        unit = self._proposed(dimension, key, context)
        self._placed[dimension.name, key] = unit
        if len(self._placed) > self.config.cached_max:
            self._placed.popitem(last=False)
        return self._provisional(dimension, key, unit, now_s)

    def _proposed(self, dimension: Bound, key: str, context: Context) -> str:
        placed = self._placed.get((dimension.name, key))
        if placed is not None:
            return placed
        if not context.region:
            context = context._replace(region=self.config.region)
        policy = self.policies[dimension.policy]
        unit = policy.propose(Question(dimension.name, key, context, self.fleet, self._homes))
        if unit is None:
            raise NoUnit(
                f"policy {dimension.policy!r} has no unit for {key!r}: {self._how_units_fare()}"
            )
        return unit

    def _how_units_fare(self) -> str:
        return ", ".join(f"{name} is {self.fleet.state(name).value}" for name in self.fleet.units)

    # --- what a watch tells ----------------------------------------------------------------------

    def changed(
        self, table: str, key: str, unit: str | None, version: int, now_s: float
    ) -> RouteChange:
        """A key is bound to another unit now, or to none: what is kept of it follows."""
        return self._follow(self._by_table[table], key, unit, version, now_s)

    def route_of(self, change: RouteChange, now_s: float) -> CachedRoute | None:
        """The route that a change has made, signed; None if the key is bound no more."""
        if change.unit is None:
            return None
        cached = self.cache.find(change.dimension, change.key, now_s)
        if cached is not None and cached.route.version >= change.version:
            return cached
        dimension = self.config.dimension(change.dimension)
        assert isinstance(dimension, Bound), change
        route = self._route(dimension, change.key, change.unit, change.version, now_s)
        return self._keep(route, now_s)

    def held(self, table: str) -> list[str]:
        """The keys of a table of which routes are kept: to be read anew if changes were missed."""
        dimension = self._by_table[table].name
        return [one.route.key for one in self.cache if one.route.dimension == dimension]

    def read_anew(
        self, table: str, keys: Iterable[str], bindings: Mapping[str, Binding], now_s: float
    ) -> list[RouteChange]:
        """What the bindings of some keys are now, as if a watch had told of them."""
        dimension = self._by_table[table]
        return [
            self._follow(dimension, key, bindings[key].unit, bindings[key].version, now_s)
            for key in keys
            if key in bindings
        ]

    def _follow(
        self, dimension: Bound, key: str, unit: str | None, version: int, now_s: float
    ) -> RouteChange:
        known = self.cache.last_known(dimension.name, key)
        if known is not None and known.route.version < version:
            if unit is None:
                self.cache.outdate(dimension.name, key, version)
            else:
                self._keep(self._route(dimension, key, unit, version, now_s), now_s)
        return RouteChange(dimension.name, key, unit, version)
