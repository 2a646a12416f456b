"""The topology as all nodes together know it, and how far each group is on its way there.

Any node knows the newest topology, or soon will; what a group's members are now is its leader's to
say. So all nodes that can be reached are asked, and of a group the word of the latest term counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import grpc

from globaltable.admin.levels import NodeLevels, levels_in
from globaltable.admin.nodes import nobody_answers
from globaltable.admin.slots import SlotsStanding, slots_in
from globaltable.client.tls import Credentials, TlsConfig, open_channel
from globaltable.errors import (
    ConnectFailed,
    GlobalTableError,
    InvalidArgument,
    NoQuorum,
    OutcomeUnknown,
    PermissionDenied,
    Rejected,
)
from globaltable.topology import Group, Node, Topology
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc
from globaltable.wire.topologies import decode_topology

ASK_TIMEOUT_S: Final = 2.0
_TOPOLOGY_GROUP: Final = 0


class GroupProgress(NamedTuple):
    """A group: what its members are, and what they are to be."""

    wanted: Group
    leader: str
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    waits_for: str
    """Empty once the group is as wanted."""


class ClusterProgress(NamedTuple):
    topology: Topology
    groups: Sequence[GroupProgress]
    silent: Sequence[str]
    """Nodes that did not answer."""
    slots: SlotsStanding
    round_trips: Mapping[tuple[str, str], pb.RoundTrip]
    """By who measured it, and to which node."""
    levels: Mapping[str, NodeLevels]
    """Of the nodes that answered."""

    @property
    def is_settled(self) -> bool:
        return not any(group.waits_for for group in self.groups)

    def led_by_others(self) -> list[int]:
        """Groups whose leader is not who should lead them, though that node answers."""
        wanted = {g.wanted.number: self.topology.preferred(g.wanted) for g in self.groups}
        return [
            group.wanted.number
            for group in self.groups
            if group.leader != wanted[group.wanted.number]
            and wanted[group.wanted.number] not in self.silent
        ]

    def waits_for(self, group: GroupProgress) -> str:
        """What a group waits for, a drained leader's hand-over too; empty if nothing."""
        if not group.waits_for and group.wanted.number in self.led_by_drained():
            to = self.topology.preferred(group.wanted)
            return f"{group.leader}, which is drained, to hand over to {to}"
        return group.waits_for

    @property
    def leaving(self) -> list[Node]:
        """Nodes that were removed, and that a group still has for a member."""
        members = {name for group in self.groups for name in (*group.voters, *group.learners)}
        return [node for node in self.topology.removed if node.name in members]

    def led_by_drained(self) -> list[int]:
        """Groups whose leader is drained though another could lead."""
        nodes = self.topology.node_by_name
        return [
            group.wanted.number
            for group in self.groups
            if group.leader in nodes
            and nodes[group.leader].drained
            and self.topology.preferred(group.wanted) != group.leader
        ]


def look(addresses: Sequence[str], tls: TlsConfig | None = None) -> ClusterProgress:
    """Ask the nodes at these addresses, and all that they know of. Raises `ConnectFailed` if none
    answers."""
    answers: dict[str, pb.TopologyStanding] = {}
    asked: set[str] = set()
    waiting = list(addresses)
    refusals: list[GlobalTableError] = []
    while waiting:
        address = waiting.pop(0)
        if address in asked:
            continue
        asked.add(address)
        try:
            answer = _call(
                address,
                lambda stub, timeout_s: stub.GetTopology(
                    pb.GetTopologyRequest(), timeout=timeout_s
                ),
                ASK_TIMEOUT_S,
                tls,
            )
        except GlobalTableError as error:
            refusals.append(error)
            continue
        answers[answer.node] = answer
        waiting += [node.client for node in decode_topology(answer.json).nodes]
    if not answers:
        raise nobody_answers(refusals)
    newest = max(map(decode_topology, (a.json for a in answers.values())), key=lambda t: t.version)
    silent = [name for name in newest.node_by_name if name not in answers]
    unsettled = {g.number for g in newest.groups}
    for answer in answers.values():
        if decode_topology(answer.json).version == newest.version:
            unsettled &= set(answer.unsettled)
    groups = [_progress(group, answers, group.number in unsettled) for group in newest.groups]
    round_trips = {
        (name, one.node): one for name, answer in answers.items() for one in answer.round_trips
    }
    slots, levels = slots_in(answers.values()), levels_in(answers.values())
    return ClusterProgress(newest, groups, silent, slots, round_trips, levels)


def _progress(
    group: Group, answers: dict[str, pb.TopologyStanding], unsettled: bool
) -> GroupProgress:
    standings = [
        (standing.leads, standing.term, name, standing)
        for name, answer in answers.items()
        for standing in answer.replicas
        if standing.group == group.number and standing.voters
    ]
    leading = [found for found in standings if found[0]]
    known = max(leading or standings, key=lambda found: found[:3], default=None)
    if known is None:
        return GroupProgress(group, "", (), (), "no node that answers holds it")
    _, _, name, standing = known
    leader = name if standing.leads else standing.leader
    voters, learners = tuple(standing.voters), tuple(standing.learners)
    waits_for = _waits_for(group, leader, voters, learners) if unsettled else ""
    if not leader:
        waits_for = "a leader"
    return GroupProgress(group, leader, voters, learners, waits_for)


def _waits_for(
    group: Group, leader: str, voters: tuple[str, ...], learners: tuple[str, ...]
) -> str:
    missing = [name for name in group.holders if name not in (*voters, *learners)]
    catching_up = [name for name in group.replicas if name in learners]
    going = [name for name in (*voters, *learners) if name not in group.holders]
    steps = []
    if missing:
        steps.append(f"{', '.join(missing)} to be added")
    if catching_up:
        steps.append(f"{', '.join(catching_up)} to catch up")
    if going:
        steps.append(f"{', '.join(going)} to be removed")
    if leader in going:
        steps.append(f"{leader} to hand over")
    return "; ".join(steps) or "the word of its leader"


def change(
    addresses: Sequence[str],
    request: pb.ChangeTopologyRequest,
    timeout_s: float,
    tls: TlsConfig | None = None,
) -> Topology:
    """Change the topology: asked of the nodes that hold group 0, the first that can. Raises
    `Rejected` with the node's reason, or `OutcomeUnknown` if it may have happened."""
    now = look(addresses, tls)
    nodes = now.topology.node_by_name
    progress = now.groups[_TOPOLOGY_GROUP]
    holders = [
        name
        for name in dict.fromkeys((progress.leader, *progress.voters, *progress.wanted.replicas))
        if name in nodes and name not in now.silent
    ]
    error: GlobalTableError = NoQuorum("no node that answers holds group 0; ask again later")
    for name in holders:
        try:
            answer = _call(
                nodes[name].client,
                lambda stub, left_s: stub.ChangeTopology(request, timeout=left_s),
                timeout_s,
                tls,
            )
            return decode_topology(answer.json)
        except (NoQuorum, ConnectFailed) as refused:
            error = refused
    raise error


def _call(
    address: str,
    ask: Callable[[pb_grpc.AdminServiceStub, float], pb.TopologyStanding],
    timeout_s: float,
    tls: TlsConfig | None,
) -> pb.TopologyStanding:
    with open_channel(address, Credentials(tls).newest()) as channel:
        try:
            return ask(pb_grpc.AdminServiceStub(channel), timeout_s)
        except grpc.RpcError as error:
            raise _error_of(error, address) from error


def _error_of(error: grpc.RpcError, address: str) -> GlobalTableError:
    code, details = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Rejected(details)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidArgument(details)
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return PermissionDenied(f"{address}: {details}")
        case grpc.StatusCode.UNAVAILABLE:
            return ConnectFailed(f"{address}: {details}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return OutcomeUnknown(
                f"{address} did not answer in time; what came of it: globaltable member list"
            )
        case _:
            return GlobalTableError(f"{address}: {code.name}: {details}")
