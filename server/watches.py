"""Who watches what: changes go from applied batches to the watchers that asked for them.

A watcher reads from the group's history until it has caught up, and then from a queue of its own.
If it lets the queue fill up it goes back to the history; if what it has not seen is gone from
there too, it is told so. Nobody waits for a slow watcher, and its memory is bounded.

Invariant: a watcher is given every matching change after its position once, in the order of each
group's revisions. All of this happens on the loop's thread, between awaits.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from globaltable.errors import Compacted, Lagged, StorageError
from globaltable.group import Changed, Replica
from globaltable.model import OpKind, OutcomeStatus
from globaltable.wire.rows import HistoryRow, decode_history

QUEUE_CHANGES_MAX: Final = 2_048
CATCH_UP_OPS: Final = 4_096
CATCH_UP_CHANGES: Final = 2_048
"""Ops of the history read, and changes found, for one watcher before others get their turn: of ops,
for a record holds up to thousands, and when a node is lost all its watchers come at once."""


class Change(NamedTuple):
    """One change of one binding; `unit` is the new one, or for an unbind the last one."""

    kind: OpKind
    name: bytes
    unit: str
    version: int
    revision: int
    group: int


def _changes(group: int, revision: int, rows: Iterable[HistoryRow]) -> Iterator[Change]:
    for row in rows:
        # A retry that comes when the history has forgotten the op is told what it did, and when.
        if row.status is OutcomeStatus.APPLIED and row.revision == revision:
            yield Change(row.kind, row.name, row.unit, row.version, revision, group)


class Watcher:
    """One watch. `position` is what a client may resume after."""

    def __init__(self, start: bytes, exact: bool, position: dict[int, int]) -> None:
        self.start = start
        self.exact = exact
        self.position = position
        self.queue: deque[Change] = deque()
        self.live = False
        self.awake = asyncio.Event()

    def wants(self, name: bytes) -> bool:
        return name == self.start if self.exact else name.startswith(self.start)

    def offer(self, change: Change) -> None:
        """Queue a change; if the queue is full, fall back to the history."""
        if len(self.queue) >= QUEUE_CHANGES_MAX:
            self.fall_back()
        else:
            self.queue.append(change)
            self.awake.set()

    def fall_back(self) -> None:
        self.queue.clear()
        self.live = False
        self.awake.set()


class Watches:
    """All watchers of a node."""

    def __init__(
        self,
        replica: Callable[[int], Replica],
        met_damage: Callable[[int, StorageError], Exception] = lambda _group, error: error,
    ) -> None:
        """`met_damage` hears of a record of a group that cannot be read, and says what to raise."""
        self._replica = replica
        self._met_damage = met_damage
        self._by_name: dict[bytes, set[Watcher]] = {}
        self._by_prefix: dict[bytes, set[Watcher]] = {}
        self._prefixes_by_length: Counter[int] = Counter()
        """How many prefixes of each length there are: a name is looked up once for each length,
        however many are watched."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def wake_all(self) -> None:
        """Let every watcher look about."""
        for watchers in (*self._by_name.values(), *self._by_prefix.values()):
            for watcher in watchers:
                watcher.awake.set()

    def add(
        self, start: bytes, exact: bool, groups: Iterable[int], after: Mapping[int, int]
    ) -> Watcher:
        """Watch one name, or all that begin with `start`, in `groups`, after the given revisions.

        A group that `after` does not name is watched from the present on. Raises `Compacted` if
        what came after a revision is no longer kept.
        """
        position = {}
        for group in groups:
            table = self._replica(group).table
            position[group] = after.get(group, table.applied)
        watcher = Watcher(start, exact, position)
        self._require_kept(watcher, Compacted)
        if not exact and start not in self._by_prefix:
            self._prefixes_by_length[len(start)] += 1
        index = self._by_name if exact else self._by_prefix
        index.setdefault(start, set()).add(watcher)
        self._count += 1
        return watcher

    def remove(self, watcher: Watcher) -> None:
        index = self._by_name if watcher.exact else self._by_prefix
        watchers = index.get(watcher.start, set())
        if watcher in watchers:
            watchers.remove(watcher)
            self._count -= 1
        if not watchers and index.pop(watcher.start, None) is not None and not watcher.exact:
            self._prefixes_by_length[len(watcher.start)] -= 1
            self._prefixes_by_length += Counter()  # without those of which there are none

    def publish(self, group: int, changed: Changed) -> None:
        """A batch was applied."""
        if not self._count:
            return
        lengths = list(self._prefixes_by_length)
        for row in changed.rows:
            watchers = [*self._by_name.get(row.name, ())]
            for length in lengths:
                if length <= len(row.name):
                    watchers += self._by_prefix.get(row.name[:length], ())
            if watchers:
                for change in _changes(group, changed.revision, (row,)):
                    for watcher in watchers:
                        self._offer(watcher, change)

    def _offer(self, watcher: Watcher, change: Change) -> None:
        position = watcher.position.get(change.group)
        # A node holds other groups than those that a watch may name: they are on other streams.
        if position is not None and watcher.live and change.revision > position:
            watcher.offer(change)

    def jumped(self, group: int) -> None:
        """The group's table was replaced by a snapshot: what was skipped is in its history."""
        for index in (self._by_name, self._by_prefix):
            for watchers in index.values():
                for watcher in watchers:
                    if group in watcher.position:
                        watcher.fall_back()

    def take(self, watcher: Watcher) -> list[Change]:
        """What the watcher has not seen, or the first of it; its position moves along.

        Raises `Lagged` if some of it is gone.
        """
        if not watcher.live:
            return self._catch_up(watcher)
        changes = list(watcher.queue)
        watcher.queue.clear()
        watcher.awake.clear()
        for group, revision in watcher.position.items():
            watcher.position[group] = max(revision, self._replica(group).table.applied)
        return changes

    def _catch_up(self, watcher: Watcher) -> list[Change]:
        self._require_kept(watcher, Lagged)
        changes: list[Change] = []
        budget = CATCH_UP_OPS
        for group in watcher.position:
            table = self._replica(group).table
            position = watcher.position[group]
            if watcher.exact and not self._has_changed(watcher, group):
                # Its row says that there is nothing to be found in the history.
                watcher.position[group] = max(position, table.applied)
                continue
            for record in table.history.records_after(position):
                if budget <= 0 or len(changes) >= CATCH_UP_CHANGES:
                    watcher.awake.set()
                    return changes
                budget -= record.ops
                rows = decode_history(record.data)
                found = _changes(group, record.revision, rows)
                changes += [change for change in found if watcher.wants(change.name)]
                watcher.position[group] = record.revision
            watcher.position[group] = max(watcher.position[group], table.applied)
        watcher.live = True
        watcher.awake.clear()
        return changes

    def _has_changed(self, watcher: Watcher, group: int) -> bool:
        """Whether the one key that it watches has, since its position."""
        try:
            changed_at = self._replica(group).table.changed_at(watcher.start)
        except StorageError as error:
            raise self._met_damage(group, error) from error
        return changed_at > watcher.position[group]

    def _require_kept(self, watcher: Watcher, error: type[Compacted] | type[Lagged]) -> None:
        oldest = {group: self._replica(group).table.history.floor for group in watcher.position}
        gone = [group for group, floor in oldest.items() if watcher.position[group] < floor]
        if gone and watcher.exact:
            # What its row says is enough: a key that has not changed since has no change to miss.
            gone = [group for group in gone if self._has_changed(watcher, group)]
            if not gone:
                for group in watcher.position:
                    if watcher.position[group] < oldest[group]:
                        watcher.position[group] = self._replica(group).table.applied
        if gone:
            group = gone[0]
            raise error(
                f"changes of group {group} after revision {watcher.position[group]} are gone; "
                f"those after {oldest[group]} are kept; scan, and watch from the present",
                oldest,
            )
