"""The members of a group as they stand in its log, its snapshots and its table's state.

`members_of` accepts only what is a configuration: what was once admitted to a log can be brought
into force by every replica.
"""

from typing import Any

from globaltable.errors import ConfigError, ProtocolError
from globaltable.members import Members
from globaltable.wire.packing import pack, shown, unpack


def fields_of(members: Members) -> list[list[str]]:
    """Plain values, as part of something larger."""
    return [list(members.voters), list(members.learners)]


def members_of(fields: Any) -> Members:
    """The inverse of `fields_of`; `ProtocolError` if it has none."""
    if type(fields) is not list or len(fields) != 2:
        raise ProtocolError(f"members are a list of voters and one of learners: {shown(fields)}")
    for names in fields:
        if type(names) is not list or any(type(name) is not str for name in names):
            raise ProtocolError(f"members are named by strings: {shown(fields)}")
    voters, learners = fields
    try:
        return Members(tuple(voters), tuple(learners))
    except (ConfigError, UnicodeEncodeError) as error:
        raise ProtocolError(f"not the members of a group: {error}") from error


def encode_members(members: Members) -> bytes:
    return pack(fields_of(members))


def decode_members(data: bytes) -> Members:
    return members_of(unpack(data))
