"""The deterministic state machine: `apply(revision, batch)` gives the outcomes.

Responsible for what an op does to the bindings of one group, and for nothing else: no clock, no
randomness, no disk of its own. The rows lie in `layered_rows`, `op_effects` is what ops do to them,
and what has not been flushed is handed out by `begin_flush`.

Invariants:

* The same batches at the same revisions give the same rows, outcomes and history everywhere.
* A name's version is 1 at its first bind and rises by one at each change, an unbind included.
* An op that changes nothing leaves no trace but its outcome in the history.
* An import puts a row where none stands, with the version it comes with. Where one stands it
  changes nothing, so to repeat it is harmless, and it never turns a key back; whoever sweeps
  tombstones must keep each for as long as an import of its key may be under way. It is no change of
  a binding: watchers are not told, and the history knows nothing of it. The imports of a batch go
  before its other ops.
* A batch proposed at a revision older than the history's floor is refused whole: a duplicate of
  it could no longer be told. So a message that was held up for long, by a paused node say, cannot
  take effect after its caller was told another outcome.
* An op on a slot that is not held (`holdings`) changes nothing and is not remembered: its caller is
  told that the slot is elsewhere. So it is, too, with one whose batch was made before the slot came
  to be held: the batch may have been applied before that as well, and told of as elsewhere; or its
  ops in another group, which has forgotten them since. What the history knows is answered first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from globaltable.deal import EVERYTHING, Deal
from globaltable.errors import SlotElsewhere, StepRefused
from globaltable.history import History, HistoryRecord, Identity, answer_to, identity_of
from globaltable.holdings import NO_GROUP, Holdings
from globaltable.layered_rows import FlushedRows, LayeredRows
from globaltable.members import Members
from globaltable.model import Batch, Binding, Op, OpKind, Outcome, OutcomeStatus
from globaltable.op_effects import apply_ops
from globaltable.row_keys import SLOT_BYTES, row_key, row_keys, slot_of_row
from globaltable.slot_rows import take_step
from globaltable.slot_steps import Step
from globaltable.table_state import Flush, Frozen, TableState
from globaltable.topology import slot_of, slots_of
from globaltable.wire.rows import HistoryRow, decode_row, encode_history, encode_row, outcomes_of

_kind_of = itemgetter(Op._fields.index("kind"))
_name_of = itemgetter(Op._fields.index("name"))
_STALE = Outcome(
    OutcomeStatus.UNAVAILABLE, None, "the attempt was held up for too long and was not applied"
)
_BEFORE_IT_CAME = Outcome(
    OutcomeStatus.UNAVAILABLE, None, "the attempt was made before its slot came here; retry"
)
_TAKEN = Outcome(OutcomeStatus.APPLIED)


class Applied(NamedTuple):
    """The result of one batch."""

    revision: int
    rows: list[HistoryRow]
    """One for each op that was new, in their order."""
    not_new: Mapping[int, Outcome]
    """What the others are told, by their position in the batch."""

    @property
    def outcomes(self) -> list[Outcome]:
        """How each op ended. Made when asked for: only one replica has callers to tell."""
        if not self.not_new:
            return outcomes_of(self.rows)
        rows = iter(self.rows)
        ops = len(self.rows) + len(self.not_new)
        return [self.not_new.get(at) or next(rows).outcome for at in range(ops)]


class Table:
    """The bindings of one group, on one replica."""

    def __init__(
        self,
        slots: int,
        flushed: FlushedRows,
        state: TableState,
        history: list[HistoryRecord],
        deal: Deal = EVERYTHING,
    ) -> None:
        """`deal` is what the group held before any slot was moved."""
        self.slots = slots
        self.holdings = Holdings(deal, slots, state.moves)
        """As of `applied`."""
        self._rows = LayeredRows(flushed)
        self._applied = state.applied
        self._applied_term = state.applied_term
        self.members = state.members
        """As of `applied`."""
        self.history = History(state.floor, history)
        self._dirty_history: list[HistoryRecord] = []
        self._flushing: Flush | None = None
        self._flushed_applied = state.applied

    @property
    def applied(self) -> int:
        """The last revision applied."""
        return self._applied

    @property
    def applied_term(self) -> int:
        """The term of its entry."""
        return self._applied_term

    @property
    def flushed(self) -> int:
        """The last revision whose effects are on the disk."""
        return self._flushed_applied

    @property
    def dirty_rows(self) -> int:
        return self._rows.changed_count

    @property
    def unflushed_rows(self) -> int:
        """What is kept in memory because it is not known to be on the disk."""
        return self._rows.unflushed_count

    # --- changes ---------------------------------------------------------------------------------

    def advance(self, revision: int, term: int) -> None:
        """Pass an entry that holds no batch (a new leader's no-op)."""
        assert revision == self._applied + 1, (revision, self._applied)
        self._applied, self._applied_term = revision, term

    def change_members(self, revision: int, term: int, members: Members) -> None:
        """Pass an entry that holds a configuration of the group."""
        self.advance(revision, term)
        self.members = members

    def apply(self, revision: int, term: int, batch: Batch) -> Applied:
        """Apply the batch of the log entry at `revision`, which must be the next one."""
        stale = batch.as_of < self.history.floor
        self.advance(revision, term)
        if stale:
            return Applied(revision, [], dict.fromkeys(range(batch.outcomes), _STALE))
        if batch.step is not None:
            return self._take_step(revision, batch.step)
        if OpKind.IMPORT in map(_kind_of, batch.ops):
            return self._apply_with_imports(revision, batch.ops, batch.as_of)
        return self._apply_and_remember(revision, batch.ops, batch.as_of)

    def _apply_and_remember(self, revision: int, ops: Sequence[Op], as_of: int) -> Applied:
        identities = [identity_of(op.client_id, op.sequence) for op in ops]
        names = list(map(_name_of, ops))
        slots = slots_of(names, self.slots)
        holdings = self.holdings
        if (
            len(set(identities)) == len(identities)
            and self.history.knows_none(identities)
            and holdings.holds_all(slots)
            and as_of >= holdings.held_since
        ):
            keys = row_keys(names, slots)
            applied = Applied(revision, apply_ops(self._rows, revision, ops, keys), {})
        else:
            applied, identities = self._apply_new_ops(revision, ops, identities, as_of)
        self._remember(revision, applied.rows, identities)
        return applied

    def _remember(
        self, revision: int, rows: list[HistoryRow], identities: Sequence[Identity]
    ) -> None:
        record = HistoryRecord(revision, max(1, len(rows)), encode_history(rows))
        self.history.append(record, identities)
        self._dirty_history.append(record)

    def _take_step(self, revision: int, step: Step) -> Applied:
        """Watchers are told nothing of what is copied: it was told of where it happened."""
        ops: dict[Identity, HistoryRow] = {}
        outcome = _TAKEN
        try:
            taken = take_step(step, self.holdings.of(step.slot), revision, self.slots, self)
        except StepRefused as error:
            outcome = Outcome(OutcomeStatus.INVALID_ARGUMENT, None, str(error))
        else:
            if taken.holding is not self.holdings.of(step.slot):
                self.holdings = self.holdings.changed(step.slot, taken.holding, self.history.floor)
            # A revision of the group that they were applied in says nothing here.
            ops = {
                identity_of(op.client_id, op.sequence): op._replace(revision=0) for op in taken.ops
            }
            ops = {one: op for one, op in ops.items() if self.history.knows_none([one])}
        self._remember(revision, list(ops.values()), list(ops))
        return Applied(revision, [], {0: outcome})

    def _apply_with_imports(self, revision: int, ops: Sequence[Op], as_of: int) -> Applied:
        """The history learns of the others only, and an identity that comes with a row is not held
        against them: the op that made the row may be under way here once more."""
        imports = [at for at, op in enumerate(ops) if op.kind is OpKind.IMPORT]
        others = [at for at, op in enumerate(ops) if op.kind is not OpKind.IMPORT]
        told = {at: self._import(revision, ops[at]) for at in imports}
        applied = self._apply_and_remember(revision, [ops[at] for at in others], as_of)
        told.update((others[at], outcome) for at, outcome in applied.not_new.items())
        return Applied(revision, applied.rows, told)

    def _import(self, revision: int, op: Op) -> Outcome:
        elsewhere = self._why_not_held(op.name, revision)
        if elsewhere is not None:
            return elsewhere
        key = row_key(op.name, self.slots)
        data = self._rows.get(key)
        if data is None:
            row = (op.unit or None, op.version, revision, op.client_id, op.sequence)
            self._rows.put(key, encode_row(row))
            return Outcome(OutcomeStatus.APPLIED, Binding(op.unit, op.version, revision))
        unit, version, made_at, _, _ = decode_row(data)
        same = (unit or "", version) == (op.unit, op.version)
        status = OutcomeStatus.EXISTS if same else OutcomeStatus.VERSION_CONFLICT
        return Outcome(status, Binding(unit or "", version, made_at))

    def _why_not_held(self, name: bytes, as_of: int) -> Outcome | None:
        """What to tell of an op on a slot that is not held, or was not when it was proposed."""
        slot = slot_of(name, self.slots)
        if self.holdings.holds(slot):
            return None if as_of >= self.holdings.of(slot).revision else _BEFORE_IT_CAME
        error = self._elsewhere(slot)
        group = NO_GROUP if error.group is None else error.group
        return Outcome(OutcomeStatus.ELSEWHERE, None, str(error), group)

    def _elsewhere(self, slot: int) -> SlotElsewhere:
        return SlotElsewhere(slot, self.holdings.went_to(slot))

    def _apply_new_ops(
        self, revision: int, ops: Sequence[Op], identities: Sequence[Identity], as_of: int
    ) -> tuple[Applied, list[Identity]]:
        """Of an op that is repeated, within the batch or from an earlier one, the first counts.

        Also returns the identities of the ops that were new.
        """
        rows: dict[Identity, HistoryRow] = {}
        not_new: dict[int, Outcome] = {}
        known = self.history.find_all(identities)
        for at, (op, identity) in enumerate(zip(ops, identities, strict=True)):
            first = rows.get(identity) or known.get(identity)
            if first is not None:
                not_new[at] = answer_to(op, first)
            elif (elsewhere := self._why_not_held(op.name, as_of)) is not None:
                not_new[at] = elsewhere
            else:
                key = row_key(op.name, self.slots)
                (rows[identity],) = apply_ops(self._rows, revision, (op,), (key,))
        return Applied(revision, list(rows.values()), not_new), list(rows)

    # --- reads -----------------------------------------------------------------------------------

    def get(self, name: bytes) -> Binding | None:
        """The binding of a name, at revision `applied`. Raises `SlotElsewhere`."""
        slot = slot_of(name, self.slots)
        if not self.holdings.holds(slot):
            raise self._elsewhere(slot)
        data = self._rows.get(slot.to_bytes(SLOT_BYTES, "big") + name)
        return decode_row(data).binding if data is not None else None

    def changed_at(self, name: bytes) -> int:
        """The revision of a name's last change, an unbind included; 0 if it was never bound. No
        change is forgotten while its row is kept, and rows are kept for good."""
        data = self._rows.get(row_key(name, self.slots))
        return decode_row(data).revision if data is not None else 0

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, Binding]]:
        """Bindings with `start <= row key < end` in slots that are held, ascending by row key."""
        for key, binding in self.scanner()(start, end):
            if binding is not None and self.holds_row(key):
                yield key, binding

    def holds_row(self, key: bytes) -> bool:
        """Whether a row is of a slot that is held: if not, it is no part of what the group
        holds."""
        return self.holdings.holds(slot_of_row(key))

    def scanner(self) -> Callable[[bytes, bytes], Iterator[tuple[bytes, Binding | None]]]:
        """`scan` for many ranges, valid until the table changes: it sorts what is not yet flushed
        only once. Of names that were unbound it yields None, for to pass over them takes time.
        Slots that are not held are for the caller to leave out."""
        rows = self._rows.scanner()

        def scan(start: bytes, end: bytes) -> Iterator[tuple[bytes, Binding | None]]:
            for key, data in rows(start, end):
                yield key, decode_row(data).binding

        return scan

    # --- the rows of slots, as steps of their moves see them (`slot_rows.SlotRows`) --------------

    def row(self, name: bytes) -> bytes | None:
        return self._rows.get(row_key(name, self.slots))

    def put_row(self, name: bytes, data: bytes) -> None:
        self._rows.put(row_key(name, self.slots), data)

    def delete_row(self, name: bytes) -> None:
        self._rows.delete(row_key(name, self.slots))

    def rows_of_slot(self, slot: int, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Names, those behind `after`, and rows, ascending, held or not. Valid until a row
        changes."""
        head = slot.to_bytes(SLOT_BYTES, "big")
        start = head + after + b"\0" if after else head
        end = head + b"\xff"
        for key, data in self._rows.scan(start, end):
            yield key[SLOT_BYTES:], data

    def freeze(self) -> Frozen:
        """This table at the revision it is at, whatever is applied next."""
        return Frozen(self._state, self._rows.unflushed(), self.history.records())

    @property
    def _state(self) -> TableState:
        return TableState(
            self._applied,
            self._applied_term,
            self.history.floor,
            self.members,
            self.holdings.moves,
        )

    # --- flushing --------------------------------------------------------------------------------

    def begin_flush(self) -> Flush | None:
        """What has changed since the last flush; None while one is under way or if nothing has."""
        if self._flushing is not None or self._applied == self._flushed_applied:
            return None
        self._flushing = Flush(self._rows.begin_flush(), self._dirty_history, self._state)
        self._dirty_history = []
        return self._flushing

    def end_flush(self) -> None:
        """The flush is durable and visible through `FlushedRows`."""
        assert self._flushing is not None, "no flush is under way"
        self._rows.end_flush()
        self._flushed_applied = self._flushing.state.applied
        self._flushing = None
