"""A client's own memory of routes: the N hottest, so that most messages go out without a question.

Responsible for what is kept, what gives way, and for never going back to an older version of what
is kept. It asks nobody; what it says may be old, which costs a detour and nothing else.

Which gives way: SIEVE (Zhang et al., NSDI 2024). Entries stand in a queue by age; a hit only marks
its entry. Who must make room goes from the oldest on towards the newest, takes the mark from those
that have one and removes the first that has none. Sessions that are asked for once leave soon,
whatever else is going on, where LRU would let a scan push out the hot ones; a hit moves nothing.

Invariants:

* of an entry that is kept, the version never falls: neither by a late answer, nor by an old header,
  nor by a replica that is behind. What was evicted is forgotten, its version too; that an old route
  may then come back is what the unit's fence is for;
* at most `entries_max` entries, and about `bytes_max` bytes of memory, hints included.

Not thread-safe: for one event loop, or a lock around it.
"""

import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from globaltable import validation
from globaltable.errors import InvalidArgument, LimitExceeded
from globaltable.routing.header import HEADER_BYTES_MAX
from globaltable.routing.route import Route

ENTRIES_MAX_DEFAULT: Final = 10_000
BYTES_MAX_DEFAULT: Final = 16 * 1_048_576
BYTES_MIN: Final = 4_096
"""Of the bound: the largest entry fits, for the newcomer is the one that does not give way."""
ENTRY_BYTES: Final = 520
"""What an entry takes besides its strings: a slot, a route, a pair, two names and their places in
a dictionary. Measured by `tests/routing/test_route_cache.py`."""


class CachedRoute(NamedTuple):
    """A route, and the signed header to be sent along; None if there is none."""

    route: Route
    header: bytes | None = None


class _Slot:
    """A place in the queue. Without a route it is a hint: what is known of a key without one."""

    __slots__ = (
        "cached", "marked", "name", "newer", "older", "size", "unbound_until_s", "version_min",
    )  # fmt: skip

    def __init__(self, name: tuple[str, str]) -> None:
        self.name = name
        self.cached: CachedRoute | None = None
        self.version_min = 0
        """A route of a version below is refused."""
        self.unbound_until_s = 0.0
        self.marked = False
        self.size = 0
        self.older = self.newer = self


class RouteCache:
    """Routes by dimension and key."""

    def __init__(
        self, *, entries_max: int = ENTRIES_MAX_DEFAULT, bytes_max: int = BYTES_MAX_DEFAULT
    ) -> None:
        if entries_max < 1:
            raise InvalidArgument(f"entries_max must be at least 1, not {entries_max!r}")
        if bytes_max < BYTES_MIN:
            raise InvalidArgument(f"bytes_max must be at least {BYTES_MIN}, not {bytes_max!r}")
        self._entries_max: Final = entries_max
        self._bytes_max: Final = bytes_max
        self._slots: Final[dict[tuple[str, str], _Slot]] = {}
        self._ends: Final = _Slot(("", ""))
        """Before the oldest and behind the newest."""
        self._hand = self._ends
        self._bytes = 0
        self.evicted = 0
        """How many entries have given way."""

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def size_bytes(self) -> int:
        """About how much memory the entries take."""
        return self._bytes

    # --- asking ----------------------------------------------------------------------------------

    def find(self, dimension: str, key: str, now_s: float) -> CachedRoute | None:
        """The route of a key, if one is known that has not expired."""
        slot = self._slots.get((dimension, key))
        if slot is None:
            return None
        cached = slot.cached
        if cached is None or now_s >= cached.route.expires_at_s:
            return None
        slot.marked = True
        return cached

    def last_known(self, dimension: str, key: str) -> CachedRoute | None:
        """The route of a key, expired or not: for when nobody can be asked."""
        slot = self._slots.get((dimension, key))
        if slot is None:
            return None
        slot.marked = True
        return slot.cached

    def is_unbound(self, dimension: str, key: str, now_s: float) -> bool:
        """Whether it was said a short time ago that the key is not bound."""
        slot = self._slots.get((dimension, key))
        return slot is not None and slot.cached is None and now_s < slot.unbound_until_s

    def __iter__(self) -> Iterator[CachedRoute]:
        """All routes, those first that would be kept longest."""
        for marked in (True, False):
            slot = self._ends.older
            while slot is not self._ends:
                if slot.cached is not None and slot.marked is marked:
                    yield slot.cached
                slot = slot.older

    # --- telling ---------------------------------------------------------------------------------

    def put(self, route: Route, header: bytes | None = None) -> bool:
        """Keep a route; False if it is older than what is known.

        Of one version, the one stays that expires later. Raises `InvalidArgument` if it is no
        route, `LimitExceeded` if the header is longer than any is.
        """
        if header is not None and len(header) > HEADER_BYTES_MAX:
            raise LimitExceeded(
                f"a header of {len(header)} bytes; at most {HEADER_BYTES_MAX} are allowed"
            )
        _require_name(route.dimension, route.key)
        validation.require_unit(route.unit)
        validation.require_version(route.version)
        slot = self._slots.get((route.dimension, route.key))
        if slot is not None:
            if route.version < slot.version_min:
                return False
            old = slot.cached
            if (
                old is not None
                and old.route.version == route.version
                and old.route.expires_at_s > route.expires_at_s
            ):
                return False
        self._keep(route.dimension, route.key, CachedRoute(route, header), route.version, 0.0)
        return True

    def put_unbound(self, dimension: str, key: str, until_s: float, version: int = 0) -> bool:
        """Remember until then that a key is not bound; False if something newer is known.

        `version` is the version of the unbind, where it is known. Without, it is no news of a key
        whose route is known: the replica that says so may be behind.
        """
        _require_name(dimension, key)
        slot = self._slots.get((dimension, key))
        version_min = max(version, slot.version_min if slot is not None else 0)
        if slot is not None and slot.cached is not None and version <= slot.cached.route.version:
            return False
        if version and version < version_min:
            return False
        self._keep(dimension, key, None, version_min, until_s)
        return True

    def outdate(self, dimension: str, key: str, version: int) -> None:
        """Forget a route below `version`, and take none in: a unit, or a change, told of it."""
        _require_name(dimension, key)
        validation.require_version(version)
        slot = self._slots.get((dimension, key))
        if slot is None or slot.version_min < version:
            self._keep(dimension, key, None, version, 0.0)

    def forget(self, dimension: str, key: str) -> None:
        """Forget whatever is known of a key."""
        slot = self._slots.get((dimension, key))
        if slot is not None:
            self._remove(slot)

    # --- the queue -------------------------------------------------------------------------------

    def _keep(
        self,
        dimension: str,
        key: str,
        cached: CachedRoute | None,
        version_min: int,
        unbound_until_s: float,
    ) -> None:
        slot = self._slots.get((dimension, key))
        if slot is None:
            slot = _Slot((dimension, key))
            self._slots[slot.name] = slot
            slot.newer, slot.older = self._ends, self._ends.older
            slot.older.newer = slot.newer.older = slot
        slot.cached = cached
        slot.version_min = version_min
        slot.unbound_until_s = unbound_until_s
        size = _size(slot)
        self._bytes += size - slot.size
        slot.size = size
        # Room is made behind the newcomer's back, for a newcomer has no mark yet: it would go
        # first whenever all others have one.
        while len(self._slots) > self._entries_max or self._bytes > self._bytes_max:
            self._evict(slot)

    def _evict(self, spared: _Slot) -> None:
        # There is another one than the spared: the bounds have room for any single entry.
        assert len(self._slots) > 1, (self._bytes, self._bytes_max)
        slot = self._hand
        while slot is self._ends or slot is spared or slot.marked:
            slot.marked = False
            slot = slot.newer
        self._hand = slot.newer
        self._remove(slot)
        self.evicted += 1

    def _remove(self, slot: _Slot) -> None:
        if self._hand is slot:
            self._hand = slot.newer
        slot.older.newer, slot.newer.older = slot.newer, slot.older
        del self._slots[slot.name]
        self._bytes -= slot.size


def _require_name(dimension: str, key: str) -> None:
    validation.require_table(dimension)
    validation.require_key(key)


def _size(slot: _Slot) -> int:
    dimension, key = slot.name
    size = ENTRY_BYTES + sys.getsizeof(dimension) + sys.getsizeof(key)
    if slot.cached is not None:
        size += sys.getsizeof(slot.cached.route.unit)
        if slot.cached.header is not None:
            size += sys.getsizeof(slot.cached.header)
    return size
