"""The steps of a slot's move as they stand in a log entry, and travel to a node of another group.

The bytes are part of the log's and the wire's format. What is decoded is well-typed and within its
bounds, so that every replica can apply it: to take a step or to refuse it, for that depends on the
group's holdings.
"""

from typing import Any, Final

from globaltable import limits
from globaltable.errors import Corrupt, ProtocolError
from globaltable.holdings import DIGEST_BYTES
from globaltable.model import is_name
from globaltable.slot_steps import (
    COPY_OPS_MAX,
    COPY_ROWS_MAX,
    Adopt,
    CopiedRow,
    Copy,
    Drop,
    Reclaim,
    Refuse,
    Release,
    Step,
)
from globaltable.topology import SLOTS_MAX
from globaltable.wire.packing import pack, shown, unpack
from globaltable.wire.rows import history_rows_of

_NAME_BYTES_MAX: Final = limits.TABLE_BYTES_MAX + 1 + limits.KEY_BYTES_MAX
_ID_LIMIT: Final = 2**64

# The tag of a step is its place; the types of its fields follow. Append-only: part of the format.
_SCHEMA: Final[tuple[tuple[type[Any], tuple[type, ...]], ...]] = (
    (Release, (int, int, int)),
    (Copy, (int, int, int, int, int, list, list)),
    (Adopt, (int, int, int, int, int, bytes)),
    (Drop, (int, int)),
    (Refuse, (int, int, int)),
    (Reclaim, (int, int)),
)
_TAG: Final[dict[type[Any], int]] = {kind: tag for tag, (kind, _) in enumerate(_SCHEMA)}


def step_fields(step: Step) -> list[Any]:
    """Plain values, as part of something larger."""
    return [_TAG[type(step)], *step]


def step_of(fields: Any) -> Step:
    """The inverse of `step_fields`; `ProtocolError` if it has none."""
    if type(fields) is not list or not fields:
        raise ProtocolError(f"a step is a tag and its fields: {shown(fields)}")
    tag, *values = fields
    if type(tag) is not int or not 0 <= tag < len(_SCHEMA):
        raise ProtocolError(f"tag {shown(tag)} is of no step that is known")
    kind, types = _SCHEMA[tag]
    if tuple(map(type, values)) != types:
        raise ProtocolError(f"the fields of {kind.__name__} have other types: {shown(values)}")
    for value in values:
        if type(value) is int and not 0 <= value < 2**63:
            raise ProtocolError(f"a number of {kind.__name__} is out of range: {shown(values)}")
    # Behind the slot and the hop stands the other group, if there is one.
    places = (values[0], *values[2:3])
    if any(type(place) is int and place >= SLOTS_MAX for place in places):
        raise ProtocolError(
            f"a slot or a group of {kind.__name__} is out of range: {shown(values)}"
        )
    if kind is Copy:
        values[5:] = _copied(values)
    elif kind is Adopt and len(values[5]) != DIGEST_BYTES:
        raise ProtocolError(f"a digest of {len(values[5])} bytes, not of {DIGEST_BYTES}")
    step: Step = kind(*values)
    return step


def encode_step(step: Step) -> bytes:
    return pack(step_fields(step))


def decode_step(data: bytes) -> Step:
    """`ProtocolError` if the bytes are no step."""
    return step_of(unpack(data))


def _copied(values: list[Any]) -> list[Any]:
    *_, after, through, rows, ops = values
    if len(rows) > COPY_ROWS_MAX or len(ops) > COPY_OPS_MAX or through < after:
        raise ProtocolError(
            f"a copy of {len(rows)} rows and {len(ops)} ops from {after} to {through} is out of "
            "bounds"
        )
    try:
        copied = tuple([_row(*row) for row in rows])
        return [copied, tuple(history_rows_of(ops))]
    except (Corrupt, TypeError, KeyError, ValueError) as error:
        raise ProtocolError(f"not what is copied of a slot: {error}") from error


def _row(name: Any, unit: Any, version: Any, client_id: Any, sequence: Any) -> CopiedRow:
    if (
        type(name) is not bytes
        or not 3 <= len(name) <= _NAME_BYTES_MAX
        or not is_name(name)
        or not (unit is None or type(unit) is str)
        or (unit is not None and not 1 <= len(unit.encode()) <= limits.UNIT_BYTES_MAX)
        or not (type(version) is type(client_id) is type(sequence) is int)
        or not 1 <= version <= limits.VERSION_MAX
        or not 0 <= client_id < _ID_LIMIT
        or not 0 <= sequence < _ID_LIMIT
    ):
        raise ProtocolError(f"not a row: {shown([name, unit, version, client_id, sequence])}")
    return CopiedRow(name, unit, version, client_id, sequence)
