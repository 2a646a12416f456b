"""Of every RPC, what it takes to be allowed it, what it counts for, and whether it is audited.

Deny by default: an RPC that stands in no line here is refused, and a test fails until it does.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from globaltable.server.service import SCAN_PAGE_DEFAULT
from globaltable.wire.topologies import decode_topology

_LISTED_MAX: Final = 16
"""Of a longer list the audit log has the length."""


class Need(enum.Enum):
    """What a caller must have shown, or been permitted."""

    CERTIFICATE = "any certificate of this cluster, a node's too"
    SOME_RIGHT = "a client's, with any right at all"
    READ = "the right to read the table that the request names"
    EACH_OP = "the right to each op: they are looked at one by one (`admission`)"
    ADMIN = "the right to administrate the cluster"
    NODE = "a node's certificate of this cluster"


class Rule(NamedTuple):
    need: Need
    ops: Callable[[Any], int] = lambda request: 0
    """What a request counts for against `ops_per_s`."""
    is_watch: bool = False
    is_audited: bool = False
    answer: Callable[[Any], dict[str, Any]] = lambda answer: in_words(answer)
    """What the audit log has of an answer."""


def _keys(request: Any) -> int:
    return len(request.keys)


def _page(request: Any) -> int:
    return request.page_size or SCAN_PAGE_DEFAULT


def _one(request: Any) -> int:
    return 1


def _imported(answer: Any) -> dict[str, Any]:
    return {"imported": answer.imported, "refused": len(answer.refused)}


def _version(answer: Any) -> dict[str, Any]:
    return {"topology_version": decode_topology(answer.json).version}


_SERVICE: Final = "/globaltable.v1.GlobalTableService/"
_ADMIN: Final = "/globaltable.v1.AdminService/"
_ADMIN_LOOKS: Final = Rule(Need.ADMIN)
_ADMIN_ACTS: Final = Rule(Need.ADMIN, is_audited=True)

RULES: Final[Mapping[str, Rule]] = {
    _SERVICE + "Write": Rule(Need.EACH_OP),
    _SERVICE + "WriteStream": Rule(Need.EACH_OP),
    _SERVICE + "Read": Rule(Need.READ, _keys),
    _SERVICE + "Scan": Rule(Need.READ, _page),
    _SERVICE + "Watch": Rule(Need.READ, _one, is_watch=True),
    # Of the cluster, not of what is in it; every client asks, or it would not find its nodes.
    _SERVICE + "Status": Rule(Need.SOME_RIGHT),
    _SERVICE + "Topology": Rule(Need.SOME_RIGHT),
    _SERVICE + "Placement": Rule(Need.SOME_RIGHT),
    _ADMIN + "GetTopology": Rule(Need.SOME_RIGHT),
    _ADMIN + "Describe": _ADMIN_LOOKS,
    _ADMIN + "Barrier": _ADMIN_LOOKS,
    # These two carry bindings away.
    _ADMIN + "Backup": _ADMIN_ACTS,
    _ADMIN + "Digest": _ADMIN_ACTS,
    _ADMIN + "BeginRestore": _ADMIN_ACTS,
    _ADMIN + "FindRow": _ADMIN_LOOKS,
    _ADMIN + "NoteRestore": _ADMIN_ACTS,
    _ADMIN + "Import": _ADMIN_ACTS._replace(answer=_imported),
    _ADMIN + "ChangeTopology": _ADMIN_ACTS._replace(answer=_version),
    # What whoever raises the level asks of all members.
    _ADMIN + "NoteLevel": Rule(Need.NODE),
    # What whoever moves slots asks of the nodes that hold the other group.
    _ADMIN + "GetHolding": Rule(Need.NODE),
    _ADMIN + "TakeStep": Rule(Need.NODE),
    # What a node's console shows of the others.
    _ADMIN + "GetStatus": Rule(Need.NODE),
    "/grpc.health.v1.Health/Check": Rule(Need.CERTIFICATE),
    "/grpc.health.v1.Health/Watch": Rule(Need.CERTIFICATE),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(Need.SOME_RIGHT),
}


def in_words(message: Message) -> dict[str, Any]:
    """A request for the audit log, in bounds: of many rows or slots, how many there are."""
    many = {
        field.name: len(value)
        for field, value in message.ListFields()
        if field.is_repeated and len(value) > _LISTED_MAX
    }
    if not many:
        return MessageToDict(message, preserving_proto_field_name=True)
    few = type(message)()
    few.CopyFrom(message)
    for name in many:
        few.ClearField(name)
    words = MessageToDict(few, preserving_proto_field_name=True)
    return words | {name: {"count": count} for name, count in many.items()}
