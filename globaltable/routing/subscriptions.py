"""Who is to be told of which keys, and what each has not been told yet.

Responsible for fanning changes out to subscribers, within bounds. No I/O: whoever sends takes what
waits (`Subscriber.take`), and is woken when there is something.

Invariants:

* What waits for a subscriber is at most one change for each key that it holds, the latest: a slow
  reader skips what was overtaken, and its memory is bounded by what it holds.
* A subscriber is told of every version it does not know, or of a later one; never of one that is
  not above what it holds.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from globaltable.errors import LimitExceeded, Overloaded
from globaltable.routing.resolution import RouteChange

HELD_MAX: Final = 10_000
"""Keys that one subscriber may hold."""
HELD_TOTAL_MAX: Final = 1_000_000
"""Keys that all of them may hold: some 300 bytes each."""
SUBSCRIBERS_MAX: Final = 20_000
RETRY_DELAY_S: Final = 1.0

Name = tuple[str, str]
"""A dimension and a key of it."""


class Held(NamedTuple):
    """A key that a subscriber holds, and the version it knows; 0 for none."""

    dimension: str
    key: str
    version: int


class Subscriber:
    """One stream of changes."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake: Final = wake
        """Have whoever sends look for what waits."""
        self.versions: dict[Name, int] = {}
        self._waiting: dict[Name, RouteChange] = {}

    def offer(self, change: RouteChange) -> None:
        """Have it told, if it does not know."""
        name = (change.dimension, change.key)
        known = self.versions.get(name)
        if known is None or change.version <= known:
            return
        waiting = self._waiting.get(name)
        if waiting is None or waiting.version < change.version:
            self._waiting[name] = change
            self.wake()

    def take(self, count: int) -> list[RouteChange]:
        """The first of what waits, those that have waited longest first: told by that."""
        names = list(self._waiting)[:count] if len(self._waiting) > count else list(self._waiting)
        changes = [self._waiting.pop(name) for name in names]
        for change in changes:
            self.versions[change.dimension, change.key] = change.version
        return changes

    def let_go(self, name: Name) -> bool:
        """No longer hold a key; whether it did."""
        self._waiting.pop(name, None)
        return self.versions.pop(name, None) is not None


class Subscriptions:
    """All subscribers of a service: a `Listener` of its router."""

    def __init__(
        self,
        *,
        held_max: int = HELD_MAX,
        held_total_max: int = HELD_TOTAL_MAX,
        subscribers_max: int = SUBSCRIBERS_MAX,
    ) -> None:
        self._held_max = held_max
        self._held_total_max = held_total_max
        self._subscribers_max = subscribers_max
        self._by_name: dict[Name, set[Subscriber]] = {}
        self._subscribers: set[Subscriber] = set()
        self._held_total = 0

    def __len__(self) -> int:
        return len(self._subscribers)

    @property
    def held_total(self) -> int:
        """The keys that all hold."""
        return self._held_total

    def add(self, subscriber: Subscriber) -> None:
        """Raises `Overloaded` if there are too many."""
        if len(self._subscribers) >= self._subscribers_max:
            raise Overloaded(f"{len(self._subscribers)} streams are open", RETRY_DELAY_S)
        self._subscribers.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        self.release(subscriber, list(subscriber.versions))
        self._subscribers.discard(subscriber)

    def hold(self, subscriber: Subscriber, keys: Iterable[Held]) -> None:
        """Tell the subscriber of these too. All of them or, with `LimitExceeded` or `Overloaded`,
        none."""
        assert subscriber in self._subscribers, "held by who was not added"
        wanted = {(one.dimension, one.key): one.version for one in keys}
        fresh = [name for name in wanted if name not in subscriber.versions]
        if len(subscriber.versions) + len(fresh) > self._held_max:
            raise LimitExceeded(
                f"{len(subscriber.versions) + len(fresh)} keys to follow on one stream; at most "
                f"{self._held_max} are allowed: release those that are no longer needed"
            )
        if self._held_total + len(fresh) > self._held_total_max:
            raise Overloaded(f"{self._held_total} keys are followed", RETRY_DELAY_S)
        self._held_total += len(fresh)
        for name in fresh:
            self._by_name.setdefault(name, set()).add(subscriber)
        subscriber.versions.update(wanted)

    def release(self, subscriber: Subscriber, names: Iterable[Name]) -> None:
        """Tell the subscriber of these no more."""
        for name in names:
            if subscriber.let_go(name):
                self._held_total -= 1
                holders = self._by_name[name]
                holders.remove(subscriber)
                if not holders:
                    del self._by_name[name]

    # --- a router's listener ---------------------------------------------------------------------

    def changed(self, change: RouteChange) -> None:
        """Have all who hold the key told."""
        for subscriber in self._by_name.get((change.dimension, change.key), ()):
            subscriber.offer(change)

    def held(self, dimension: str) -> list[str]:
        """The keys of a dimension that anybody holds."""
        return [key for of, key in self._by_name if of == dimension]
