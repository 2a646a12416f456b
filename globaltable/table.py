"""The deterministic state machine: `apply(revision, batch)` gives the outcomes.

Responsible for what an op does to the bindings of one group, and for nothing else: no clock, no
randomness, no disk of its own. What has been flushed is read through `FlushedRows`; what has not
lies in memory over it, and is handed out by `begin_flush`.

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

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import add, itemgetter
from typing import NamedTuple, Protocol

from globaltable.deal import EVERYTHING, Deal
from globaltable.errors import SlotElsewhere, StepRefused
from globaltable.history import History, HistoryRecord, Identity, answer_to, identity_of
from globaltable.holdings import NO_GROUP, NO_MOVES, Holdings, Moves
from globaltable.members import Members
from globaltable.model import (
    SYSTEM_TABLE,
    Batch,
    Binding,
    Op,
    OpKind,
    Outcome,
    OutcomeStatus,
    from_columns,
    qualified_name,
)
from globaltable.slot_rows import take_step
from globaltable.slot_steps import Step
from globaltable.topology import slot_of, slots_of
from globaltable.wire.rows import (
    HistoryRow,
    Row,
    decode_row,
    encode_history,
    encode_row,
    outcomes_of,
)

SLOT_BYTES = 2
_SYSTEM_PREFIX = qualified_name(SYSTEM_TABLE, "")
_kind_of = itemgetter(Op._fields.index("kind"))
_name_of = itemgetter(Op._fields.index("name"))
_STALE = Outcome(
    OutcomeStatus.UNAVAILABLE, None, "the attempt was held up for too long and was not applied"
)
_BEFORE_IT_CAME = Outcome(
    OutcomeStatus.UNAVAILABLE, None, "the attempt was made before its slot came here; retry"
)
_TAKEN = Outcome(OutcomeStatus.APPLIED)
_GONE = b""
"""In memory, of a row that has been deleted, and may still be on the disk."""


def row_key(name: bytes, slots: int) -> bytes:
    """Where a name's row stands: by slot, so that slots are ranges, then by name."""
    return slot_of(name, slots).to_bytes(SLOT_BYTES, "big") + name


def is_system_row(key: bytes) -> bool:
    """Whether a row key is of what the cluster keeps about itself."""
    return key.startswith(_SYSTEM_PREFIX, SLOT_BYTES)


def slot_of_row(key: bytes) -> int:
    """The slot of a row key."""
    return int.from_bytes(key[:SLOT_BYTES], "big")


def _row_keys(names: Sequence[bytes], slots: Sequence[int]) -> list[bytes]:
    """`row_key` for many names, of which the slots are known."""
    heads = [slot.to_bytes(SLOT_BYTES, "big") for slot in slots]
    return list(map(add, heads, names))


class FlushedRows(Protocol):
    """The rows of one group that have reached the disk."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with `start <= key < end`, ascending."""
        ...


class TableState(NamedTuple):
    """Where a table stands: the last revision applied, its term, and the history's floor; who the
    group's members were then, but where that has never been written: those that founded it; and
    what it held of the slots that were moved."""

    applied: int
    applied_term: int
    floor: int
    members: Members | None = None
    moves: Moves = NO_MOVES


class Flush(NamedTuple):
    """Changes on their way to the disk, and the state they lead to."""

    rows: dict[bytes, bytes]
    """An empty one is to be deleted."""
    history: list[HistoryRecord]
    state: TableState


class Frozen(NamedTuple):
    """A table at one revision, as far as it lies in memory. Under it are the rows of the store as
    they are found by whoever reads them after this was made, and before anything that was applied
    later is flushed."""

    state: TableState
    rows: dict[bytes, bytes]
    """In memory: they stand over the flushed ones. An empty one has been deleted."""
    history: list[HistoryRecord]


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
        self._flushed = flushed
        self._applied = state.applied
        self._applied_term = state.applied_term
        self.members = state.members
        """As of `applied`."""
        self.history = History(state.floor, history)
        self._dirty: dict[bytes, bytes] = {}
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
        return len(self._dirty)

    @property
    def unflushed_rows(self) -> int:
        """What is kept in memory because it is not known to be on the disk."""
        return len(self._dirty) + (len(self._flushing.rows) if self._flushing is not None else 0)

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
        slots = slots_of(map(_name_of, ops), self.slots)
        holdings = self.holdings
        if (
            len(set(identities)) == len(identities)
            and self.history.knows_none(identities)
            and holdings.holds_all(slots)
            and as_of >= holdings.held_since
        ):
            applied = Applied(revision, self._apply_ops(revision, ops, slots), {})
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
        data = self._row_bytes(key)
        if data is None:
            row = (op.unit or None, op.version, revision, op.client_id, op.sequence)
            self._dirty[key] = encode_row(row)
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
                slots = [slot_of(op.name, self.slots)]
                (rows[identity],) = self._apply_ops(revision, (op,), slots)
        return Applied(revision, list(rows.values()), not_new), list(rows)

    def _apply_ops(
        self, revision: int, ops: Sequence[Op], slots: Sequence[int]
    ) -> list[HistoryRow]:
        if not ops:
            return []
        kinds, names, units, _, client_ids, sequences = zip(*ops, strict=True)
        keys = _row_keys(names, slots)
        if not self._are_binds_of_new_keys(kinds, keys):
            return [self._apply_op(key, revision, op) for key, op in zip(keys, ops, strict=True)]
        # Most batches are. Their rows are made a column at a time, as `_apply_op` would one by one.
        first, at, applied = repeat(1), repeat(revision), repeat(OutcomeStatus.APPLIED)
        rows = zip(units, first, at, client_ids, sequences)  # noqa: B905 - `repeat` has no end
        self._dirty.update(zip(keys, map(encode_row, rows), strict=True))
        return from_columns(
            HistoryRow, kinds, names, client_ids, sequences, applied, units, first, at
        )

    def _are_binds_of_new_keys(self, kinds: Sequence[OpKind], keys: Sequence[bytes]) -> bool:
        """Whether each op is a bind of a key that has no row, not even a tombstone, nor comes to
        have one by an op before it in this batch."""
        return (
            set(kinds) == {OpKind.BIND}
            and len(set(keys)) == len(keys)
            and self._dirty.keys().isdisjoint(keys)
            and (self._flushing is None or self._flushing.rows.keys().isdisjoint(keys))
            and not any(map(self._flushed.get, keys))
        )

    def _apply_op(self, key: bytes, revision: int, op: Op) -> HistoryRow:
        data = self._row_bytes(key)
        row = decode_row(data) if data is not None else None

        if row is not None and _is_made_by(row, op):
            # A retry from beyond the history, of the op that made this very row.
            return _history_row(op, OutcomeStatus.APPLIED, row.unit or "", row)
        if op.kind is OpKind.BIND:
            if row is not None and row.unit is not None:
                return _history_row(op, OutcomeStatus.EXISTS, row.unit, row)
            return self._write(key, revision, op, row, op.unit, op.unit)

        if row is None or row.unit is None:
            return _history_row(op, OutcomeStatus.NOT_BOUND, "", None)
        if row.version != op.version:
            return _history_row(op, OutcomeStatus.VERSION_CONFLICT, row.unit, row)
        if op.kind is OpKind.MOVE:
            return self._write(key, revision, op, row, op.unit, op.unit)
        return self._write(key, revision, op, row, None, row.unit)

    def _write(
        self, key: bytes, revision: int, op: Op, old: Row | None, unit: str | None, told: str
    ) -> HistoryRow:
        version = old.version + 1 if old is not None else 1
        row = Row(unit, version, revision, op.client_id, op.sequence)
        self._dirty[key] = encode_row(row)
        return _history_row(op, OutcomeStatus.APPLIED, told, row)

    # --- reads -----------------------------------------------------------------------------------

    def get(self, name: bytes) -> Binding | None:
        """The binding of a name, at revision `applied`. Raises `SlotElsewhere`."""
        slot = slot_of(name, self.slots)
        if not self.holdings.holds(slot):
            raise self._elsewhere(slot)
        data = self._row_bytes(slot.to_bytes(SLOT_BYTES, "big") + name)
        return decode_row(data).binding if data is not None else None

    def changed_at(self, name: bytes) -> int:
        """The revision of a name's last change, an unbind included; 0 if it was never bound. No
        change is forgotten while its row is kept, and rows are kept for good."""
        data = self._row_bytes(row_key(name, self.slots))
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
        over = self._unflushed()
        keys = sorted(over)

        def scan(start: bytes, end: bytes) -> Iterator[tuple[bytes, Binding | None]]:
            fresh = keys[bisect_left(keys, start) : bisect_left(keys, end)]
            for key, data in _merged(self._flushed.scan(start, end), over, fresh):
                yield key, decode_row(data).binding

        return scan

    # --- the rows of slots, as steps of their moves see them (`slot_rows.SlotRows`) --------------

    def row(self, name: bytes) -> bytes | None:
        return self._row_bytes(row_key(name, self.slots))

    def put_row(self, name: bytes, data: bytes) -> None:
        self._dirty[row_key(name, self.slots)] = data

    def delete_row(self, name: bytes) -> None:
        self._dirty[row_key(name, self.slots)] = _GONE

    def rows_of_slot(self, slot: int, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Names, those behind `after`, and rows, ascending, held or not. Valid until a row
        changes."""
        head = slot.to_bytes(SLOT_BYTES, "big")
        start = head + after + b"\0" if after else head
        end = head + b"\xff"
        flushing = self._flushing.rows if self._flushing is not None else {}
        over = {
            key: data
            for layer in (flushing, self._dirty)
            for key, data in layer.items()
            if start <= key < end
        }
        for key, data in _merged(self._flushed.scan(start, end), over, sorted(over)):
            yield key[SLOT_BYTES:], data

    def freeze(self) -> Frozen:
        """This table at the revision it is at, whatever is applied next."""
        return Frozen(self._state, self._unflushed(), self.history.records())

    @property
    def _state(self) -> TableState:
        return TableState(
            self._applied,
            self._applied_term,
            self.history.floor,
            self.members,
            self.holdings.moves,
        )

    def _unflushed(self) -> dict[bytes, bytes]:
        return {**(self._flushing.rows if self._flushing is not None else {}), **self._dirty}

    def _row_bytes(self, key: bytes) -> bytes | None:
        data = self._dirty.get(key)
        if data is None and self._flushing is not None:
            data = self._flushing.rows.get(key)
        if data is None:
            data = self._flushed.get(key)
        return data or None

    # --- flushing --------------------------------------------------------------------------------

    def begin_flush(self) -> Flush | None:
        """What has changed since the last flush; None while one is under way or if nothing has."""
        if self._flushing is not None or self._applied == self._flushed_applied:
            return None
        self._flushing = Flush(self._dirty, self._dirty_history, self._state)
        self._dirty, self._dirty_history = {}, []
        return self._flushing

    def end_flush(self) -> None:
        """The flush is durable and visible through `FlushedRows`."""
        assert self._flushing is not None, "no flush is under way"
        self._flushed_applied = self._flushing.state.applied
        self._flushing = None


def _merged(
    flushed: Iterable[tuple[bytes, bytes]], over: Mapping[bytes, bytes], keys: Sequence[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """Flushed rows under those in memory, of which `keys` are the ones in question, ascending."""
    at = 0
    for key, data in flushed:
        while at < len(keys) and keys[at] < key:
            if over[keys[at]]:
                yield keys[at], over[keys[at]]
            at += 1
        if at < len(keys) and keys[at] == key:
            at += 1
            data = over[key]
        if data:
            yield key, data
    for key in keys[at:]:
        if over[key]:
            yield key, over[key]


def _is_made_by(row: Row, op: Op) -> bool:
    """Whether the op is the last that changed the row. Its identity alone does not say so, for a
    caller may have given it to another op."""
    unit = None if op.kind is OpKind.UNBIND else op.unit
    return (row.client_id, row.sequence, row.unit) == (op.client_id, op.sequence, unit)


def _history_row(op: Op, status: OutcomeStatus, unit: str, row: Row | None) -> HistoryRow:
    version, revision = (row.version, row.revision) if row is not None else (0, 0)
    return HistoryRow(op.kind, op.name, op.client_id, op.sequence, status, unit, version, revision)
