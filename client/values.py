"""What a client hands out besides bindings: changes and statuses, as plain values.

Responsible for their shape and for reading them from the wire; a value no correct node sends is
a `ProtocolError`.
"""

import enum
from typing import NamedTuple

from globaltable.errors import ProtocolError
from globaltable.model import Binding
from globaltable.v1 import globaltable_pb2 as pb


class ChangeKind(enum.IntEnum):
    """What happened to a key. The numbers are those of `globaltable.v1.ChangeKind`."""

    BOUND = 1
    MOVED = 2
    UNBOUND = 3


class Change(NamedTuple):
    """One change of one key, as a watch delivers it."""

    kind: ChangeKind
    key: str
    unit: str
    """The unit it is bound to now; of an unbound key, the unit it was bound to."""
    version: int
    revision: int
    """Where the change stands in its group's order; not comparable between groups."""
    group: int


class Role(enum.IntEnum):
    """A replica's part in its group. The numbers are those of `globaltable.v1.Role`."""

    UNSPECIFIED = 0
    FOLLOWER = 1
    CANDIDATE = 2
    LEADER = 3


class GroupStatus(NamedTuple):
    """What a node's replica of one group knows."""

    group: int
    role: Role
    term: int
    leader_region: str
    """Empty while none is known."""
    preferred_region: str
    commit_revision: int
    applied_revision: int
    first_log_index: int
    last_log_index: int
    failed: bool
    failure: str
    rebuilding: str
    """What a replica that is being rebuilt from its peers waits for; empty if it is whole."""
    slots: int = 0
    """That the group holds, as far as the replica has applied."""


class PeerStatus(NamedTuple):
    """What a node knows of another."""

    node: str
    region: str
    connected: bool
    round_trip_s: float
    """0 until measured."""


class Status(NamedTuple):
    """What one node knows of itself, its groups and its peers."""

    cluster: str
    node: str
    region: str
    version: str
    uptime_s: float
    tables: tuple[str, ...]
    groups: tuple[GroupStatus, ...]
    peers: tuple[PeerStatus, ...]
    slots: int


def read_binding(message: pb.Binding, created: bool = False) -> Binding:
    """The binding of a message that must hold one."""
    unit, version = message.unit, message.version
    if not unit or not version:
        raise ProtocolError(f"the node sent a binding to unit {unit!r} at version {version}")
    return Binding(unit, version, message.revision, created)


_CHANGE_KINDS = {int(kind): kind for kind in ChangeKind}


def read_change(message: pb.Change) -> Change:
    """The change of a message."""
    kind = _CHANGE_KINDS.get(message.kind)
    if kind is None:
        raise ProtocolError(f"the node sent a change of unknown kind {message.kind}")
    return Change(kind, message.key, message.unit, message.version, message.revision, message.group)


def read_status(message: pb.StatusResponse) -> Status:
    """The status of a message."""
    roles = {int(role): role for role in Role}
    return Status(
        cluster=message.cluster,
        node=message.node,
        region=message.region,
        version=message.version,
        uptime_s=message.uptime_s,
        tables=tuple(message.tables),
        groups=tuple(
            GroupStatus(
                group=group.group,
                role=roles.get(group.role, Role.UNSPECIFIED),
                term=group.term,
                leader_region=group.leader_region,
                preferred_region=group.preferred_region,
                commit_revision=group.commit_revision,
                applied_revision=group.applied_revision,
                first_log_index=group.first_log_index,
                last_log_index=group.last_log_index,
                failed=group.failed,
                failure=group.failure,
                rebuilding=group.rebuilding,
                slots=group.slots,
            )
            for group in message.groups
        ),
        peers=tuple(
            PeerStatus(peer.node, peer.region, peer.connected, peer.round_trip_s)
            for peer in message.peers
        ),
        slots=message.slots,
    )
