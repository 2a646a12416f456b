"""What a read of one node may be told: `get` without `linearizable`.

Promised is that it "may be behind by a moment" (`docs/guarantees.md`). No moment has a length, so
what is judged is this:

* What it tells, the key has really had, at the latest when the read returned. That is a
  linearizable read whose invocation lies any time back, and so it is judged as one (`sightings`).
* For one client, and one life of the node it asks, versions never go backward (`went_back`): a
  replica's table only moves on (`tests/simulation/checks.py`). A node that was killed may start
  from a table that is older than what it has served; so lives are told apart, and a read of which
  the recorder does not know the life is not held against another.

To be told "not bound" is never wrong in itself: every key once was not.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from globaltable.model import Binding
from tests.faults.history import Ending, Event, Kind
from tests.faults.linearizability import Timed
from tests.faults.register import Demand, State, demand_of

K = TypeVar("K")


class Backward(NamedTuple):
    """Two reads of one client at one life of a node, the later one of which tells of the past."""

    earlier: Event
    later: Event


def sightings(events: Iterable[Event]) -> list[tuple[Event, Timed[Demand]]]:
    """The local reads of one key as demands on the register.

    Of all that were told the same, the first to return demands the most and stands for the others.
    None can have seen a version before the op that made it was invoked, so the time before that is
    left out: it would only make the checker look at the read again and again.
    """
    events = list(events)
    first: dict[tuple[str, int], tuple[int, Event]] = {}
    for event in events:
        told = event.told
        if event.kind is Kind.LOCAL_GET and told is not None and event.returned is not None:
            seen = first.get((told.unit, told.version))
            if seen is None or event.returned < seen[0]:
                first[told.unit, told.version] = (event.returned, event)
    makers = _Makers(events)
    found: list[tuple[Event, Timed[Demand]]] = []
    for (unit, version), (returned, event) in first.items():
        demand = demand_of(event)
        assert demand is not None, event
        made = makers.invoked(unit, version)
        since = min(made, returned) if made is not None else event.invoked
        found.append((event, Timed(demand, since, returned)))
    return found


class _Makers:
    """Since when a version can have been there: its maker's invocation, or a possible maker's."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._told: dict[tuple[str, int], int] = {}
        self._moves: dict[tuple[str, int], int] = {}
        self._binds: dict[str, int] = {}
        for event in events:
            told = event.told
            if event.kind not in (Kind.BIND, Kind.MOVE):
                continue
            if event.ending is Ending.OK and told is not None:
                if event.kind is Kind.MOVE or told.created:
                    _earliest(self._told, (told.unit, told.version), event.invoked)
            elif event.ending is Ending.UNKNOWN and event.kind is Kind.MOVE:
                _earliest(self._moves, (event.unit, event.version + 1), event.invoked)
            elif event.ending is Ending.UNKNOWN:
                _earliest(self._binds, event.unit, event.invoked)

    def invoked(self, unit: str, version: int) -> int | None:
        told = self._told.get((unit, version))
        if told is not None:
            return told
        possible = (self._moves.get((unit, version)), self._binds.get(unit))
        return min((time for time in possible if time is not None), default=None)


def _earliest(times: dict[K, int], key: K, time: int) -> None:
    times[key] = min(times.get(key, time), time)


def went_back(events: Iterable[Event]) -> list[Backward]:
    """Reads of one key that tell of an older state than an earlier read did."""
    found: list[Backward] = []
    reads = [e for e in events if e.kind is Kind.LOCAL_GET and e.ending is Ending.OK and e.replica]
    latest: dict[tuple[str, str], tuple[Event | None, State]] = {}
    for read in sorted(reads, key=lambda event: event.invoked):
        earlier, seen = latest.get((read.client, read.replica), (None, State()))
        now = _least(read.told, seen)
        if now is not None:
            latest[read.client, read.replica] = (read, now)
        elif earlier is not None:
            found.append(Backward(earlier, read))
    return found


def _least(told: Binding | None, seen: State) -> State | None:
    """The earliest state, not before `seen`, of which a read can have told this; None if none."""
    if told is None:
        # A tombstone's version is not told: it is at least one above what it removed.
        return seen if seen.unit is None else State(None, seen.version + 1)
    oldest = seen.version + 1 if seen.unit is None else seen.version
    return State(told.unit, told.version) if told.version >= oldest else None
