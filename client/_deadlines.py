"""Deadlines of many ops behind one timer.

Responsible for knowing which entries are live and which are due. Entries fall into buckets of
10 ms, so that adding and removing cost a set operation each, and an op that has ended leaves
nothing behind. An entry is due at the end of its bucket: never early, at most 10 ms late.
"""

import heapq
import math
from typing import Final, Generic, Protocol, TypeVar

BUCKET_S: Final = 0.01
_NEVER: Final = -1


class Entry(Protocol):
    """What can be given a deadline: it remembers its bucket."""

    bucket: int


E = TypeVar("E", bound=Entry)


class Deadlines(Generic[E]):
    """The live entries, by when they are due."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[E]] = {_NEVER: set()}
        self._order: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, entry: E, when: float) -> None:
        """`entry` is live, and due at `when`; infinity for never."""
        number = _NEVER if when == math.inf else math.ceil(when / BUCKET_S)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            heapq.heappush(self._order, number)
        bucket.add(entry)
        entry.bucket = number
        self._count += 1

    def remove(self, entry: E) -> None:
        """`entry` has ended. It must be live."""
        self._buckets[entry.bucket].remove(entry)
        self._count -= 1

    def take_due(self, now: float) -> list[E]:
        """The entries that are due; they are live no longer."""
        due: list[E] = []
        while self._order and self._order[0] * BUCKET_S <= now:
            due.extend(self._buckets.pop(heapq.heappop(self._order)))
        self._count -= len(due)
        return due

    def take_all(self) -> list[E]:
        """Every live entry; none is live afterwards."""
        entries = [entry for bucket in self._buckets.values() for entry in bucket]
        self._buckets = {_NEVER: set()}
        self._order = []
        self._count = 0
        return entries

    def next_due(self) -> float | None:
        """When to look again."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heapq.heappop(self._order)]
        return self._order[0] * BUCKET_S if self._order else None
