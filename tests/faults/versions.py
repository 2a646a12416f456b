"""A key and version have exactly one unit, and were made by one log entry: whoever tells of them.

Responsible for what can be judged of a key without a search, over everything that was told of it:
winners, conflicts, and reads of both kinds, however old. It is implied by no order of the ops,
for that knows nothing of revisions, and it finds two winners where the search finds no order.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from globaltable.model import Binding
from tests.faults.history import Event


class Contradiction(NamedTuple):
    """Two tellings that cannot both be true."""

    why: str
    one: Event
    other: Event


def contradictions(events: Iterable[Event]) -> list[Contradiction]:
    """Of one key."""
    found: list[Contradiction] = []
    told: dict[int, tuple[Binding, Event]] = {}
    makers: dict[int, Event] = {}
    for event in events:
        binding = event.told
        if binding is None:
            continue
        version = binding.version
        known, first = told.setdefault(version, (binding, event))
        if binding.unit != known.unit:
            found.append(Contradiction(f"two units at version {version}", first, event))
        elif binding.revision != known.revision:
            found.append(Contradiction(f"two revisions of version {version}", first, event))
        if binding.created:
            maker = makers.setdefault(version, event)
            if maker is not event:
                found.append(Contradiction(f"two winners of version {version}", maker, event))
    # Ops of one log entry share its revision, so two versions may have the same.
    rising = [told[version] for version in sorted(told)]
    for (older, one), (newer, other) in pairwise(rising):
        if newer.revision < older.revision:
            why = f"version {newer.version} has an older revision than version {older.version}"
            found.append(Contradiction(why, one, other))
    return found
