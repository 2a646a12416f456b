"""The state machine: what each op does, once, and the same before and after a flush."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from globaltable import history
from globaltable.history import identity_of
from globaltable.model import Batch, Binding, Op, OpKind, Outcome, OutcomeStatus, qualified_name
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.table import ROOT_STATE, TableStore
from globaltable.table import Table
from globaltable.wire.batches import encode_batch
from tests.simulation.disk import Platter, SimTable
from tests.simulation.model import Model, Told

SLOTS = 16
EVERYTHING = (b"", b"\xff" * 4)
K = qualified_name("t", "k")


class Desk:
    """A table, its store, and somebody who sends it one batch after the other."""

    def __init__(self, store: TableStore | None = None) -> None:
        self.store: TableStore = store or SimTable(Platter())
        self.table = self.open()
        self._sequence = 0

    def open(self) -> Table:
        image = self.store.image(0)
        return Table(SLOTS, self.store.rows(0), image.state, image.history)

    def op(self, kind: OpKind, name: bytes = K, unit: str = "", version: int = 0) -> Op:
        self._sequence += 1
        return Op(kind, name, unit, version, 7, self._sequence)

    def apply(self, *ops: Op, as_of: int | None = None) -> list[Outcome]:
        standing = self.table.applied if as_of is None else as_of
        revision = self.table.applied + 1
        return self.table.apply(revision, 1, Batch(bytes(16), standing, ops)).outcomes

    def bind(self, unit: str, name: bytes = K) -> Outcome:
        return self.apply(self.op(OpKind.BIND, name, unit))[0]

    def move(self, unit: str, version: int, name: bytes = K) -> Outcome:
        return self.apply(self.op(OpKind.MOVE, name, unit, version))[0]

    def unbind(self, version: int, name: bytes = K) -> Outcome:
        return self.apply(self.op(OpKind.UNBIND, name, version=version))[0]

    def begin_flush(self) -> None:
        flush = self.table.begin_flush()
        assert flush is not None
        self.store.flush([(0, flush)])

    def end_flush(self) -> None:
        self.store.refresh()
        self.table.end_flush()


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestOps:
    def test_the_first_bind_wins_and_makes_version_1(self, desk: Desk) -> None:
        assert desk.bind("A") == Outcome(OutcomeStatus.APPLIED, Binding("A", 1, 2, created=True))
        assert desk.table.get(K) == Binding("A", 1, 2)

    def test_a_later_bind_is_told_the_winner(self, desk: Desk) -> None:
        desk.bind("A")
        assert desk.bind("B") == Outcome(OutcomeStatus.EXISTS, Binding("A", 1, 2))
        assert desk.bind("A").status is OutcomeStatus.EXISTS

    def test_of_two_binds_in_one_batch_the_first_wins(self, desk: Desk) -> None:
        a, b = desk.apply(desk.op(OpKind.BIND, unit="A"), desk.op(OpKind.BIND, unit="B"))
        assert (a.status, b.status) == (OutcomeStatus.APPLIED, OutcomeStatus.EXISTS)
        assert b.binding == Binding("A", 1, 2)

    def test_a_move_at_the_present_version_applies(self, desk: Desk) -> None:
        desk.bind("A")
        assert desk.move("B", 1) == Outcome(OutcomeStatus.APPLIED, Binding("B", 2, 3))

    @pytest.mark.parametrize("version", [1, 3])
    def test_at_another_version_nothing_changes_and_the_present_is_told(
        self, desk: Desk, version: int
    ) -> None:
        desk.bind("A")
        desk.move("B", 1)
        conflict = Outcome(OutcomeStatus.VERSION_CONFLICT, Binding("B", 2, 3))
        assert desk.move("C", version) == desk.unbind(version) == conflict
        assert desk.table.get(K) == Binding("B", 2, 3)

    def test_what_is_not_bound_is_neither_moved_nor_unbound(self, desk: Desk) -> None:
        not_bound = Outcome(OutcomeStatus.NOT_BOUND)
        assert desk.move("B", 1) == desk.unbind(1) == not_bound
        desk.bind("A")
        desk.unbind(1)
        assert desk.move("B", 2) == desk.unbind(2) == not_bound

    def test_an_unbind_tells_the_unit_it_was_bound_to(self, desk: Desk) -> None:
        desk.bind("A")
        assert desk.unbind(1) == Outcome(OutcomeStatus.APPLIED, Binding("A", 2, 3))
        assert desk.table.get(K) is None

    def test_a_version_is_never_used_again(self, desk: Desk) -> None:
        """An unbind leaves a tombstone: else a holder of version 1 would pass for current."""
        desk.bind("A")
        desk.unbind(1)
        bound = desk.bind("B")
        assert bound == Outcome(OutcomeStatus.APPLIED, Binding("B", 3, 4, created=True))
        assert desk.move("C", 1).status is OutcomeStatus.VERSION_CONFLICT

    def test_names_do_not_touch_each_other(self, desk: Desk) -> None:
        other = qualified_name("t", "other")
        desk.bind("A")
        assert desk.bind("B", other).status is OutcomeStatus.APPLIED
        assert desk.table.get(K) == Binding("A", 1, 2)


class TestOnce:
    def test_a_retry_of_the_winner_is_told_it_won(self, desk: Desk) -> None:
        op = desk.op(OpKind.BIND, unit="A")
        assert desk.apply(op) == desk.apply(op)
        assert desk.table.get(K) == Binding("A", 1, 2)

    def test_a_retry_returns_the_first_outcome_though_the_key_has_changed(self, desk: Desk) -> None:
        winner, loser = desk.op(OpKind.BIND, unit="A"), desk.op(OpKind.BIND, unit="B")
        first = desk.apply(winner, loser)
        desk.move("C", 1)
        assert desk.apply(winner, loser) == first
        assert desk.table.get(K) == Binding("C", 2, 3)

    def test_a_refused_op_stays_refused(self, desk: Desk) -> None:
        move = desk.op(OpKind.MOVE, unit="B", version=1)
        (first,) = desk.apply(move)
        desk.bind("A")
        assert desk.apply(move) == [first]

    def test_an_op_twice_in_one_batch_is_applied_once(self, desk: Desk) -> None:
        op = desk.op(OpKind.BIND, unit="A")
        first, second = desk.apply(op, op)
        assert first == second
        assert desk.table.get(K) == Binding("A", 1, 2)

    @pytest.mark.parametrize("at_once", [False, True])
    @pytest.mark.parametrize(
        "change",
        [
            {"name": qualified_name("t", "other")},
            {"kind": OpKind.UNBIND, "unit": "", "version": 1},
            {"unit": "B"},
        ],
    )
    def test_another_op_is_not_told_the_end_of_the_one_whose_id_it_has(
        self, desk: Desk, change: dict[str, Any], at_once: bool
    ) -> None:
        """A caller that numbers no ops, or was forked, would believe a key bound that is not."""
        op = desk.op(OpKind.BIND, unit="A")
        other = op._replace(**change)
        told = desk.apply(op, other) if at_once else [*desk.apply(op), *desk.apply(other)]
        assert [one.status for one in told] == [
            OutcomeStatus.APPLIED,
            OutcomeStatus.INVALID_ARGUMENT,
        ]
        assert desk.table.get(K) == Binding("A", 1, 2)
        assert desk.table.get(qualified_name("t", "other")) is None

    def test_beyond_the_history_only_the_op_that_made_the_row_is_its_retry(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history, "HISTORY_OPS_MAX", 4)
        op = desk.op(OpKind.BIND, unit="A")
        first = desk.apply(op)
        for _ in range(8):
            desk.apply()
        assert desk.table.history.find(identity_of(op.client_id, op.sequence)) is None
        assert desk.apply(op) == first
        for _ in range(8):
            desk.apply()
        unbind = op._replace(kind=OpKind.UNBIND, unit="", version=1)
        assert desk.apply(unbind) == [Outcome(OutcomeStatus.APPLIED, Binding("A", 2, 20))]
        assert desk.table.get(K) is None

    def test_a_retry_after_a_restart_too(self, desk: Desk) -> None:
        op = desk.op(OpKind.BIND, unit="A")
        first = desk.apply(op)
        desk.begin_flush()
        desk.end_flush()
        desk.table = desk.open()
        assert desk.apply(op) == first

    def test_a_batch_older_than_the_history_is_refused_whole(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its ops may have been applied and forgotten: they could no longer be told apart."""
        monkeypatch.setattr(history, "HISTORY_OPS_MAX", 4)
        op = desk.op(OpKind.BIND, unit="A")
        sent_at = desk.table.applied
        desk.apply(op)
        for _ in range(8):
            desk.apply()
        assert desk.table.history.floor > sent_at
        new = desk.op(OpKind.BIND, qualified_name("t", "new"), "B")
        assert [o.status for o in desk.apply(op, new, as_of=sent_at)] == 2 * [
            OutcomeStatus.UNAVAILABLE
        ]
        assert desk.table.get(new.name) is None
        (at_the_floor,) = desk.apply(new, as_of=desk.table.history.floor)
        assert at_the_floor.status is OutcomeStatus.APPLIED

    def test_a_refused_batch_moves_no_floor(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history, "HISTORY_OPS_MAX", 4)
        for _ in range(8):
            desk.apply()
        floor = desk.table.history.floor
        desk.apply(desk.op(OpKind.BIND, unit="A"), as_of=1)
        assert desk.table.history.floor == floor


class TestImport:
    """Rows of another place, taken over as they are."""

    def test_a_row_keeps_its_unit_and_version(self, desk: Desk) -> None:
        (told,) = desk.apply(desk.op(OpKind.IMPORT, unit="A", version=7))
        assert told == Outcome(OutcomeStatus.APPLIED, Binding("A", 7, 2))
        assert desk.table.get(K) == Binding("A", 7, 2)
        assert desk.bind("B") == Outcome(OutcomeStatus.EXISTS, Binding("A", 7, 2))
        assert desk.move("B", 7).binding == Binding("B", 8, 4)

    def test_a_tombstone_keeps_the_version_from_being_used_again(self, desk: Desk) -> None:
        (told,) = desk.apply(desk.op(OpKind.IMPORT, version=4))
        assert told == Outcome(OutcomeStatus.APPLIED, Binding("", 4, 2))
        assert desk.table.get(K) is None
        assert desk.bind("A").binding == Binding("A", 5, 3, created=True)

    def test_to_repeat_it_is_harmless(self, desk: Desk) -> None:
        op = desk.op(OpKind.IMPORT, unit="A", version=7)
        desk.apply(op)
        assert desk.apply(op) == [Outcome(OutcomeStatus.EXISTS, Binding("A", 7, 2))]
        gone = desk.op(OpKind.IMPORT, qualified_name("t", "gone"), version=3)
        first, second = desk.apply(gone, gone)
        assert (first.status, second.status) == (OutcomeStatus.APPLIED, OutcomeStatus.EXISTS)

    @pytest.mark.parametrize(("unit", "version"), [("A", 1), ("A", 3), ("C", 2), ("", 2)])
    def test_it_turns_no_key_back_nor_forth(self, desk: Desk, unit: str, version: int) -> None:
        desk.bind("A")
        desk.move("B", 1)
        (told,) = desk.apply(desk.op(OpKind.IMPORT, unit=unit, version=version))
        assert told == Outcome(OutcomeStatus.VERSION_CONFLICT, Binding("B", 2, 3))
        assert desk.table.get(K) == Binding("B", 2, 3)

    def test_nor_brings_back_what_was_unbound_since(self, desk: Desk) -> None:
        op = desk.op(OpKind.IMPORT, unit="A", version=7)
        desk.apply(op)
        desk.unbind(7)
        assert desk.apply(op) == [Outcome(OutcomeStatus.VERSION_CONFLICT, Binding("", 8, 3))]
        assert desk.table.get(K) is None

    def test_a_retry_of_the_op_that_made_the_row_is_known(self, desk: Desk) -> None:
        """Its caller was told nothing by the cluster that is gone, and asks the new one."""
        bind = desk.op(OpKind.BIND, unit="A")
        row = bind._replace(kind=OpKind.IMPORT, version=1)
        desk.apply(row)
        assert desk.apply(bind)[0] == Outcome(OutcomeStatus.APPLIED, Binding("A", 1, 2, True))

    def test_rows_of_one_identity_are_all_taken_over(self, desk: Desk) -> None:
        """A caller may have used one twice, with more than the history between them."""
        one = desk.op(OpKind.IMPORT, unit="A", version=1)
        other = one._replace(name=qualified_name("t", "other"), unit="B")
        assert {told.status for told in desk.apply(one, other)} == {OutcomeStatus.APPLIED}
        assert desk.table.get(other.name) == Binding("B", 1, 2)

    def test_it_is_told_to_no_watcher_and_goes_before_the_other_ops(self, desk: Desk) -> None:
        ops = desk.op(OpKind.BIND, unit="B"), desk.op(OpKind.IMPORT, unit="A", version=2)
        applied = desk.table.apply(2, 1, Batch(bytes(16), 1, ops))
        assert [row.status for row in applied.rows] == [OutcomeStatus.EXISTS]
        assert applied.outcomes == [
            Outcome(OutcomeStatus.EXISTS, Binding("A", 2, 2)),
            Outcome(OutcomeStatus.APPLIED, Binding("A", 2, 2)),
        ]
        assert desk.table.history.ops == 1

    def test_an_old_batch_imports_nothing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history, "HISTORY_OPS_MAX", 4)
        for _ in range(8):
            desk.apply()
        (told,) = desk.apply(desk.op(OpKind.IMPORT, unit="A", version=7), as_of=1)
        assert told.status is OutcomeStatus.UNAVAILABLE
        assert desk.table.get(K) is None


class TestRevisions:
    def test_every_entry_takes_one_in_order(self, desk: Desk) -> None:
        desk.table.advance(2, 1)
        assert desk.table.applied == 2
        with pytest.raises(AssertionError):
            desk.table.advance(4, 1)
        with pytest.raises(AssertionError):
            desk.table.apply(2, 1, Batch(bytes(16), 1, ()))


class TestFlush:
    def test_reads_are_the_same_before_while_and_after(self, desk: Desk) -> None:
        names = [qualified_name("t", str(number)) for number in range(40)]
        for number, name in enumerate(names):
            desk.bind("A", name)
            if number % 3 == 0:
                desk.unbind(1, name)

        def seen() -> tuple[list[Any], list[Any]]:
            return [desk.table.get(n) for n in names], list(desk.table.scan(*EVERYTHING))

        before = seen()
        assert len(before[1]) == 26
        assert sorted(key for key, _ in before[1]) == [key for key, _ in before[1]]
        desk.begin_flush()
        assert seen() == before
        desk.end_flush()
        assert seen() == before
        assert desk.table.dirty_rows == 0

    def test_a_change_during_a_flush_stands_over_it(self, desk: Desk) -> None:
        desk.bind("A")
        desk.begin_flush()
        desk.move("B", 1)
        assert desk.table.begin_flush() is None, "one at a time"
        desk.end_flush()
        assert desk.table.get(K) == Binding("B", 2, 3)
        assert (desk.table.flushed, desk.table.applied, desk.table.dirty_rows) == (2, 3, 1)

    def test_there_is_nothing_to_flush_until_something_was_applied(self, desk: Desk) -> None:
        assert desk.table.begin_flush() is None
        desk.table.advance(2, 1)
        assert desk.table.begin_flush() is not None, "for the log to be compacted"


def _told(outcomes: list[Outcome]) -> tuple[Told, ...]:
    bindings = [outcome.binding or Binding("", 0, 0) for outcome in outcomes]
    return tuple(
        Told(outcome.status, binding.unit, binding.version)
        for outcome, binding in zip(outcomes, bindings, strict=True)
    )


class TableMachine(RuleBasedStateMachine):
    """Any course of batches, repeats, flushes and restarts, beside the naive model.

    The history is short, so that it forgets, and floors rise, within a run.
    """

    NAMES = tuple(qualified_name("t", key) for key in "abc")

    def open_store(self) -> TableStore:
        return SimTable(Platter())

    @initialize()
    def start(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(history, "HISTORY_OPS_MAX", 8)
        self._desk = Desk(self.open_store())
        self._model = Model(ROOT_STATE.applied)
        self._log: list[Batch] = []
        self._flushing = False

    def teardown(self) -> None:
        self._patch.undo()

    def _apply(self, batch: Batch) -> None:
        self._log.append(batch)
        self._model.apply(encode_batch(batch), 1, batch)
        applied = self._desk.table.apply(self._model.last, 1, batch)
        assert _told(applied.outcomes) == self._model.records[-1].told

    @rule(
        lag=st.sampled_from([0, 0, 0, 1, 5, 20]),
        wanted=st.lists(
            st.tuples(
                st.sampled_from(OpKind),
                st.sampled_from(NAMES),
                st.sampled_from("AB"),
                st.sampled_from([0, 0, 0, -1, 1]),
            ),
            max_size=4,
        ),
    )
    def propose(self, lag: int, wanted: list[tuple[OpKind, bytes, str, int]]) -> None:
        ops = []
        for kind, name, unit, off_by in wanted:
            versions = self._model.versions.get(name)
            version = max(0, versions[-1].version + off_by) if versions else 1
            if kind is OpKind.IMPORT:
                # Of a bound key, a tombstone, or of the very row that stands, and of one behind.
                version = max(1, version)
                unit = "" if off_by else (versions[-1].unit or "" if versions else unit)
            ops.append(self._desk.op(kind, name, unit, version))
        as_of = max(ROOT_STATE.applied, self._model.last - lag)
        self._apply(Batch(len(self._log).to_bytes(16, "big"), as_of, tuple(ops)))

    @precondition(lambda self: self._log)
    @rule(back=st.integers(1, 12))
    def come_twice(self, back: int) -> None:
        self._apply(self._log[-min(back, len(self._log))])

    @precondition(lambda self: not self._flushing and self._desk.table.flushed < self._model.last)
    @rule()
    def begin_flush(self) -> None:
        self._desk.begin_flush()
        self._flushing = True

    @precondition(lambda self: self._flushing)
    @rule()
    def end_flush(self) -> None:
        self._desk.end_flush()
        self._flushing = False

    @rule()
    def restart(self) -> None:
        """Memory is lost; the log is applied again from where the store stands."""
        self._desk.store.refresh()
        self._desk.table = self._desk.open()
        self._flushing = False
        for revision in range(self._desk.table.applied + 1, self._model.last + 1):
            batch = self._log[revision - ROOT_STATE.applied - 1]
            applied = self._desk.table.apply(revision, 1, batch)
            assert _told(applied.outcomes) == self._model.record(revision).told

    @invariant()
    def reads_are_the_models(self) -> None:
        wanted = self._model.bindings_at(self._model.last)
        scanned = {key[2:]: binding for key, binding in self._desk.table.scan(*EVERYTHING)}
        got = {name: self._desk.table.get(name) for name in self.NAMES}
        assert {name: b[:3] for name, b in scanned.items()} == wanted
        assert {name: b[:3] for name, b in got.items() if b is not None} == wanted


TestAgainstTheModel = TableMachine.TestCase
TestAgainstTheModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TableOnLmdbMachine(TableMachine):
    """The same on the store that production uses."""

    def open_store(self) -> TableStore:
        self._directory = TemporaryDirectory()
        self._store = LmdbTableStore(Path(self._directory.name))
        return self._store

    def teardown(self) -> None:
        super().teardown()
        self._store.close()
        self._directory.cleanup()


TestOnLmdbAgainstTheModel = TableOnLmdbMachine.TestCase
TestOnLmdbAgainstTheModel.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None
)


def test_a_scan_is_bounded_by_its_keys(desk: Desk) -> None:
    names = [qualified_name("t", str(number)) for number in range(20)]
    for name in names[:10]:
        desk.bind("A", name)
    desk.begin_flush()
    desk.end_flush()
    for name in names[10:]:
        desk.bind("A", name)
    keys = [key for key, _ in desk.table.scan(*EVERYTHING)]
    scan = desk.table.scanner()

    def scanned(start: bytes, end: bytes) -> Iterator[bytes]:
        return (key for key, _ in scan(start, end))

    assert list(scanned(keys[3], keys[15])) == keys[3:15]
    assert list(scanned(keys[5], keys[5])) == []
