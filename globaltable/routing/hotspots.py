"""Which sessions make most of the load, and which of them to move.

Responsible for counting the hottest keys in little memory, and for proposals. It moves nothing.

Counting is Space-Saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k
Elements in Data Streams, ICDT 2005): `capacity` counters; a key without one takes over the least.
With n hits counted and m counters (lemmas 2 to 4 and theorem 2 there):

* a count is never below the truth, and above it by at most its `error`, which is at most n / m;
* every key with more than n / m hits has a counter.

Ageing halves all counts, so that yesterday's crowd is forgotten; all this then holds of hits that
count half for each ageing since, but for rounding. An ageing adds up to m / 2 to the sum of counts,
and halves what ageings before have added: so who has no counter had at most n / m + 1 hits. To an
error it adds up to 1, a half for the count and a half for what is sure: so it is at most n / m + 2.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from globaltable.errors import InvalidArgument

K = TypeVar("K")


class Hot(NamedTuple, Generic[K]):
    """A key that may be hot: it has had `hits - error` to `hits` hits."""

    key: K
    hits: int
    error: int

    @property
    def sure(self) -> int:
        """Hits that it has had for certain."""
        return self.hits - self.error


class SpaceSaving(Generic[K]):
    """The hottest keys of a stream."""

    __slots__ = ("_by_count", "_capacity", "_counters", "_least", "total")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise InvalidArgument(f"capacity must be at least 1, not {capacity!r}")
        self._capacity: Final = capacity
        self._counters: dict[K, tuple[int, int]] = {}
        self._by_count: dict[int, dict[K, None]] = {}
        """The keys of each count, so that the least is at hand: the paper's stream summary."""
        self._least = 0
        """No count is below it while all counters are taken."""
        self.total = 0
        """Hits counted; halved by ageing, as they are."""

    def hit(self, key: K) -> None:
        """Count one hit."""
        self.total += 1
        counter = self._counters.get(key)
        if counter is not None:
            count, error = counter
            self._leave(key, count)
        elif len(self._counters) < self._capacity:
            count = error = 0
        else:
            while self._least not in self._by_count:
                self._least += 1
            count = error = self._least
            victim = next(iter(self._by_count[count]))
            self._leave(victim, count)
            del self._counters[victim]
        self._enter(key, count + 1, error)
        if counter is None and not error:
            self._least = 1

    def _enter(self, key: K, count: int, error: int) -> None:
        self._counters[key] = (count, error)
        self._by_count.setdefault(count, {})[key] = None

    def _leave(self, key: K, count: int) -> None:
        same = self._by_count[count]
        del same[key]
        if not same:
            del self._by_count[count]

    def hottest(self, limit: int) -> list[Hot[K]]:
        """The keys with the highest counts, the highest first."""
        found: list[Hot[K]] = []
        for count in sorted(self._by_count, reverse=True):
            for key in self._by_count[count]:
                if len(found) == limit:
                    return found
                found.append(Hot(key, count, self._counters[key][1]))
        return found

    def age(self) -> None:
        """Halve everything. Counts are rounded up, and what is sure down, so both stay bounds; no
        counter is given back, for who comes anew would then be counted without what it had."""
        counters, self._counters, self._by_count = self._counters, {}, {}
        for key, (count, error) in counters.items():
            halved = (count + 1) // 2
            self._enter(key, halved, halved - (count - error) // 2)
        self.total = (self.total + 1) // 2
        self._least = min(self._by_count, default=0)


class Placed(NamedTuple):
    """A hot key, where it lives, and the load it makes for certain."""

    key: str
    unit: str
    load: float


class MoveProposal(NamedTuple):
    """To move `key` out of `unit` would take `load` from it; `to` has room for it."""

    key: str
    unit: str
    to: str
    load: float


def propose_moves(
    hot: Iterable[Placed],
    load_of: Mapping[str, float],
    capacity_of: Mapping[str, float],
    *,
    high: float = 0.8,
    moves_max: int = 10,
) -> list[MoveProposal]:
    """Moves that take units loaded beyond `high` of their capacity below it, hottest keys first.

    Loads and capacities are in one unit of measure, such as messages a second. A key goes to the
    unit that is then least loaded in proportion, only if that stays below `high` and below what its
    present unit has now: so a key too hot for any unit stays, and nothing moves to and fro.
    """
    if not 0 < high <= 1:
        raise InvalidArgument(f"high must be above 0 and at most 1, not {high!r}")
    for unit, capacity in capacity_of.items():
        if capacity <= 0:
            raise InvalidArgument(f"capacity of unit {unit!r} must be above 0, not {capacity!r}")
    load = {unit: load_of.get(unit, 0.0) for unit in capacity_of}
    proposals: list[MoveProposal] = []
    for placed in sorted(hot, key=lambda one: -one.load):
        unit = placed.unit
        if len(proposals) == moves_max:
            break
        if unit not in load or load[unit] <= high * capacity_of[unit] or placed.load <= 0:
            continue
        after = {
            other: (load[other] + placed.load) / capacity_of[other]
            for other in load
            if other != unit
        }
        to = min(after, key=lambda other: (after[other], other), default=None)
        if to is None or after[to] >= min(high, load[unit] / capacity_of[unit]):
            continue
        load[unit] -= placed.load
        load[to] += placed.load
        proposals.append(MoveProposal(placed.key, unit, to, placed.load))
    return proposals
