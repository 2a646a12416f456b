"""Ops and outcomes between the public API and the core, a request at a time.

Every op is checked here, and what passes is valid for the core. A bad op does not spoil the others
of its request. Ops come in columns, one for each field (`WriteStreamRequest`), and go back so, for
then the interpreter need not handle each by itself; a unary `Write` is turned into columns first.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeVar

from globaltable import limits
from globaltable.errors import InvalidArgument, LimitExceeded
from globaltable.model import (
    SEPARATOR,
    Binding,
    Op,
    OpKind,
    Outcome,
    OutcomeStatus,
    from_columns,
    qualified_name,
)
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.validation import require_key, require_unit, require_version

_KINDS: Final = {
    pb.OP_KIND_BIND: OpKind.BIND,
    pb.OP_KIND_MOVE: OpKind.MOVE,
    pb.OP_KIND_UNBIND: OpKind.UNBIND,
}
_NO_BINDING: Final = Binding("", 0, 0)

T = TypeVar("T")


class OpColumns(NamedTuple):
    """Ops of one caller on one table; nothing is checked but that the columns are equally long."""

    table: str
    client_id: int
    kinds: Sequence[int]
    keys: Sequence[str]
    units: Sequence[str]
    versions: Sequence[int]
    sequences: Sequence[int]

    @property
    def ops(self) -> int:
        return len(self.keys)


class Checked(NamedTuple):
    """The good ops of a request with their positions in it, and why the others are refused."""

    ops: Sequence[Op]
    positions: Sequence[int]
    refused: Sequence[tuple[int, InvalidArgument]]


class UnknownTable(InvalidArgument):
    """The table is not one of the cluster's."""


def require_table(table: str, tables: Sequence[str]) -> None:
    """Refuse a table that the cluster does not have."""
    if table not in tables:
        # It is told of to every op of a request, and in trailers, which hold little.
        raise UnknownTable(
            f"unknown table {table[: limits.TABLE_BYTES_MAX]!r}; "
            f"this cluster has {', '.join(tables)}"
        )


def require_count(count: int) -> None:
    """Refuse a request of too many ops."""
    if count > limits.WRITE_OPS_MAX:
        raise LimitExceeded(
            f"{count} ops in one Write; at most {limits.WRITE_OPS_MAX} are allowed: split them"
        )


def columns_of_write(request: pb.WriteRequest) -> OpColumns:
    ops = request.ops
    return OpColumns(
        request.table,
        request.client_id,
        [op.kind for op in ops],
        [op.key for op in ops],
        [op.unit for op in ops],
        [op.version for op in ops],
        [op.sequence for op in ops],
    )


def columns_of_stream(request: pb.WriteStreamRequest) -> OpColumns:
    """Raises `InvalidArgument` if the request is too large, or its columns differ in length."""
    columns: list[Sequence[Any]] = [
        request.kinds,
        request.keys,
        request.units,
        request.versions,
        request.sequences,
        request.traceparents,
    ]
    count = max(map(len, columns))
    require_count(count)
    if not {len(column) for column in columns} <= {0, count}:
        raise InvalidArgument(
            f"request {request.number} has columns of {', '.join(str(len(c)) for c in columns)} "
            "values; they must be equally long"
        )
    kinds, keys, units, versions, sequences, _ = columns
    return OpColumns(
        request.table,
        request.client_id,
        _filled(kinds, count, 0),
        _filled(keys, count, ""),
        _filled(units, count, ""),
        _filled(versions, count, 0),
        _filled(sequences, count, 0),
    )


def _filled(column: Sequence[T], count: int, nothing: T) -> Sequence[T]:
    return list(column) or [nothing] * count


def check(columns: OpColumns) -> Checked:
    """Most requests are binds, and all good: then each column is checked as a whole. Otherwise each
    op is looked at by itself, to say what is wrong with it."""
    ops = _good_binds(columns)
    if ops is not None:
        return Checked(ops, range(len(ops)), ())
    ops, positions, refused = [], [], []
    table, client_id, *fields = columns
    for position, (kind, key, unit, version, sequence) in enumerate(zip(*fields, strict=True)):
        try:
            ops.append(_checked_op(table, client_id, kind, key, unit, version, sequence))
            positions.append(position)
        except InvalidArgument as error:
            refused.append((position, error))
    return Checked(ops, positions, refused)


def _good_binds(columns: OpColumns) -> list[Op] | None:
    table, client_id, kinds, keys, units, _, sequences = columns
    if set(kinds) != {pb.OP_KIND_BIND}:
        return None
    encoded = [key.encode() for key in keys]
    sizes = {*map(len, encoded)}
    if min(sizes) == 0 or max(sizes) > limits.KEY_BYTES_MAX:
        return None
    try:
        for unit in set(units):
            require_unit(unit)
    except InvalidArgument:
        return None
    prefix = table.encode() + SEPARATOR
    names = map(prefix.__add__, encoded)
    binds, versions, client_ids = repeat(OpKind.BIND), repeat(0), repeat(client_id)
    return from_columns(Op, binds, names, units, versions, client_ids, sequences)


def _checked_op(
    table: str, client_id: int, kind: int, key: str, unit: str, version: int, sequence: int
) -> Op:
    """The op, checked. Raises `InvalidArgument`."""
    known = _KINDS.get(kind)  # type: ignore[call-overload]
    if known is None:
        raise InvalidArgument(f"op kind {kind} is not known to this node; it knows 1 to 3")
    require_key(key)
    if known is not OpKind.UNBIND:
        require_unit(unit)
    if known is not OpKind.BIND:
        require_version(version)
    unit = "" if known is OpKind.UNBIND else unit
    version = 0 if known is OpKind.BIND else version
    return Op(known, qualified_name(table, key), unit, version, client_id, sequence)


# --- the way back ---------------------------------------------------------------------------------


def refusal_of(error: InvalidArgument) -> Outcome:
    return Outcome(OutcomeStatus.INVALID_ARGUMENT, None, str(error))


def binding_message(binding: Binding) -> pb.Binding:
    return pb.Binding(unit=binding.unit, version=binding.version, revision=binding.revision)


def outcome_message(outcome: Outcome) -> pb.Outcome:
    status, binding, detail, _ = outcome
    if binding is None:
        return pb.Outcome(status=int(status), detail=detail)  # type: ignore[arg-type]
    return pb.Outcome(status=int(status), binding=binding_message(binding))  # type: ignore[arg-type]


def part_message(
    number: int, positions: Sequence[int], outcomes: Sequence[Outcome]
) -> pb.WritePart:
    """At least one outcome."""
    statuses, bindings, details, _ = zip(*outcomes, strict=True)
    units, versions, revisions, _ = zip(*[b or _NO_BINDING for b in bindings], strict=True)
    return pb.WritePart(
        number=number,
        positions=positions,
        statuses=statuses,
        units=units,
        versions=versions,
        revisions=revisions,
        details=details if any(details) else (),
    )
