"""One key as a sequential object: what an op must answer, had it the key to itself.

Responsible for the meaning of bind, move, unbind and get, as the table has it
(`globaltable.table`; `test_register` holds the two against each other), and for how an event of a
history is read as a demand on that object.

Invariants:

* A version is 0 before the first bind and rises by one at each change, an unbind included: a key
  that was unbound keeps its version, as a tombstone.
* A refused op changes nothing. An op takes effect once however often it was sent: retries are
  below the client's call, so a history has one event for all of them.
* An op of unknown ending is either a change or nothing: to be refused and not to happen are the
  same, for nobody was told.

Not modelled: that a retry after more than 16,384 other ops of its group is known by its key's row
alone (`docs/guarantees.md`). A client retries for seconds.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from globaltable.model import OutcomeStatus
from tests.faults.history import Ending, Event, Kind
from tests.faults.linearizability import Shortcut, Timed


class State(NamedTuple):
    """A key: its unit, None if it is not bound, and its version."""

    unit: str | None = None
    version: int = 0

    def __str__(self) -> str:
        where = self.unit if self.unit is not None else "unbound"
        return f"{where} at version {self.version}"


class Answer(NamedTuple):
    """What a client is told, less the revision (`versions` looks after that)."""

    status: OutcomeStatus
    unit: str = ""
    version: int = 0


class Demand(NamedTuple):
    """What one event says of the key. Demands that are equal differ in nothing but time."""

    kind: Kind
    unit: str
    version: int
    answer: Answer | None
    """None if it may or may not have taken effect."""
    at: int | None
    """The only version at which it can have found the key, if it says so: a quick first test."""


_NOT_BOUND: Final = Answer(OutcomeStatus.NOT_BOUND)


def apply(state: State, kind: Kind, unit: str, version: int) -> tuple[State, Answer]:
    """What an op makes of the key, and what it answers."""
    bound = state.unit is not None
    here = (state.unit or "", state.version)
    if kind.is_read:
        return state, Answer(OutcomeStatus.EXISTS, *here) if bound else _NOT_BOUND
    if kind is Kind.BIND:
        if bound:
            return state, Answer(OutcomeStatus.EXISTS, *here)
        new = State(unit, state.version + 1)
        return new, Answer(OutcomeStatus.APPLIED, unit, new.version)
    if not bound:
        return state, _NOT_BOUND
    if version != state.version:
        return state, Answer(OutcomeStatus.VERSION_CONFLICT, *here)
    if kind is Kind.MOVE:
        new = State(unit, state.version + 1)
        return new, Answer(OutcomeStatus.APPLIED, unit, new.version)
    # The client library tells nothing of what was unbound.
    return State(None, state.version + 1), Answer(OutcomeStatus.APPLIED)


class Register:
    """`apply`, for the checker."""

    initial: Final = State()

    def step(self, state: State, op: Demand) -> State | None:
        if op.at is not None and op.at != state.version:
            return None
        after, answer = apply(state, op.kind, op.unit, op.version)
        if op.answer is None:
            return after if after is not state else None
        return after if answer == op.answer else None

    def needs(self, op: Demand) -> int | None:
        return op.at

    def moment(self, state: State) -> int:
        return state.version

    def shortcut(self, op: Demand) -> Shortcut:
        """Versions only rise, so a change that was told of has one version to happen at."""
        if op.answer is None:
            return Shortcut.NONE
        if not op.kind.is_read and op.answer.status is OutcomeStatus.APPLIED:
            return Shortcut.ONE_STATE
        return Shortcut.READS


def demand_of(event: Event) -> Demand | None:
    """What an event says of its key; None if it says nothing: it failed, or nobody read it."""
    answer = _answer(event)
    if answer is None and (event.ending is not Ending.UNKNOWN or event.kind.is_read):
        return None
    return Demand(event.kind, event.unit, event.version, answer, _found_at(event, answer))


def timed(event: Event, demand: Demand) -> Timed[Demand]:
    """A demand in its time; without a promised answer it is open-ended."""
    return Timed(demand, event.invoked, event.returned if demand.answer is not None else None)


def demands(events: Iterable[Event]) -> list[tuple[Event, Timed[Demand]]]:
    """What the events of one key say of it, but for local reads; with what they say of each other.

    An op of unknown ending says little, and a search that has to try every place for each of many
    ends never. But others tell of it, by the unit that it named:

    * If somebody was told that unit, and no other op could have put it there, the op has taken
      effect: as the version that was told, and before the first who was told had returned.
    * If nobody was, one such op is as good as any other, so the unit is left out; equal demands
      are tried once.
    """
    events = list(events)
    tellings = _Tellings(events)
    found: list[tuple[Event, Timed[Demand]]] = []
    for event in events:
        demand = demand_of(event)
        if demand is None or event.kind is Kind.LOCAL_GET:
            continue
        op = timed(event, demand)
        found.append((event, tellings.clarified(op) if demand.answer is None else op))
    return found


class _Tellings:
    """Who named a unit, and who was told of it."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._named: Counter[str] = Counter()
        self._told: dict[str, dict[int, int]] = {}
        """By unit, and by version, when the first who was told had returned."""
        for event in events:
            if event.unit and event.ending is not Ending.FAILED:
                self._named[event.unit] += 1
            if event.told is not None and event.returned is not None:
                versions = self._told.setdefault(event.told.unit, {})
                version = event.told.version
                versions[version] = min(versions.get(version, event.returned), event.returned)

    def clarified(self, op: Timed[Demand]) -> Timed[Demand]:
        """An op of unknown ending, in the light of what others were told."""
        unit = op.op.unit
        told = self._told.get(unit)
        if told is None:
            return op._replace(op=op.op._replace(unit=""))
        if self._named[unit] > 1 or len(told) > 1:
            return op
        ((version, returned),) = told.items()
        answer = Answer(OutcomeStatus.APPLIED, unit, version)
        at = op.op.at if op.op.kind is Kind.MOVE else version - 1
        return op._replace(op=op.op._replace(answer=answer, at=at), returned=returned)


def _answer(event: Event) -> Answer | None:
    told = event.told
    match event.ending:
        case Ending.NOT_BOUND:
            return _NOT_BOUND
        case Ending.CONFLICT:
            assert told is not None, event
            return Answer(OutcomeStatus.VERSION_CONFLICT, told.unit, told.version)
        case Ending.OK if event.kind is Kind.UNBIND:
            return Answer(OutcomeStatus.APPLIED)
        case Ending.OK if told is None:
            assert event.kind.is_read, event
            return _NOT_BOUND
        case Ending.OK:
            assert told is not None
            applied = told.created if event.kind is Kind.BIND else event.kind is Kind.MOVE
            status = OutcomeStatus.APPLIED if applied else OutcomeStatus.EXISTS
            return Answer(status, told.unit, told.version)
    return None


def _found_at(event: Event, answer: Answer | None) -> int | None:
    if answer is None or answer.status is OutcomeStatus.APPLIED:
        if event.kind is not Kind.BIND:
            return event.version
        return answer.version - 1 if answer is not None else None
    return answer.version if answer.status is not OutcomeStatus.NOT_BOUND else None
