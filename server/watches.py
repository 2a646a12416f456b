"""Who watches what: changes go from applied batches to the watchers that asked for them.

A watcher reads from the group's history until it has caught up, and then from a queue of its own.
If it lets the queue fill up it goes back to the history; if what it has not seen is gone from
there too, it is told so. Nobody waits for a slow watcher, and its memory is bounded.

Invariant: a watcher is given every matching change after its position once, in the order of each
group's revisions; and of a slot that moves between two groups that it watches, what was changed in
the one before what was changed in the other. All of this happens on the loop's thread, between
awaits.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from globaltable.errors import Compacted, Lagged, SlotElsewhere, StorageError, Unavailable
from globaltable.group import Changed, Replica
from globaltable.holdings import Adoption, Holding, HoldingState
from globaltable.model import OpKind, OutcomeStatus
from globaltable.store.table import ROOT_STATE
from globaltable.topology import slot_of
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
        self.slot = 0
        """Of an exact one, that of its name."""
        self.adopted = 0
        """Of an exact one, the hop at which its group adopted the slot."""
        self.awake = asyncio.Event()
        self.told: Mapping[int, int] = {}
        """The position that the client was told last."""

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
        self._names_by_slot: dict[int, set[bytes]] = {}
        """Of those in `_by_name`."""
        self._prefixes_by_length: Counter[int] = Counter()
        """How many prefixes of each length there are: a name is looked up once for each length,
        however many are watched."""
        self._count = 0
        self._published: dict[int, int] = {}
        """By group that was ever watched, the last revision that was published."""
        self._awaited: dict[int, Sequence[Adoption]] = {}
        """By group, its adoptions of slots of which the release has not been published."""
        self._any_held_back = False

    def __len__(self) -> int:
        return self._count

    def all(self) -> list[Watcher]:
        indices = (self._by_name, self._by_prefix)
        return [one for index in indices for watchers in index.values() for one in watchers]

    def kept(self, group: int) -> tuple[int, int]:
        """The revisions at which its history begins and ends. Raises `Unavailable` if its replica
        does not serve."""
        table = self._replica(group).table
        return table.history.floor, table.applied

    def wake_all(self) -> None:
        """Let every watcher look about."""
        for watcher in self.all():
            watcher.awake.set()

    def add(
        self, start: bytes, exact: bool, groups: Iterable[int], after: Mapping[int, int]
    ) -> Watcher:
        """Watch one name, or all that begin with `start`, in `groups`, after the given revisions.

        A group that `after` does not name is watched from the present on; but one to which the slot
        of the one name that is watched came from a group that `after` names, from where it came.
        Raises `Compacted` if what came after a revision is no longer kept.
        """
        position = {}
        for group in groups:
            applied = self._replica(group).table.applied
            # Between turns all that was applied has been published.
            self._published[group] = applied
            # Nothing is changed by a log's root: who begins before it misses nothing.
            position[group] = max(after.get(group, applied), ROOT_STATE.applied)
        for group in position.keys() - after.keys():
            position[group] = self._begins_at(group, position)
        watcher = Watcher(start, exact, position)
        if exact:
            self._place(watcher, after)
        self._require_kept(watcher, Compacted)
        for group in position:
            self._await_releases(group)
        if not exact and start not in self._by_prefix:
            self._prefixes_by_length[len(start)] += 1
        index = self._by_name if exact else self._by_prefix
        index.setdefault(start, set()).add(watcher)
        if exact:
            self._names_by_slot.setdefault(watcher.slot, set()).add(start)
        self._count += 1
        return watcher

    def _begins_at(self, group: int, position: Mapping[int, int]) -> int:
        """The present of a group; or where it adopted a slot, if the replica here of the group that
        released it has not come as far: that is to be told of first."""
        for adoption in self._replica(group).table.holdings.adoptions:
            source = position.get(adoption.source)
            if source is not None and source < adoption.released_at:
                return min(position[group], adoption.revision)
        return position[group]

    def _place(self, watcher: Watcher, after: Mapping[int, int]) -> None:
        """Where in its group a watcher of one key begins, that may have watched it in another.

        `after` names every group that it has been told of, also if the slot has left it since. So
        one that comes back to a group is not told there what it was told before, even by a replica
        that is behind, and knows nothing yet of the slot's leaving and coming back.
        """
        (group,) = watcher.position
        watcher.slot = slot_of(watcher.start, self._replica(group).table.slots)
        holding = self._holding(watcher)
        watcher.adopted = holding.adopted
        came = holding.state is HoldingState.HELD and holding.adopted == holding.hop > 0
        if not after or (group in after and not (came and after[group] < holding.revision)):
            return
        if came and after.get(holding.group, -1) >= holding.released_at:
            watcher.position[group] = holding.revision
            return
        raise Compacted(
            "the slot of the key was in another group meanwhile, whose changes the position does "
            "not cover; read it, and watch from the present",
            {group: max(self._replica(group).table.history.floor, holding.revision)},
        )

    def remove(self, watcher: Watcher) -> None:
        index = self._by_name if watcher.exact else self._by_prefix
        watchers = index.get(watcher.start, set())
        if watcher in watchers:
            watchers.remove(watcher)
            self._count -= 1
        if not watchers and index.pop(watcher.start, None) is not None:
            if watcher.exact:
                self._forget_name(watcher)
            else:
                self._prefixes_by_length[len(watcher.start)] -= 1
                self._prefixes_by_length += Counter()  # without those of which there are none

    def _forget_name(self, watcher: Watcher) -> None:
        names = self._names_by_slot[watcher.slot]
        names.discard(watcher.start)
        if not names:
            del self._names_by_slot[watcher.slot]

    def publish(self, group: int, changed: Changed) -> None:
        """A batch was applied."""
        if not self._count:
            return
        if group in self._published:
            self._published[group] = changed.revision
        if self._any_held_back:
            self._any_held_back = False
            self.wake_all()
        if self._awaited:
            self._hold_back(group)
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

    def moved(self, group: int, slots: Iterable[int]) -> None:
        """The group came to hold more or less slots; to be told before what it applied is
        published. Who watches a key of one looks about."""
        self._await_releases(group)
        for slot in slots:
            for name in self._names_by_slot.get(slot, ()):
                for watcher in self._by_name[name]:
                    watcher.awake.set()

    def _await_releases(self, group: int) -> None:
        """A slot may have come to be held here before its release elsewhere has been published."""
        awaited = [one for one in self._adoptions(group) if not self._is_released(one)]
        if awaited:
            self._awaited[group] = awaited
        else:
            self._awaited.pop(group, None)

    def _adoptions(self, group: int) -> Sequence[Adoption]:
        try:
            return self._replica(group).table.holdings.adoptions
        except Unavailable:
            # Out of service: who watches it will be told so.
            return ()

    def _is_released(self, adoption: Adoption) -> bool:
        published = self._published.get(adoption.source)
        return published is None or published >= adoption.released_at

    def _hold_back(self, group: int) -> None:
        """What the group changed waits in the history, as long as what another changed before of a
        slot that both have held is yet to come: there each watcher finds both in order."""
        for number in list(self._awaited):
            self._await_releases(number)
        if group in self._awaited:
            self._fall_back(group)

    def jumped(self, group: int) -> None:
        """The group's table was replaced by a snapshot: what was skipped is in its history.

        Also while the replica does not serve, as when it joins anew: who looks meanwhile is told
        so, but who comes to look only later, when it serves, has skipped as much.
        """
        with contextlib.suppress(Unavailable):
            if group in self._published:
                self._published[group] = self._replica(group).table.applied
        self._await_releases(group)
        self._fall_back(group)

    def _fall_back(self, group: int) -> None:
        for index in (self._by_name, self._by_prefix):
            for watchers in index.values():
                for watcher in watchers:
                    if group in watcher.position:
                        watcher.fall_back()

    def take(self, watcher: Watcher) -> list[Change]:
        """What the watcher has not seen, or the first of it; its position moves along.

        Raises `Lagged` if some of it is gone, `SlotElsewhere` if the one key that is watched is in
        another group by now, and all that was changed here has been told: it is not raised before
        a position has been taken that covers it, with which it is gone on from there.
        """
        if watcher.exact:
            self._require_stayed(watcher)
        before = dict(watcher.position)
        changes = self._take(watcher)
        if watcher.exact and not self._holds(watcher):
            if watcher.live and not changes and watcher.position == before:
                (group,) = watcher.position
                holdings = self._replica(group).table.holdings
                raise SlotElsewhere(watcher.slot, holdings.went_to(watcher.slot))
            watcher.awake.set()
        return changes

    def _holding(self, watcher: Watcher) -> Holding:
        """Of the one key that is watched, in the one group in which it is."""
        (group,) = watcher.position
        return self._replica(group).table.holdings.of(watcher.slot)

    def _holds(self, watcher: Watcher) -> bool:
        return self._holding(watcher).state is HoldingState.HELD

    def _require_stayed(self, watcher: Watcher) -> None:
        """A slot that has left and come back meanwhile was changed elsewhere between."""
        holding = self._holding(watcher)
        if holding.adopted != watcher.adopted:
            (group,) = watcher.position
            floor = self._replica(group).table.history.floor
            raise Lagged(
                "the slot of the key was in another group meanwhile, where it may have changed; "
                "read it, and watch from the present",
                {group: max(floor, holding.revision)},
            )

    def _take(self, watcher: Watcher) -> list[Change]:
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
        before: dict[int, int] = {}
        while watcher.position != before:
            # What one group is held back for another may have brought meanwhile.
            before = dict(watcher.position)
            for group in watcher.position:
                left = self._read_on(watcher, group, changes, budget)
                if left is None:
                    watcher.awake.set()
                    return changes
                budget = left
        watcher.awake.clear()
        watcher.live = all(self._limit(watcher, group) is None for group in watcher.position)
        self._any_held_back |= not watcher.live
        return changes

    def _read_on(
        self, watcher: Watcher, group: int, changes: list[Change], budget: int
    ) -> int | None:
        """From the history of a group, as far as the watcher may be told. What is left of the
        budget of ops; None if it did not last."""
        table = self._replica(group).table
        position = watcher.position[group]
        if watcher.exact and not self._has_changed(watcher, group):
            # Its row says that there is nothing to be found in the history.
            watcher.position[group] = max(position, table.applied)
            return budget
        limit = self._limit(watcher, group)
        for record in table.history.records_after(position):
            if limit is not None and record.revision > limit:
                break
            if budget <= 0 or len(changes) >= CATCH_UP_CHANGES:
                return None
            budget -= record.ops
            rows = decode_history(record.data)
            found = _changes(group, record.revision, rows)
            changes += [change for change in found if watcher.wants(change.name)]
            watcher.position[group] = record.revision
        end = table.applied if limit is None else limit
        watcher.position[group] = max(watcher.position[group], end)
        return budget

    def _limit(self, watcher: Watcher, group: int) -> int | None:
        """The revision of a group behind which a watcher is told nothing yet: there the group
        adopted a slot, and the watcher has yet to be told of changes of it that the one that
        released it made before. None: there is none."""
        position = watcher.position
        for adoption in self._replica(group).table.holdings.adoptions:
            told = position.get(adoption.source)
            is_ahead = adoption.revision >= position[group]
            if is_ahead and told is not None and told < adoption.released_at:
                return adoption.revision
        return None

    def _has_changed(self, watcher: Watcher, group: int) -> bool:
        """Whether the one key that it watches has, since its position; or may have, for its row was
        deleted when its slot had left."""
        if not self._holds(watcher):
            return True
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
