"""A slot's move between the tables of two groups: interrupted anywhere, gone on with, and
undone."""

from collections.abc import Callable, Iterator
from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from globaltable import slot_history, slot_moves, slot_rows
from globaltable.deal import NOTHING, Deal
from globaltable.errors import SlotElsewhere
from globaltable.holdings import NO_GROUP, Holding, HoldingState
from globaltable.model import Batch, Binding, Op, OpKind, Outcome, OutcomeStatus, qualified_name
from globaltable.slot_history import SlotHistory
from globaltable.slot_moves import Ask, CopyOn, Ends, Move, Rest, copies, duty, next_action
from globaltable.slot_rows import contents_of
from globaltable.slot_steps import Adopt, CopiedRow, Copy, Drop, Refuse, Release, Step
from globaltable.table import Table
from globaltable.topology import slot_of
from globaltable.wire.rows import decode_history, decode_row
from tests.simulation.disk import Platter, SimTable

SLOTS = 16
SLOT = 7
A, B = 0, 1
ENDS = Ends(SLOT, A, B)
NAMES = [
    name
    for number in range(400)
    if slot_of(name := qualified_name("t", f"k{number}"), SLOTS) == SLOT
]


class Group:
    """A table, and the disk under it."""

    def __init__(self, deal: Deal) -> None:
        self.store = SimTable(Platter())
        image = self.store.image(0)
        self._deal = deal
        self.table = Table(SLOTS, self.store.rows(0), image.state, image.history, deal)

    def flush(self) -> None:
        flush = self.table.begin_flush()
        if flush is not None:
            self.store.flush([(0, flush)])
            self.store.refresh()
            self.table.end_flush()

    def restart(self) -> None:
        """As from a snapshot, or after a crash right behind a flush."""
        self.flush()
        image = self.store.image(0)
        self.table = Table(SLOTS, self.store.rows(0), image.state, image.history, self._deal)

    def apply(self, *ops: Op, as_of: int | None = None) -> list[Outcome]:
        table = self.table
        batch = Batch(bytes(16), table.applied if as_of is None else as_of, ops)
        return table.apply(table.applied + 1, 1, batch).outcomes

    def take(self, step: Step) -> Outcome:
        table = self.table
        applied = table.apply(table.applied + 1, 1, Batch(bytes(16), table.applied, (), step))
        assert not applied.rows, "watchers are told of no step"
        (outcome,) = applied.outcomes
        return outcome

    @property
    def holding(self) -> Holding:
        return self.table.holdings.of(SLOT)


class Pair:
    """The slot is in A, and to come to B."""

    def __init__(self) -> None:
        self.groups = [Group(Deal(0, 1)), Group(NOTHING)]
        self.a, self.b = self.groups
        self._sequences = count(1)

    def op(self, kind: OpKind, name: bytes, unit: str = "", version: int = 0) -> Op:
        return Op(kind, name, unit, version, 9, next(self._sequences))

    def fill(self, rows: int) -> None:
        for name in NAMES[:rows]:
            self.a.apply(self.op(OpKind.BIND, name, "A"))

    def steps(self, ends: Ends = ENDS, *, undo: bool = False) -> Iterator[tuple[int, Step]]:
        """What a mover that knows the present asks for, until there is nothing to do."""
        while True:
            source, target = self.groups[ends.source], self.groups[ends.target]
            action = next_action(ends, source.table, target.holding, undo=undo)
            if isinstance(action, Rest):
                return
            if isinstance(action, Ask):
                yield action.group, action.step
                continue
            assert isinstance(action, CopyOn)
            for copy in copies(ends, SlotHistory(source.table), action.hop, action.after):
                if copy is not None:
                    yield ends.target, copy

    def move(self, ends: Ends = ENDS, *, undo: bool = False) -> list[str]:
        names = []
        for group, step in self.steps(ends, undo=undo):
            outcome = self.groups[group].take(step)
            assert outcome.status is OutcomeStatus.APPLIED, outcome
            names.append(f"{type(step).__name__} {'ab'[group]}")
            assert len(names) < 200, names
        return names

    def rows(self, group: Group) -> list[CopiedRow]:
        return [
            slot_rows.copied_row(name, decode_row(data))
            for name, data in group.table.rows_of_slot(SLOT)
        ]


@pytest.fixture(params=["in memory", "flushed", "restarted"])
def settle(request: pytest.FixtureRequest) -> Callable[[Pair], None]:
    """What happens to the tables between two steps."""

    def settle(pair: Pair) -> None:
        for group in pair.groups:
            if request.param == "flushed":
                group.flush()
            elif request.param == "restarted":
                group.restart()

    return settle


def test_a_move_takes_the_steps_of_the_books() -> None:
    pair = Pair()
    pair.fill(3)
    before = pair.rows(pair.a)
    assert pair.move() == ["Copy b", "Release a", "Copy b", "Adopt b", "Drop a"]
    assert pair.rows(pair.b) == before and not pair.rows(pair.a)
    assert pair.a.holding.emptied and pair.b.holding.state is HoldingState.HELD
    assert pair.move() == [], "there is nothing left to do"


def test_versions_units_and_tombstones_stay_what_they_were(
    settle: Callable[[Pair], None],
) -> None:
    pair = Pair()
    pair.fill(4)
    pair.a.apply(pair.op(OpKind.MOVE, NAMES[0], "B", 1))
    pair.a.apply(pair.op(OpKind.UNBIND, NAMES[1], version=1))
    for group, step in pair.steps():
        pair.groups[group].take(step)
        settle(pair)
    adopted_at = pair.b.holding.revision
    binding = pair.b.table.get(NAMES[0])
    assert binding is not None and binding[:2] == ("B", 2) and binding.revision <= adopted_at
    assert pair.b.table.get(NAMES[1]) is None
    (outcome,) = pair.b.apply(pair.op(OpKind.BIND, NAMES[1], "C"))
    assert outcome.binding is not None and outcome.binding.version == 3, "no version comes twice"
    settle(pair)
    assert [name for name, _ in pair.a.table.rows_of_slot(SLOT)] == []


def test_ops_are_told_where_the_slot_went_from_its_release_on() -> None:
    pair = Pair()
    pair.fill(2)
    told = {}
    for group, step in pair.steps():
        pair.groups[group].take(step)
        (here,) = pair.a.apply(pair.op(OpKind.BIND, NAMES[0], "X"))
        (there,) = pair.b.apply(pair.op(OpKind.BIND, NAMES[0], "X"))
        told[type(step)] = (here.status, here.group, there.status, there.group)
    exists, elsewhere = OutcomeStatus.EXISTS, OutcomeStatus.ELSEWHERE
    assert told[Release] == (elsewhere, B, elsewhere, NO_GROUP)
    assert told[Adopt] == told[Drop] == (elsewhere, B, exists, NO_GROUP)
    with pytest.raises(SlotElsewhere, match="slot 7 is in group 1") as error:
        pair.a.table.get(NAMES[0])
    assert (error.value.slot, error.value.group) == (SLOT, B)
    assert [binding for _, binding in pair.a.table.scan(b"", b"\xff")] == []
    assert len(list(pair.b.table.scan(b"", b"\xff"))) == 2


def test_a_retry_is_told_its_first_outcome_on_both_sides(settle: Callable[[Pair], None]) -> None:
    """Also of an op that changed nothing, and of one whose key has changed since."""
    pair = Pair()
    ops = [
        pair.op(OpKind.BIND, NAMES[0], "A"),
        pair.op(OpKind.BIND, NAMES[0], "B"),
        pair.op(OpKind.MOVE, NAMES[0], "C", 1),
        pair.op(OpKind.UNBIND, NAMES[1], version=1),
    ]
    first = pair.a.apply(*ops)
    for group, step in pair.steps():
        pair.groups[group].take(step)
        settle(pair)
    pair.b.apply(pair.op(OpKind.MOVE, NAMES[0], "D", 2))
    again = pair.b.apply(*ops)
    assert pair.a.apply(*ops) == first
    assert [_without_revision(o) for o in again] == [_without_revision(o) for o in first]
    binding = pair.b.table.get(NAMES[0])
    assert binding is not None and binding[:2] == ("D", 3), "no retry has taken effect"


def _without_revision(outcome: Outcome) -> Outcome:
    binding = outcome.binding
    return outcome._replace(binding=None if binding is None else Binding(*binding[:2], 0))


def test_a_watcher_finds_no_change_in_what_was_copied() -> None:
    """A copied row may have been changed at the very revision at which it is copied in."""
    pair = Pair()
    pair.fill(6)
    pair.move()
    table = pair.b.table
    for record in table.history.records_after(table.history.floor):
        for row in decode_history(record.data):
            assert row.revision != record.revision


def test_an_op_of_a_batch_made_before_the_slot_came_is_refused() -> None:
    """The batch may have been applied and told of as elsewhere before, and come a second time."""
    pair = Pair()
    pair.fill(1)
    early = pair.b.table.applied
    op = pair.op(OpKind.BIND, NAMES[3], "X")
    assert pair.b.apply(op, as_of=early)[0].status is OutcomeStatus.ELSEWHERE
    pair.move()
    (late,) = pair.b.apply(op, as_of=early)
    assert late.status is OutcomeStatus.UNAVAILABLE and "before its slot came" in late.detail
    assert pair.b.table.get(NAMES[3]) is None
    (fresh,) = pair.b.apply(op)
    assert fresh.status is OutcomeStatus.APPLIED


def test_the_slot_in_which_the_topology_is_kept_stays() -> None:
    group = Group(Deal(0, 1))
    refused = group.take(Release(0, 1, B))
    assert (
        refused.status is OutcomeStatus.INVALID_ARGUMENT and "stays in its group" in refused.detail
    )
    assert group.take(Release(SLOTS, 1, B)).detail == f"slot {SLOTS} is none of {SLOTS}"


class TestACopyIsTakenWholeOrNotAtAll:
    def test_a_name_of_another_slot(self) -> None:
        pair = Pair()
        stray = next(
            name
            for number in count()
            if slot_of(name := qualified_name("t", f"s{number}"), SLOTS) != SLOT
        )
        rows = (CopiedRow(NAMES[0], "A", 1, 9, 1), CopiedRow(stray, "A", 1, 9, 2))
        outcome = pair.b.take(Copy(SLOT, 1, A, 0, 5, rows, ()))
        assert (
            outcome.status is OutcomeStatus.INVALID_ARGUMENT
            and "is not of slot 7" in outcome.detail
        )
        assert not pair.rows(pair.b) and pair.b.holding.state is HoldingState.ABSENT

    def test_another_unit_at_the_same_version(self) -> None:
        """Of two groups that both bound the key, say: it must never look whole."""
        pair = Pair()
        pair.b.take(Copy(SLOT, 1, A, 0, 5, (CopiedRow(NAMES[0], "A", 1, 9, 1),), ()))
        rows = (CopiedRow(NAMES[1], "A", 1, 9, 2), CopiedRow(NAMES[0], "B", 1, 9, 3))
        outcome = pair.b.take(Copy(SLOT, 1, A, 0, 6, rows, ()))
        assert outcome.status is OutcomeStatus.INVALID_ARGUMENT
        assert "copied in as 'B' at version 1, which is staged as 'A'" in outcome.detail
        assert len(pair.rows(pair.b)) == pair.b.holding.rows == 1

    @given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=4))
    def test_in_any_order_and_more_than_once_it_is_the_same(
        self, order: list[int], again: list[int]
    ) -> None:
        rows = [
            CopiedRow(NAMES[at % 3], None if at == 5 else f"u{at}", 1 + at // 3, 9, at)
            for at in range(6)
        ]
        group = Group(NOTHING)
        for at in [*order, *again]:
            assert group.take(Copy(SLOT, 1, A, 0, 0, (rows[at],), ())).status is (
                OutcomeStatus.APPLIED
            )
        holding = group.holding
        assert (holding.rows, holding.digest) == contents_of(rows[3:])


def _interrupted_at() -> Iterator[tuple[int, bool]]:
    for steps in range(12):
        yield steps, False
        yield steps, True


@pytest.mark.parametrize(("steps", "twice"), list(_interrupted_at()))
def test_a_move_is_gone_on_with_from_wherever_it_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, steps: int, twice: bool
) -> None:
    """And whatever its last step may have come to: it may have been lost, or be taken late,
    twice."""
    monkeypatch.setattr(slot_moves, "COPY_ROWS_MAX", 2)
    monkeypatch.setattr(slot_moves, "BEHIND_ROWS_MAX", 1)
    monkeypatch.setattr(slot_rows, "DROP_ROWS_MAX", 2)
    pair = Pair()
    pair.fill(5)
    left: list[tuple[int, Step]] = []
    for _, (group, step) in zip(range(steps), pair.steps(), strict=False):
        left.append((group, step))
        pair.groups[group].take(step)
        pair.a.apply(pair.op(OpKind.BIND, NAMES[5 + len(left)], "A"))
    if twice:
        for group, step in left:
            pair.groups[group].take(step)
    names = {name for name, _ in pair.a.table.rows_of_slot(SLOT)}
    names |= {name for name, _ in pair.b.table.rows_of_slot(SLOT)}
    pair.move()
    for group, step in left:
        pair.groups[group].take(step)
    assert {name for name, _ in pair.b.table.rows_of_slot(SLOT)} == names
    assert not pair.rows(pair.a) and pair.b.table.holdings.holds(SLOT)
    assert not pair.a.table.holdings.holds(SLOT)


@pytest.mark.parametrize("steps", range(8))
def test_a_move_is_undone_from_wherever_it_has_come_to(steps: int) -> None:
    """But once it is adopted, it is completed; and either way it can be moved once more."""
    pair = Pair()
    pair.fill(3)
    before = pair.rows(pair.a)
    for _, (group, step) in zip(range(steps), pair.steps(), strict=False):
        pair.groups[group].take(step)
    adopted = pair.b.table.holdings.holds(SLOT)
    names = pair.move(undo=True)
    assert pair.a.table.holdings.holds(SLOT) is not adopted
    holder, other = (pair.b, pair.a) if adopted else (pair.a, pair.b)
    assert pair.rows(holder) == before and not pair.rows(other)
    assert adopted or not names or names[0] == "Refuse b"
    pair.move(Ends(SLOT, B, A) if adopted else ENDS)
    assert pair.rows(other) == before and not pair.rows(holder)


def test_a_slot_comes_back_and_goes_again() -> None:
    pair = Pair()
    pair.fill(3)
    for turn in range(6):
        pair.move(Ends(SLOT, turn % 2, 1 - turn % 2))
        (outcome,) = pair.groups[1 - turn % 2].apply(pair.op(OpKind.MOVE, NAMES[0], "Z", turn + 1))
        assert outcome.status is OutcomeStatus.APPLIED, outcome
    assert pair.a.holding.hop == pair.b.holding.hop == 6


def test_what_was_copied_wrongly_is_given_up_and_copied_anew() -> None:
    """Whoever copied it read a table whose place another had taken."""
    pair = Pair()
    pair.fill(3)
    steps = pair.steps()
    for group, step in steps:
        if isinstance(step, Copy):
            step = step._replace(rows=step.rows[1:])
        pair.groups[group].take(step)
        if isinstance(step, Release):
            break
    pair.b.take(Copy(SLOT, 1, A, pair.b.holding.through, pair.a.table.applied, (), ()))
    names = pair.move()
    assert names[:2] == ["Refuse b", "Reclaim a"]
    assert names[-3:] == ["Copy b", "Adopt b", "Drop a"]
    assert len(pair.rows(pair.b)) == 3


def test_a_large_slot_is_copied_ahead_until_little_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_moves, "COPY_ROWS_MAX", 4)
    monkeypatch.setattr(slot_moves, "BEHIND_ROWS_MAX", 2)
    pair = Pair()
    pair.fill(12)
    behind = []
    for group, step in pair.steps():
        pair.groups[group].take(step)
        if isinstance(step, Copy) and pair.a.table.holdings.holds(SLOT):
            pair.a.apply(pair.op(OpKind.MOVE, NAMES[0], "B", 1))
        if isinstance(step, Release):
            through = pair.b.holding.through
            behind = [
                name
                for name, data in pair.a.table.rows_of_slot(SLOT)
                if decode_row(data).revision > through
            ]
    assert len(behind) <= 2


def test_a_pass_gives_way_while_it_reads_a_long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_history, "READ_OPS_AT_ONCE", 3)
    pair = Pair()
    pair.fill(10)
    looks = list(copies(ENDS, SlotHistory(pair.a.table), 1, 0))
    assert looks.count(None) == 3, "between four looks"
    assert [len(copy.ops) for copy in looks if copy is not None] == [10]


class TestDuty:
    """What is to be done about a slot by who cares for one of the groups."""

    @pytest.mark.parametrize(
        ("state", "emptied", "wanted", "right"),
        [
            (HoldingState.HELD, False, 0, None),
            (HoldingState.HELD, False, 1, Move(Ends(SLOT, 0, 1), undo=False)),
            (HoldingState.RELEASED, False, 1, Move(Ends(SLOT, 0, 2), undo=False)),
            (HoldingState.RELEASED, False, 0, Move(Ends(SLOT, 0, 2), undo=True)),
            (HoldingState.DROPPED, False, 0, Move(Ends(SLOT, 0, 2), undo=False)),
            (HoldingState.DROPPED, True, 1, None),
            (HoldingState.COPYING, False, 0, None),
            (HoldingState.COPYING, False, 1, Ask(0, Refuse(SLOT, 5, 2))),
            (HoldingState.REFUSED, False, 0, Ask(0, Drop(SLOT, 5))),
            (HoldingState.REFUSED, True, 0, None),
            (HoldingState.ABSENT, False, 0, None),
        ],
    )
    def test_it_follows_from_what_the_group_holds(
        self, state: HoldingState, emptied: bool, wanted: int, right: Move | Ask | None
    ) -> None:
        assert duty(SLOT, 0, Holding(state, 5, 2, emptied=emptied), wanted) == right


_ACTIONS = st.sampled_from(("step", "lose", "late", "write", "flip", "restart a", "restart b"))


@settings(deadline=None, max_examples=60)
@given(st.lists(_ACTIONS, max_size=60), st.data())
def test_whatever_happens_no_row_is_lost_and_one_group_serves(
    actions: list[str], data: st.DataObject
) -> None:
    """Steps are lost, or taken late, in any order; the wish changes; the table goes on
    meanwhile."""
    pair = Pair()
    pair.fill(3)
    versions = dict.fromkeys(NAMES[:3], 1)
    wanted = B
    late: list[tuple[int, Step]] = []
    for action in actions:
        if action == "flip":
            wanted = 1 - wanted
        elif action == "write":
            name = data.draw(st.sampled_from(NAMES[:3]))
            ops = [pair.op(OpKind.MOVE, name, "W", versions[name]) for _ in pair.groups]
            outcomes = [g.apply(op)[0] for g, op in zip(pair.groups, ops, strict=True)]
            applied = [o for o in outcomes if o.status is OutcomeStatus.APPLIED]
            assert len(applied) <= 1
            versions[name] += len(applied)
        elif action.startswith("restart"):
            pair.groups[action == "restart b"].restart()
        elif action == "late" and late:
            group, step = late.pop(data.draw(st.integers(0, len(late) - 1)))
            pair.groups[group].take(step)
        else:
            for group, step in _some_steps(pair, wanted):
                if action == "step":
                    pair.groups[group].take(step)
                late.append((group, step))
                break
        held = [group.table.holdings.holds(SLOT) for group in pair.groups]
        assert sum(held) <= 1
    for _ in range(100):
        for group, step in _some_steps(pair, wanted):
            pair.groups[group].take(step)
    holder = pair.groups[wanted]
    found = {name: holder.table.get(name) for name in versions}
    assert {name: b and b.version for name, b in found.items()} == versions
    assert not pair.rows(pair.groups[1 - wanted])


def _some_steps(pair: Pair, wanted: int) -> Iterator[tuple[int, Step]]:
    for number, group in enumerate(pair.groups):
        task = duty(SLOT, number, group.holding, wanted)
        if isinstance(task, Ask):
            yield task.group, task.step
        elif task is not None:
            yield from pair.steps(task.ends, undo=task.undo)
