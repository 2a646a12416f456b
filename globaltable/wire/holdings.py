"""A group's holdings as they stand in its table's state, on a disk and in a snapshot."""

from collections.abc import Mapping
from typing import Any, Final

from globaltable.errors import ProtocolError
from globaltable.holdings import DIGEST_BYTES, Adoption, Holding, HoldingState, Moved, Moves
from globaltable.topology import SLOTS_MAX
from globaltable.wire.packing import shown

_STATES: Final[Mapping[int, HoldingState]] = {int(state): state for state in HoldingState}
_TYPES: Final = (int, int, int, int, int, int, int, int, int, bytes, bool)
"""Of the slot, and of the fields of its holding."""


def moves_fields(moves: Moves) -> list[Any]:
    """Plain values: the same for equal ones."""
    return [holdings_fields(moves.moved), [list(one) for one in moves.adoptions]]


def moves_of(fields: Any) -> Moves:
    """The inverse of `moves_fields`; `ProtocolError` if it has none."""
    if type(fields) is not list or len(fields) != 2 or type(fields[1]) is not list:
        raise ProtocolError(f"moves are holdings and adoptions: {shown(fields)}")
    return Moves(moved_of(fields[0]), tuple(map(_adoption, fields[1])))


def _adoption(fields: Any) -> Adoption:
    if (
        type(fields) is not list
        or len(fields) != len(Adoption._fields)
        or any(type(value) is not int or not 0 <= value < 2**63 for value in fields)
    ):
        raise ProtocolError(f"not an adoption: {shown(fields)}")
    return Adoption(*fields)


def holdings_fields(moved: Moved) -> list[list[Any]]:
    """Plain values, by slot, ascending: the same for equal holdings."""
    return [[slot, *moved[slot]] for slot in sorted(moved)]


def moved_of(fields: Any) -> Moved:
    """The inverse of `holdings_fields`; `ProtocolError` if it has none."""
    if type(fields) is not list:
        raise ProtocolError(f"holdings are a list: {shown(fields)}")
    moved = dict(map(_holding, fields))
    if len(moved) != len(fields):
        raise ProtocolError("a slot is held twice")
    return moved


def _holding(fields: Any) -> tuple[int, Holding]:
    if type(fields) is not list or tuple(map(type, fields)) != _TYPES:
        raise ProtocolError(f"not what is held of a slot: {shown(fields)}")
    slot, state, *rest = fields
    if state not in _STATES or any(
        type(value) is int and not -1 <= value < 2**63 for value in fields
    ):
        raise ProtocolError(f"a number of a holding is out of range: {shown(fields)}")
    if not 0 <= slot < SLOTS_MAX or not rest[1] < SLOTS_MAX:
        raise ProtocolError(f"a slot or a group is out of range: {shown(fields)}")
    holding = Holding(_STATES[state], *rest)
    if len(holding.digest) not in (0, DIGEST_BYTES):
        raise ProtocolError(f"the digest of a holding has {len(holding.digest)} bytes")
    return slot, holding
