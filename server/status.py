"""What a node tells of itself."""

from collections import Counter

from globaltable import __version__
from globaltable.model import OutcomeStatus
from globaltable.placement import RoundTripS, cheapest_groups
from globaltable.raft.adaptor import Role
from globaltable.raft.guard import Guard
from globaltable.server.core import NodeCore
from globaltable.server.measures import Measures
from globaltable.server.readiness import ill_of_group
from globaltable.server.slot_claims import SlotClaims
from globaltable.topology import Topology
from globaltable.v1 import globaltable_pb2 as pb

_ROLES = {
    Role.FOLLOWER: pb.ROLE_FOLLOWER,
    Role.CANDIDATE: pb.ROLE_CANDIDATE,
    Role.LEADER: pb.ROLE_LEADER,
}


def status_response(
    core: NodeCore,
    tables: tuple[str, ...],
    uptime_s: float,
    peers: list[tuple[str, bool, float]],
    measures: Measures | None = None,
) -> pb.StatusResponse:
    """`peers`: name, whether connected, and round trip in seconds."""
    topology = core.topology
    region_of = topology.region_of
    return pb.StatusResponse(
        cluster=topology.cluster,
        node=core.node,
        region=region_of.get(core.node, ""),
        version=__version__,
        uptime_s=uptime_s,
        tables=tables,
        slots=topology.slots,
        groups=[
            _group_status(core, group.number, region_of)
            for group in topology.groups
            if group.number in core.replicas or group.number in core.failures
        ],
        peers=[
            pb.PeerStatus(
                node=name, region=region_of[name], connected=connected, round_trip_s=round_trip_s
            )
            for name, connected, round_trip_s in peers
        ],
        work=_work(measures) if measures is not None else None,
    )


def _work(measures: Measures) -> pb.WorkStatus:
    by_status: Counter[OutcomeStatus] = Counter()
    for (_, status), ops in measures.ops.items():
        by_status[status] += ops
    return pb.WorkStatus(
        ops=by_status.total(),
        applied=by_status[OutcomeStatus.APPLIED],
        overloaded=by_status[OutcomeStatus.OVERLOADED],
        failed=by_status[OutcomeStatus.UNAVAILABLE] + by_status[OutcomeStatus.UNKNOWN],
        keys_read=measures.keys_read.total(),
        commit_bounds_s=measures.commit.bounds_s,
        commit_counts=measures.commit.counts,
    )


def _group_status(core: NodeCore, number: int, region_of: dict[str, str]) -> pb.GroupStatus:
    preferred = region_of[core.topology.preferred(core.topology.groups[number])]
    replica = core.replicas.get(number)
    if replica is None:
        return pb.GroupStatus(
            group=number,
            preferred_region=preferred,
            failed=True,
            failure=core.failures[number],
            not_ready=core.refusal(number),
        )
    guard = replica.guard
    return pb.GroupStatus(
        group=number,
        role=_ROLES[guard.role],
        term=guard.term,
        leader_region=_region_of_leader(guard, region_of),
        preferred_region=preferred,
        commit_revision=guard.commit_index,
        applied_revision=replica.table.applied,
        first_log_index=guard.journal.first_index,
        last_log_index=guard.journal.last_index,
        rebuilding=replica.rebuilding,
        slots=len(replica.table.holdings.held),
        not_ready=ill_of_group(core, number),
        pending_ops=replica.pending_ops,
    )


def _region_of_leader(guard: Guard, region_of: dict[str, str]) -> str:
    """Empty while none is heard from, as in a minority."""
    leader = guard.leader
    return region_of.get(leader, leader) if leader is not None and guard.has_live_leader else ""


def placement_response(
    core: NodeCore, round_trip_s: RoundTripS, table: str = ""
) -> pb.PlacementResponse:
    """The groups of a table's geo that commit soonest from this node, of those whose replica here
    serves."""
    topology = core.topology
    geo = topology.geo_of(table).name
    leaders = {
        number: replica.guard.leader
        for number, replica in core.replicas.items()
        if replica.guard.leader is not None
        and not core.refusal(number)
        and topology.groups[number].geo == geo
    }
    cheapest = cheapest_groups(core.node, topology, leaders, round_trip_s)
    return pb.PlacementResponse(cheapest=cheapest.groups, expected_s=cheapest.expected_s)


def topology_response(
    topology: Topology, claims: SlotClaims, node: str, table: str, known: tuple[int, int]
) -> pb.TopologyResponse:
    """The whole of it, or what tells it from others alone if the caller has it
    (`TopologyRequest`)."""
    response = pb.TopologyResponse(version=topology.version, moves=claims.moves, node=node)
    if known == (topology.version + 1, claims.moves):
        return response
    response.slots = topology.slots
    geo = topology.geo_of(table).name
    owners = claims.owners(topology, geo) if claims.moves else topology.owners_of(table)
    response.owners.extend(owners)
    for one in topology.nodes:
        response.nodes.add(name=one.name, region=one.region, address=one.client)
    place = {one.name: number for number, one in enumerate(topology.nodes)}
    for group in topology.groups:
        holders = [place[name] for name in group.holders]
        response.groups.add(holders=holders, of_others=group.geo != geo)
    return response
