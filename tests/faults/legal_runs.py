"""Histories that are right by construction, and how to spoil one.

Responsible for what the checker is tried on: clients that ask one atomic object and overlap at
random, with all that a fault can make of an answer. Ops take effect at one moment each, so the
history is linearizable; ops of unknown ending take effect at once, late, or never.

`python -m tests.faults.legal_runs` tells how fast the judge is on such runs.
"""

import dataclasses
import random
import time
from dataclasses import dataclass
from typing import Final

from globaltable.model import Binding, OutcomeStatus
from tests.faults.history import Ending, Event, Kind
from tests.faults.judge import judge
from tests.faults.register import State, apply

_KINDS: Final = (Kind.BIND, Kind.MOVE, Kind.UNBIND, Kind.GET, Kind.LOCAL_GET)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is like."""

    ops: int
    clients: int
    keys: int = 1
    units: int = 3
    """How many there are; 0 for one of its own for each op, as `workload` has it."""
    unknown_share: float = 0.0
    failed_share: float = 0.0
    local_share: float = 0.2
    """Of the reads, those that are local."""


@dataclass(slots=True)
class _Key:
    """What became of a key: `states[n]` is what it was after n changes, made at `revisions[n]`."""

    states: list[State]
    revisions: list[int]
    seen: dict[str, int]
    """The last state that each client read locally."""


def legal_run(rng: random.Random, run: Run) -> list[Event]:
    """A history, by invocation."""
    begun: list[tuple[float, Event]] = []
    # In whole steps, so that moments coincide now and then.
    clocks = [rng.randrange(100) for _ in range(run.clients)]
    for number in range(run.ops):
        client = number % run.clients
        invoked = clocks[client] + rng.randrange(20)
        effect: float = invoked + rng.randrange(100)
        returned = clocks[client] = int(effect) + rng.randrange(100)
        ending = Ending.OK
        chance = rng.random()
        if chance < run.failed_share:
            ending = Ending.FAILED
        elif chance < run.failed_share + run.unknown_share:
            ending = Ending.UNKNOWN
            effect += rng.choice((0, 0, 500, 5_000, float("inf")))
        kind = rng.choice(_KINDS[:4])
        if kind is Kind.GET and rng.random() < run.local_share:
            kind = Kind.LOCAL_GET
        unit = ""
        if kind in (Kind.BIND, Kind.MOVE):
            unit = f"u{rng.randrange(run.units) if run.units else number}"
        key = f"k{rng.randrange(run.keys)}"
        event = Event(f"c{client}", kind, key, unit, 0, invoked, ending, None, returned)
        begun.append((effect, event))
    begun.sort(key=lambda item: item[0])
    keys: dict[str, _Key] = {}
    events = []
    for revision, (effect, event) in enumerate(begun, start=1):
        of_key = keys.setdefault(event.key, _Key([State()], [0], {}))
        events.append(_take_effect(rng, of_key, event, revision, effect != float("inf")))
    return sorted(events, key=lambda event: event.invoked)


def _take_effect(
    rng: random.Random, key: _Key, event: Event, revision: int, happens: bool
) -> Event:
    state = key.states[-1]
    if event.kind in (Kind.MOVE, Kind.UNBIND):
        event = event._replace(version=max(1, state.version - (rng.random() < 0.2)))
    if event.ending is Ending.FAILED or not happens:
        return event
    if event.kind is Kind.LOCAL_GET:
        place = rng.randint(key.seen.get(event.client, 0), len(key.states) - 1)
        key.seen[event.client] = place
        return _answered(event, key, place) if event.ending is Ending.OK else event
    after, answer = apply(state, event.kind, event.unit, event.version)
    if after != state:
        key.states.append(after)
        key.revisions.append(revision)
    if event.ending is not Ending.OK:
        return event
    if answer.status is OutcomeStatus.NOT_BOUND and not event.kind.is_read:
        return event._replace(ending=Ending.NOT_BOUND)
    if answer.status is OutcomeStatus.VERSION_CONFLICT:
        event = event._replace(ending=Ending.CONFLICT)
    created = event.kind is Kind.BIND and answer.status is OutcomeStatus.APPLIED
    return _answered(event, key, len(key.states) - 1, created)


def _answered(event: Event, key: _Key, place: int, created: bool = False) -> Event:
    unit, version = key.states[place]
    if unit is None or (event.kind is Kind.UNBIND and event.ending is Ending.OK):
        return event._replace(replica=f"{event.client}.0")
    told = Binding(unit, version, key.revisions[place], created)
    return event._replace(told=told, replica=f"{event.client}.0")


def spoiled(rng: random.Random, events: list[Event], units: int = 3) -> list[Event]:
    """The same history with one thing told otherwise: often, but not always, illegal."""
    place = rng.randrange(len(events))
    event = events[place]
    told = event.told
    kinds = ["failed", "late"]
    if told is not None:
        kinds += ["version", "unit", "created"]
    match rng.choice(kinds):
        case "failed":
            event = event._replace(ending=Ending.FAILED, told=None)
        case "late":
            # What was told is older than the call: a stale read, if it is one.
            late = rng.randrange(400)
            returned = event.returned if event.returned is not None else event.invoked
            event = event._replace(invoked=event.invoked + late, returned=returned + late)
        case "version" if told is not None:
            version = max(1, told.version + rng.choice((-1, 1)))
            event = event._replace(told=told._replace(version=version))
        case "unit" if told is not None:
            event = event._replace(told=told._replace(unit=f"u{rng.randrange(units)}"))
        case "created" if told is not None and event.kind is Kind.BIND:
            event = event._replace(told=told._replace(created=not told.created))
    return [*events[:place], event, *events[place + 1 :]]


def main() -> None:
    many = Run(ops=100_000, clients=64, keys=5_000, units=0, unknown_share=0.02, failed_share=0.01)
    hot = dataclasses.replace(many, keys=1)
    for name, run in {
        "5,000 keys, 64 clients": many,
        "20 keys, 64 clients": dataclasses.replace(many, keys=20),
        "1 key, 64 clients": hot,
        "1 key, 64 clients, no faults": dataclasses.replace(hot, unknown_share=0.0),
        "1 key, 64 clients, 3 units": dataclasses.replace(hot, units=3),
        "1 key, 64 clients, a tenth unknown": dataclasses.replace(hot, unknown_share=0.1),
    }.items():
        events = legal_run(random.Random(1), run)
        for title, of_run in ((name, events), (f"{name}, spoiled", _all_spoiled(events))):
            began = time.perf_counter()
            judgement = judge(of_run)
            took = time.perf_counter() - began
            print(
                f"{title}: {len(of_run):,} ops in {took:.2f} s, {len(of_run) / took:,.0f}/s, "
                f"{judgement.steps:,} steps, {len(judgement.violations)} violations, "
                f"{len(judgement.undecided)} undecided"
            )


def _all_spoiled(events: list[Event]) -> list[Event]:
    """One read near the end of each key is told a version that has not been."""
    reads = {event.key: event for event in events if event.kind is Kind.GET and event.told}
    lies = set(reads.values())
    return [
        event._replace(told=event.told._replace(version=event.told.version + 10**6))
        if event in lies and event.told is not None
        else event
        for event in events
    ]


if __name__ == "__main__":
    main()
