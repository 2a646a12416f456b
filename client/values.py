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
    not_ready: str = ""
    """Why the replica serves nobody, or is far behind; empty if it is well."""
    pending_ops: int = 0
    """That wait at this node for an outcome."""


class PeerStatus(NamedTuple):
    """What a node knows of another."""

    node: str
    region: str
    connected: bool
    round_trip_s: float
    """0 until measured."""


class Work(NamedTuple):
    """What a node has done since it was started: who looks twice knows what it does now."""

    ops: int = 0
    """Writes that ended there, whatever their outcome; the next three are of them."""
    applied: int = 0
    overloaded: int = 0
    failed: int = 0
    """Unavailable, or of unknown outcome."""
    keys_read: int = 0
    commit_bounds_s: tuple[float, ...] = ()
    """Upper bounds of the buckets that batches are counted in by their commit latency; the last
    bucket, of what is above all, has none."""
    commit_counts: tuple[int, ...] = ()


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
    work: Work = Work()


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
                not_ready=group.not_ready,
                pending_ops=group.pending_ops,
            )
            for group in message.groups
        ),
        peers=tuple(
            PeerStatus(peer.node, peer.region, peer.connected, peer.round_trip_s)
            for peer in message.peers
        ),
        slots=message.slots,
        work=_read_work(message.work),
    )


def _read_work(message: pb.WorkStatus) -> Work:
    bounds, counts = tuple(message.commit_bounds_s), tuple(message.commit_counts)
    if len(counts) != (len(bounds) + 1 if bounds else 0) or list(bounds) != sorted(bounds):
        raise ProtocolError(f"the node sent {len(counts)} counts for bounds {bounds[:64]}")
    return Work(
        ops=message.ops,
        applied=message.applied,
        overloaded=message.overloaded,
        failed=message.failed,
        keys_read=message.keys_read,
        commit_bounds_s=bounds,
        commit_counts=counts,
    )
