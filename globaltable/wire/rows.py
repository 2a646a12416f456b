"""What the table stores: one row for each name, and one history record for each revision.

A row outlives its binding: an unbound name leaves a tombstone, a row without a unit, so that its
version is never used again.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

from globaltable.errors import Corrupt, ProtocolError
from globaltable.model import Binding, OpKind, Outcome, OutcomeStatus, from_columns, is_name
from globaltable.wire.packing import pack, shown, unpack

_KINDS: dict[int, OpKind] = {int(kind): kind for kind in OpKind}
_STATUSES: dict[int, OutcomeStatus] = {int(status): status for status in OutcomeStatus}


class Row(NamedTuple):
    """The state of a name: the last change, and the op that made it."""

    unit: str | None
    version: int
    revision: int
    client_id: int
    sequence: int

    @property
    def binding(self) -> Binding | None:
        if self.unit is None:
            return None
        return Binding(self.unit, self.version, self.revision)


def encode_row(row: tuple[str | None, int, int, int, int]) -> bytes:
    """Of a `Row`, or of what one would be made of."""
    return pack(row)


def decode_row(data: bytes) -> Row:
    """`Corrupt` if the bytes are not a row."""
    try:
        unit, version, revision, client_id, sequence = unpack(data)
        if not (unit is None or type(unit) is str) or not (
            type(version) is type(revision) is type(client_id) is type(sequence) is int
        ):
            raise ProtocolError("wrong types")
        if version < 0 or revision < 0 or client_id < 0 or sequence < 0:
            raise ProtocolError("a number is out of range")
    except (ProtocolError, TypeError, ValueError) as error:
        raise Corrupt(f"not a row of the table: {data[:64]!r} ({error})") from error
    return Row(unit, version, revision, client_id, sequence)


class HistoryRow(NamedTuple):
    """How one op of a batch ended. With status APPLIED and the batch's revision it is a change, and
    `unit` the new unit (unbind: the unit it was bound to). Otherwise it is of the binding that the
    op ran into, or, of a retry, had made."""

    kind: OpKind
    name: bytes
    client_id: int
    sequence: int
    status: OutcomeStatus
    unit: str
    version: int
    revision: int

    @property
    def outcome(self) -> Outcome:
        """What the op's caller was, or is to be, told."""
        if self.version == 0:
            return Outcome(self.status)
        created = self.kind is OpKind.BIND and self.status is OutcomeStatus.APPLIED
        return Outcome(self.status, Binding(self.unit, self.version, self.revision, created))


def outcomes_of(rows: Sequence[HistoryRow]) -> list[Outcome]:
    """`outcome` of each row, made a column at a time if all are changes."""
    statuses = {row.status for row in rows}
    if statuses != {OutcomeStatus.APPLIED}:
        return [row.outcome for row in rows]
    kinds, _, _, _, _, units, versions, revisions = zip(*rows, strict=True)
    created = [kind is OpKind.BIND for kind in kinds]
    bindings = from_columns(Binding, units, versions, revisions, created)
    return from_columns(Outcome, repeat(OutcomeStatus.APPLIED), bindings, repeat(""), repeat(-1))


def encode_history(rows: list[HistoryRow]) -> bytes:
    return pack(rows)


def decode_history(data: bytes) -> list[HistoryRow]:
    """`Corrupt` if the bytes are not a history record."""
    try:
        return history_rows_of(unpack(data))
    except (ProtocolError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"not a history record: {data[:64]!r} ({error})") from error


def history_rows_of(rows: Any) -> list[HistoryRow]:
    """Of plain values; raises one of several errors if they are not rows of a history."""
    return [_history_row(*fields) for fields in rows]


def _history_row(
    kind: Any,
    name: Any,
    client_id: Any,
    sequence: Any,
    status: Any,
    unit: Any,
    version: Any,
    revision: Any,
) -> HistoryRow:
    if (
        type(name) is not bytes
        or type(unit) is not str
        or not (type(version) is type(revision) is type(client_id) is type(sequence) is int)
        or version < 0
        or revision < 0
        or client_id < 0
        or sequence < 0
        or not is_name(name)
    ):
        fields = [kind, name, client_id, sequence, status, unit, version, revision]
        raise ProtocolError(f"not a row of it: {shown(fields)}")
    return HistoryRow(
        _KINDS[kind], name, client_id, sequence, _STATUSES[status], unit, version, revision
    )
