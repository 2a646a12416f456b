"""A watcher of a slot that moves between groups misses nothing, and is told of it in order."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globaltable.errors import Compacted, Lagged, SlotElsewhere
from globaltable.model import Batch, Op, OpKind, OutcomeStatus, qualified_name
from globaltable.server.watches import Change, Watcher
from globaltable.slot_history import SlotHistory
from globaltable.slot_moves import Ask, Ends, Rest, copies, next_action
from globaltable.slot_steps import Step
from globaltable.topology import SLOTS_DEFAULT, slot_of
from tests.server.tables import TABLE, Tables

NAME = qualified_name(TABLE, "k")
SLOT = slot_of(NAME, SLOTS_DEFAULT)


class Cluster:
    """Two groups as they go on somewhere, and what their logs hold."""

    def __init__(self) -> None:
        self.tables = Tables(2, dealt=False)
        self.logs: tuple[list[Batch], list[Batch]] = ([], [])
        self.holder = 0
        self._version = 0

    def _append(self, batch: Batch, group: int) -> OutcomeStatus:
        self.logs[group].append(batch)
        (outcome,) = self.tables.apply_batch(batch, group)
        return outcome.status

    def change(self) -> None:
        kind = OpKind.MOVE if self._version else OpKind.BIND
        op = Op(kind, NAME, f"u{self._version}", self._version, 1, self._version + 1)
        batch = self.tables.batch([op], self.holder)
        assert self._append(batch, self.holder) is OutcomeStatus.APPLIED
        self._version += 1

    def move(self) -> None:
        """To the other group."""
        ends = Ends(SLOT, self.holder, 1 - self.holder)
        for group, step in self._steps(ends):
            batch = self.tables.batch([], group, step)
            assert self._append(batch, group) is OutcomeStatus.APPLIED
        self.holder = ends.target

    def _steps(self, ends: Ends) -> Iterator[tuple[int, Step]]:
        source, target = (self.tables.by_group[group] for group in ends[1:])
        while True:
            action = next_action(ends, source, target.holdings.of(SLOT))
            if isinstance(action, Rest):
                return
            if isinstance(action, Ask):
                yield action.group, action.step
                continue
            for copy in copies(ends, SlotHistory(source), action.hop, action.after):
                if copy is not None:
                    yield ends.target, copy


class Node:
    """One that follows the two logs, each at its own pace."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tables = Tables(2, dealt=False)
        self._at = [0, 0]

    def follow(self, group: int, entries: int = 1_000) -> None:
        log, at = self.cluster.logs[group], self._at[group]
        for batch in log[at : at + entries]:
            self.tables.apply_batch(batch, group)
        self._at[group] = min(len(log), at + entries)

    def watch(self, key: bool = False, after: dict[int, int] | None = None) -> Watcher:
        groups = [self.cluster.holder] if key else [0, 1]
        return self.tables.watches.add(NAME, key, groups, after or {})

    def take(self, watcher: Watcher) -> list[Change]:
        changes = []
        for _ in range(100):
            changes += self.tables.watches.take(watcher)
            if not watcher.awake.is_set():
                return changes
        raise AssertionError("a watcher that is never done")


def _versions(changes: list[Change]) -> list[int]:
    return [change.version for change in changes]


BEGINNING = {0: 1, 1: 1}


class TestOfBothGroups:
    def test_what_one_changed_waits_for_what_the_other_changed_before(self) -> None:
        cluster = Cluster()
        cluster.change()
        cluster.move()
        cluster.change()
        node = Node(cluster)
        watcher = node.watch(after=BEGINNING)
        node.follow(1)
        assert node.take(watcher) == [], "the first change is yet to come here"
        node.follow(0)
        assert watcher.awake.is_set(), "it is woken for what it waits for"
        assert _versions(node.take(watcher)) == [1, 2]

    def test_one_that_is_live_falls_back_and_goes_on(self) -> None:
        cluster, count = Cluster(), 0
        node = Node(cluster)
        watcher = node.watch()
        node.take(watcher)
        for leads in (1, 0, 1):
            cluster.change()
            cluster.move()
            cluster.change()
            node.follow(leads)
            seen = node.take(watcher)
            node.follow(1 - leads)
            node.follow(leads)
            seen += node.take(watcher)
            assert _versions(seen) == [count + 1, count + 2]
            count += 2

    def test_one_that_begins_where_the_slot_came_before_it_left(self) -> None:
        cluster = Cluster()
        cluster.change()
        cluster.move()
        cluster.change()
        node = Node(cluster)
        node.follow(1)
        watcher = node.watch()
        node.follow(0)
        assert _versions(node.take(watcher)) == [1, 2]

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_at_whatever_pace_the_replicas_follow(self, data: st.DataObject) -> None:
        cluster = Cluster()
        for moves in data.draw(st.lists(st.booleans(), max_size=8)):
            if moves:
                cluster.move()
            else:
                cluster.change()
        node = Node(cluster)
        watcher = node.watch(after=BEGINNING)
        seen: list[Change] = []
        for group in data.draw(st.lists(st.integers(0, 1), max_size=60)):
            node.follow(group, data.draw(st.integers(1, 3)))
            if data.draw(st.booleans()):
                seen += node.take(watcher)
            if data.draw(st.integers(0, 9)) == 0:
                # Its node dies, and it goes on at another, which has come as far.
                position = dict(watcher.position)
                watcher = node.tables.watches.add(NAME, False, [0, 1], position)
        for group in (1, 0):
            node.follow(group)
        seen += node.take(watcher)
        assert _versions(seen) == list(range(1, len(seen) + 1))
        assert len(seen) == sum(bool(b.ops) for log in cluster.logs for b in log)


class TestOfOneKey:
    def test_it_is_told_all_and_then_where_the_key_is(self) -> None:
        cluster = Cluster()
        cluster.change()
        node = Node(cluster)
        node.follow(0)
        watcher = node.watch(key=True)
        node.take(watcher)
        cluster.change()
        cluster.move()
        node.follow(0)
        assert _versions(node.tables.watches.take(watcher)) == [2]
        assert watcher.awake.is_set(), "it is not left waiting"
        with pytest.raises(SlotElsewhere) as error:
            node.tables.watches.take(watcher)
        assert (error.value.slot, error.value.group) == (SLOT, 1)

    def test_one_that_comes_late_finds_all_in_the_history_though_the_row_is_gone(self) -> None:
        cluster = Cluster()
        cluster.change()
        cluster.move()
        node = Node(cluster)
        node.follow(0)
        watcher = node.tables.watches.add(NAME, True, [0], {0: 1})
        assert _versions(node.tables.watches.take(watcher)) == [1]

    def test_it_goes_on_in_the_other_group_from_where_the_slot_came(self) -> None:
        cluster = Cluster()
        cluster.change()
        cluster.move()
        cluster.change()
        node = Node(cluster)
        node.follow(0)
        node.follow(1)
        left = node.tables.by_group[0].holdings.of(SLOT).revision
        watcher = node.watch(key=True, after={0: left})
        assert _versions(node.take(watcher)) == [2]

    def test_one_that_did_not_see_all_of_the_first_group_is_told_so(self) -> None:
        cluster = Cluster()
        cluster.change()
        cluster.move()
        node = Node(cluster)
        node.follow(0)
        node.follow(1)
        with pytest.raises(Compacted, match="in another group meanwhile"):
            node.watch(key=True, after={0: 1})

    def test_one_whose_slot_left_and_came_back_is_told_so(self) -> None:
        """Whatever happened between happened elsewhere."""
        cluster = Cluster()
        cluster.change()
        node = Node(cluster)
        node.follow(0)
        watcher = node.watch(key=True)
        node.take(watcher)
        cluster.move()
        cluster.change()
        cluster.move()
        node.follow(0)
        with pytest.raises(Lagged, match="in another group meanwhile"):
            node.tables.watches.take(watcher)
        with pytest.raises(Compacted, match="in another group meanwhile"):
            node.watch(key=True, after=dict(watcher.position))

    def test_one_that_comes_back_is_not_told_again_by_a_replica_that_is_behind(self) -> None:
        """It knows of the slot's coming, and not yet of its leaving and coming back."""
        cluster = Cluster()
        cluster.move()
        ahead, behind = Node(cluster), Node(cluster)
        for group in (0, 1):
            behind.follow(group)
            ahead.follow(group)
        watcher = ahead.watch(key=True)
        ahead.take(watcher)
        cluster.change()
        cluster.move()
        ahead.follow(1)
        assert _versions(ahead.tables.watches.take(watcher)) == [1]
        with pytest.raises(SlotElsewhere):
            ahead.take(watcher)
        position = dict(watcher.position)
        cluster.change()
        ahead.follow(0)
        watcher = ahead.watch(key=True, after=position)
        assert _versions(ahead.take(watcher)) == [2]
        cluster.move()
        cluster.change()
        ahead.follow(0)
        with pytest.raises(SlotElsewhere):
            ahead.take(watcher)
        position |= watcher.position
        # To the one that is behind, the slot is still in the group to which it came first.
        late = behind.watch(key=True, after=position)
        assert behind.take(late) == []
        behind.follow(1, entries=1)
        assert behind.take(late) == [], "it has been told of the first change"
        behind.follow(1)
        with pytest.raises(Lagged, match="in another group meanwhile"):
            behind.take(late)
        # And one that is not goes on from where it came again.
        ahead.follow(1)
        assert _versions(ahead.take(ahead.watch(key=True, after=position))) == [3]
