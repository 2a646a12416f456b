"""What ops do to rows: bind, move, unbind, decided by compare-and-set.

Responsible for the outcome of an op that is new, on a slot that is held; `table` has told it from
the others.

Invariant: a name's version is 1 at its first bind and rises by one at each change, an unbind
included: it leaves a tombstone, of which the next bind goes on.
"""

from collections.abc import Sequence
from itertools import repeat

from globaltable.layered_rows import LayeredRows
from globaltable.model import Op, OpKind, OutcomeStatus, from_columns
from globaltable.wire.rows import HistoryRow, Row, decode_row, encode_row


def apply_ops(
    rows: LayeredRows, revision: int, ops: Sequence[Op], keys: Sequence[bytes]
) -> list[HistoryRow]:
    """Apply ops, each to the row of its key, in their order; how each ended."""
    if not ops:
        return []
    kinds, names, units, _, client_ids, sequences = zip(*ops, strict=True)
    if not _are_binds_of_new_keys(rows, kinds, keys):
        return [_apply_op(rows, key, revision, op) for key, op in zip(keys, ops, strict=True)]
    # Most batches are. Their rows are made a column at a time, as `_apply_op` would one by one.
    first, at, applied = repeat(1), repeat(revision), repeat(OutcomeStatus.APPLIED)
    made = zip(units, first, at, client_ids, sequences)  # noqa: B905 - `repeat` has no end
    rows.put_all(zip(keys, map(encode_row, made), strict=True))
    return from_columns(HistoryRow, kinds, names, client_ids, sequences, applied, units, first, at)


def _are_binds_of_new_keys(
    rows: LayeredRows, kinds: Sequence[OpKind], keys: Sequence[bytes]
) -> bool:
    """Whether each op is a bind of a key that has no row, not even a tombstone, nor comes to
    have one by an op before it in this batch."""
    return set(kinds) == {OpKind.BIND} and len(set(keys)) == len(keys) and rows.has_none(keys)


def _apply_op(rows: LayeredRows, key: bytes, revision: int, op: Op) -> HistoryRow:
    data = rows.get(key)
    row = decode_row(data) if data is not None else None

    if row is not None and _is_made_by(row, op):
        # A retry from beyond the history, of the op that made this very row.
        return _history_row(op, OutcomeStatus.APPLIED, row.unit or "", row)
    if op.kind is OpKind.BIND:
        if row is not None and row.unit is not None:
            return _history_row(op, OutcomeStatus.EXISTS, row.unit, row)
        return _write(rows, key, revision, op, row, op.unit, op.unit)

    if row is None or row.unit is None:
        return _history_row(op, OutcomeStatus.NOT_BOUND, "", None)
    if row.version != op.version:
        return _history_row(op, OutcomeStatus.VERSION_CONFLICT, row.unit, row)
    if op.kind is OpKind.MOVE:
        return _write(rows, key, revision, op, row, op.unit, op.unit)
    return _write(rows, key, revision, op, row, None, row.unit)


def _write(
    rows: LayeredRows,
    key: bytes,
    revision: int,
    op: Op,
    old: Row | None,
    unit: str | None,
    told: str,
) -> HistoryRow:
    version = old.version + 1 if old is not None else 1
    row = Row(unit, version, revision, op.client_id, op.sequence)
    rows.put(key, encode_row(row))
    return _history_row(op, OutcomeStatus.APPLIED, told, row)


def _is_made_by(row: Row, op: Op) -> bool:
    """Whether the op is the last that changed the row. Its identity alone does not say so, for a
    caller may have given it to another op."""
    unit = None if op.kind is OpKind.UNBIND else op.unit
    return (row.client_id, row.sequence, row.unit) == (op.client_id, op.sequence, unit)


def _history_row(op: Op, status: OutcomeStatus, unit: str, row: Row | None) -> HistoryRow:
    version, revision = (row.version, row.revision) if row is not None else (0, 0)
    return HistoryRow(op.kind, op.name, op.client_id, op.sequence, status, unit, version, revision)
