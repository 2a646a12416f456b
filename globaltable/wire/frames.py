"""What travels between two nodes in one frame: messages of any of their groups.

`decode_frame` accepts only well-typed messages: what passes it needs no further checks of shape.
"""

from collections.abc import Sequence
from typing import Any, Final

from globaltable import limits
from globaltable.errors import ProtocolError
from globaltable.holdings import NO_MOVES
from globaltable.members import MEMBERS_MAX
from globaltable.raft.journal import MEMBERS
from globaltable.raft.messages import (
    Ack,
    Append,
    Ask,
    Examine,
    Heartbeat,
    Held,
    JoinerAck,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    Recover,
    RecoverReply,
    Removed,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
    Whole,
)
from globaltable.store.log import Entry
from globaltable.table_state import TableState
from globaltable.wire.holdings import moves_fields, moves_of
from globaltable.wire.members import decode_members, fields_of, members_of
from globaltable.wire.packing import pack, shown, unpack

Envelope = tuple[int, Message]
"""A group's number, and a message for its replica."""

# The tag of a type is its place; the types of its fields follow. Append-only: part of the wire.
_SCHEMA: Final[tuple[tuple[type[Any], tuple[type, ...]], ...]] = (
    (PreVote, (int, int, int)),
    (PreVoteReply, (int, bool)),
    (RequestVote, (int, int, int, bool)),
    (Vote, (int, bool)),
    (Append, (int, int, int, int, int, int, list)),
    (Heartbeat, (int,)),
    (Ack, (int, int, int, bool, bool)),
    (TimeoutNow, (int,)),
    (SnapshotPart, (int, int, int, list, bytes, bool)),
    (SnapshotAck, (int, int, int)),
    (Propose, (bytes,)),
    (Held, (int, int)),
    (Recover, (int,)),
    (RecoverReply, (int, int, list)),
    (Matched, (int, int)),
    (Examine, (int, int)),
    (Whole, (int, int)),
    (Removed, (int, int)),
    (JoinerAck, (int, int, int)),
    (Ask, (int,)),
)
_TAG: Final[dict[type[Any], int]] = {kind: tag for tag, (kind, _) in enumerate(_SCHEMA)}
_COMMANDS: Final = (b"\x00", b"\x01", MEMBERS)
"""First bytes of commands that may enter a log. PySyncObj's other two, for changes of membership
and code version, hold pickles."""
_NOT_NEGATIVE: Final = (
    Held,
    Matched,
    Recover,
    RecoverReply,
    Examine,
    Whole,
    Removed,
    JoinerAck,
    Ask,
)


def encode_frame(envelopes: Sequence[Envelope]) -> bytes:
    """The payload of one frame."""
    return pack([_encode(group, message) for group, message in envelopes])


def _encode(group: int, message: Message) -> list[Any]:
    fields: list[Any] = [group, _TAG[type(message)], *message]
    if isinstance(message, Append):
        fields[-1] = [(entry.command, entry.term) for entry in message.entries]
    elif isinstance(message, SnapshotPart):
        fields[5] = _encode_state(message.state)
    return fields


def decode_frame(data: bytes | memoryview) -> list[Envelope]:
    """The messages of a frame; `ProtocolError` if any of it is not what a peer may send."""
    rows = unpack(data)
    if type(rows) is not list:
        raise ProtocolError(f"a frame holds a list of messages, not a {type(rows).__name__}")
    return [_decode(row) for row in rows]


def _decode(row: Any) -> Envelope:
    if type(row) is not list or len(row) < 2:
        raise ProtocolError("a message is a list that begins with its group and tag")
    group, tag, *fields = row
    if type(group) is not int or type(tag) is not int or not 0 <= tag < len(_SCHEMA):
        raise ProtocolError(f"group {shown(group)}, tag {shown(tag)}: not a known message")
    kind, types = _SCHEMA[tag]
    if tuple(map(type, fields)) != types:
        raise ProtocolError(f"the fields of {kind.__name__} have other types: {shown(fields)}")
    for value in fields:
        if type(value) is int and not -1 <= value < 2**63:
            raise ProtocolError(f"a number of {kind.__name__} is out of range: {shown(fields)}")
    if kind is Append:
        fields[-1] = _decode_entries(fields[0], fields[2], fields[-1])
    elif kind is SnapshotPart:
        fields[3] = _decode_state(fields[3])
    elif kind in _NOT_NEGATIVE and min(fields[:2]) < 0:
        raise ProtocolError(f"a number of {kind.__name__} is negative: {fields!r:.200}")
    elif kind is RecoverReply:
        fields[2] = _decode_names(fields[2])
    elif kind is Propose and len(fields[0]) > limits.BATCH_BYTES_MAX:
        raise ProtocolError(f"a proposal of {len(fields[0])} bytes is over the bound")
    message: Message = kind(*fields)
    return group, message


def _decode_entries(term: int, prev_index: int, rows: list[Any]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    last_term = 0
    for index, row in enumerate(rows, prev_index + 1):
        if type(row) is not list or len(row) != 2:
            raise ProtocolError("an entry is a command and a term")
        command, entry_term = row
        if type(command) is not bytes or command[:1] not in _COMMANDS:
            raise ProtocolError(f"entry {index} holds no command that may enter a log")
        if type(entry_term) is not int or not last_term <= entry_term <= term:
            raise ProtocolError(f"entry {index} is of term {shown(entry_term)} after {last_term}")
        if command[:1] == MEMBERS:
            decode_members(command[1:])
        last_term = entry_term
        entries.append(Entry(command, index, entry_term))
    return tuple(entries)


def _decode_names(names: list[Any]) -> tuple[str, ...]:
    if len(names) > 2 * MEMBERS_MAX or any(type(name) is not str for name in names):
        raise ProtocolError(f"not the names of members: {shown(names)}")
    return tuple(names)


def _encode_state(state: TableState) -> list[Any]:
    members = state.members
    known = None if members is None else fields_of(members)
    moves = [moves_fields(state.moves)] if state.moves.moved else []
    return [*state[:3], known, *moves]


def _decode_state(fields: list[Any]) -> TableState:
    numbers, rest = fields[:3], fields[3:]
    if len(rest) not in (1, 2) or any(type(v) is not int or not 0 <= v < 2**63 for v in numbers):
        raise ProtocolError(f"not the state of a table: {shown(fields)}")
    applied, applied_term, floor = numbers
    known = None if rest[0] is None else members_of(rest[0])
    moves = moves_of(rest[1]) if len(rest) == 2 else NO_MOVES
    state = TableState(applied, applied_term, floor, known, moves)
    if state.floor > state.applied:
        raise ProtocolError(f"a table's history begins behind its end: {state}")
    return state
