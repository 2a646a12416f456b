"""`python -m tests.faults.judge FILE`: whether a recorded history keeps what is promised.

Responsible for putting the judges together, key by key (a history is linearizable if each of its
keys is: Herlihy & Wing, TOPLAS 1990, §3.2), and for a report that says which promise was broken,
where, and by what. Exit status: 0 kept, 1 broken, 2 undecided or unreadable.
"""

import argparse
import enum
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.history import Ending, Event, Kind, UnreadableHistory, read_history
from tests.faults.linearizability import STEPS_MAX, Finding, Timed, Verdict, check
from tests.faults.local_reads import sightings, went_back
from tests.faults.register import Demand, Register, demand_of, demands
from tests.faults.timeline import around, draw
from tests.faults.versions import contradictions

_SHOWN_BEFORE: Final = 6
"""How many of the ops that could be placed are drawn."""
_SHOWN_KEYS: Final = 3


class Promise(enum.Enum):
    """What can be broken (`docs/guarantees.md`)."""

    ONE_UNIT = "a key and version have exactly one unit"
    LINEARIZABLE = "bind, move, unbind and linearizable get are linearizable"
    HAS_BEEN = "a local get tells what the key has had"
    FORWARD = "for one client at one life of a node, local gets never go backward"


class Violation(NamedTuple):
    promise: Promise
    key: str
    report: str

    def __str__(self) -> str:
        return f"key {self.key!r} breaks: {self.promise.value}\n{self.report}"


class Judgement(NamedTuple):
    """Of a whole history."""

    events: int
    keys: int
    endings: Counter[Ending]
    contended: int
    """Keys at which ops of two clients overlapped that were both answered, one of them a change."""
    steps: int
    violations: Sequence[Violation]
    undecided: Sequence[str]
    """Keys whose search was given up."""

    @property
    def kept(self) -> bool:
        return not self.violations and not self.undecided

    def __str__(self) -> str:
        endings = ", ".join(f"{count} {ending.value}" for ending, count in self.endings.items())
        lines = [
            f"{self.events} ops on {self.keys} keys, {self.contended} of them contended: {endings}",
            f"{len(self.violations)} violations, {len(self.undecided)} keys undecided"
            f"{' ' + str(list(self.undecided[:5])) if self.undecided else ''}",
        ]
        return "\n\n".join(["\n".join(lines), *map(str, self.violations[:_SHOWN_KEYS])])


def judge(events: Iterable[Event], steps_max: int = STEPS_MAX) -> Judgement:
    """Judge every key. `steps_max` bounds the search at each."""
    by_key: dict[str, list[Event]] = {}
    endings: Counter[Ending] = Counter()
    for event in events:
        by_key.setdefault(event.key, []).append(event)
        endings[event.ending] += 1
    violations: list[Violation] = []
    undecided: list[str] = []
    steps = 0
    for key, of_key in by_key.items():
        violations += _told_wrong(key, of_key)
        search = _Search.of(of_key, steps_max)
        steps += search.finding.steps
        if search.finding.verdict is Verdict.UNDECIDED:
            undecided.append(key)
        elif search.finding.verdict is Verdict.NOT_LINEARIZABLE:
            violations.append(_not_linearizable(key, of_key, search, steps_max))
    contended = sum(map(_is_contended, by_key.values()))
    total = sum(endings.values())
    return Judgement(total, len(by_key), endings, contended, steps, violations, undecided)


class _Search(NamedTuple):
    """What the checker was asked of one key, and what it found."""

    events: list[Event]
    ops: list[Timed[Demand]]
    finding: Finding

    @classmethod
    def of(cls, events: Sequence[Event], steps_max: int, with_local: bool = True) -> "_Search":
        if not with_local:
            events = [event for event in events if event.kind is not Kind.LOCAL_GET]
        asked = [*demands(events), *sightings(events)]
        ops = [op for _, op in asked]
        return cls([event for event, _ in asked], ops, check(Register(), ops, steps_max))


def _told_wrong(key: str, events: Sequence[Event]) -> list[Violation]:
    found = [
        Violation(Promise.ONE_UNIT, key, f"{why}\n{draw((one, other), {})}")
        for why, one, other in contradictions(events)
    ]
    found += [
        Violation(Promise.FORWARD, key, draw((earlier, later), {later: "<- went back"}))
        for earlier, later in went_back(events)
    ]
    return found


def _not_linearizable(
    key: str, events: Sequence[Event], search: _Search, steps_max: int
) -> Violation:
    """Local reads are at fault only if the others have an order without them."""
    promise = Promise.LINEARIZABLE
    alone = _Search.of(events, steps_max, with_local=False)
    if alone.finding.verdict is Verdict.LINEARIZABLE:
        promise = Promise.HAS_BEEN
    elif alone.finding.verdict is Verdict.NOT_LINEARIZABLE:
        search = alone
    return Violation(promise, key, _report(search))


def _report(search: _Search) -> str:
    """The longest order found, its last ops, and the op that could not be placed behind it."""
    finding, events = search.finding, search.events
    assert finding.unplaced is not None, "only where no order was found"
    model = Register()
    state = model.initial
    marks: dict[Event, str] = {}
    for place, number in enumerate(finding.order, start=1):
        # As it was asked for: the checker may know its unit by no name.
        demand = demand_of(events[number])
        after = model.step(state, demand) if demand is not None else None
        assert after is not None, "what was placed was legal there"
        state = after
        marks[events[number]] = f"#{place}: {state}"
    unplaced = events[finding.unplaced]
    last = [events[number] for number in finding.order[-_SHOWN_BEFORE:]]
    shown = {*last, unplaced}
    placed = {events[number] for number in finding.order}
    shown |= {event for event in around(events, unplaced) if event not in placed}
    marks = {event: mark for event, mark in marks.items() if event in shown}
    marks[unplaced] = "<- has no place"
    if unplaced.ending is Ending.UNKNOWN:
        marks[unplaced] += ", and yet others were told of it"
    head = (
        f"{len(finding.order)} of {len(events)} ops have an order (its last are numbered below); "
        f"it leads to {state}, where the one that returned next has no place"
    )
    return f"{head}\n{draw(shown, marks)}"


def _is_contended(events: Sequence[Event]) -> bool:
    """Whether clients met at this key: else any store would do."""
    answered = [
        event
        for event in events
        if event.returned is not None and event.ending is not Ending.FAILED
    ]
    answered.sort(key=lambda event: event.invoked)
    open_until: dict[str, int] = {}
    changed_until = -1
    for event in answered:
        assert event.returned is not None
        changes = not event.kind.is_read
        for client, until in open_until.items():
            if client == event.client or until < event.invoked:
                continue
            if changes or changed_until >= event.invoked:
                return True
        open_until[event.client] = event.returned
        if changes:
            changed_until = max(changed_until, event.returned)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.judge", description=__doc__)
    parser.add_argument("file", type=Path, help="a history that `write_history` wrote")
    parser.add_argument("--steps", type=int, default=STEPS_MAX, help="bound of the search of a key")
    options = parser.parse_args()
    try:
        events = read_history(options.file)
    except (OSError, UnreadableHistory) as error:
        print(error, file=sys.stderr)
        return 2
    began = time.monotonic()
    judgement = judge(events, options.steps)
    print(judgement)
    print(f"judged in {time.monotonic() - began:.2f} s, {judgement.steps} steps")
    return 1 if judgement.violations else 2 if judgement.undecided else 0


if __name__ == "__main__":
    sys.exit(main())
