"""When each replica's table is flushed: a few of them at a time, each when it has enough to write.

On a table that is much larger than a flush nearly every row is on a page of its own, and the more
rows one group has gathered the more of them share one: flushing a group when it has enough costs
the disk about half of what flushing a little of every group at once does. Each replica draws its
own measure of enough, so that the nodes that hold a group do not write it all at once.

Invariants: whatever has changed is due once the interval has passed, and what keeps a log from
being cut is due at once. One flush is under way at a time.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from globaltable.group import Replica
from globaltable.server.effects import FlushJob


class _Plan(NamedTuple):
    at: float
    rows: int


class FlushSchedule:
    """`rows` are what one flush holds, of one group or of several that have less."""

    def __init__(self, rows: int, interval_s: float, chance: random.Random) -> None:
        self._rows = rows
        self._interval_s = interval_s
        self._chance = chance
        self._plans: dict[int, _Plan] = {}

    def due(self, now: float, replicas: Mapping[int, Replica]) -> list[int]:
        """Groups to be flushed now, the fullest first: as many as make up one flush."""
        due = []
        for number, replica in replicas.items():
            plan = self._plans.get(number)
            if plan is None:
                plan = self._plans[number] = self._plan(now)
            rows = replica.table.dirty_rows
            if rows >= plan.rows or now >= plan.at or replica.wants_flush:
                due.append((rows, number))
        due.sort(reverse=True)
        chosen: list[int] = []
        room = self._rows
        for rows, number in due:
            if chosen and rows > room:
                break
            chosen.append(number)
            room -= rows
        return chosen

    def begun(self, now: float, groups: Iterable[int]) -> None:
        """They are being flushed, or have nothing to flush: plan their next time."""
        for number in groups:
            self._plans[number] = self._plan(now)

    def _plan(self, now: float) -> _Plan:
        share = self._chance.uniform(0.5, 1.0)
        return _Plan(now + self._interval_s * share, max(1, int(self._rows * share)))


class Flushes:
    """The one that is under way, and the next."""

    def __init__(self, schedule: FlushSchedule, now: float) -> None:
        self._schedule = schedule
        self._under_way: Sequence[int] = ()
        self._look_at = now

    @property
    def is_under_way(self) -> bool:
        return bool(self._under_way)

    def begin_due(
        self, now: float, next_tick: float, replicas: Mapping[int, Replica]
    ) -> FlushJob | None:
        """What the schedule has due. Looked at once a tick, not once a turn: it asks every
        replica."""
        if self._under_way or now < self._look_at:
            return None
        self._look_at = next_tick
        due = self._schedule.due(now, replicas)
        return self.begin(now, due, replicas) if due else None

    def begin(
        self, now: float, groups: Sequence[int], replicas: Mapping[int, Replica]
    ) -> FlushJob | None:
        """Everything that has changed in some groups; None if nothing has."""
        assert not self._under_way, "one flush at a time"
        self._schedule.begun(now, groups)
        flushes = [
            (number, flush)
            for number in groups
            if (flush := replicas[number].begin_flush()) is not None
        ]
        self._under_way = [number for number, _ in flushes]
        return FlushJob(flushes) if flushes else None

    def end(self, replicas: Mapping[int, Replica]) -> None:
        """It is durable. Replicas may have gone meanwhile."""
        for number in self._under_way:
            if number in replicas:
                replicas[number].table.end_flush()
        self._under_way = ()
