"""The admin API's messages about the topology, and the values they stand for."""

from collections.abc import Iterable, Sequence

from globaltable import __version__
from globaltable.errors import ConfigError, InvalidArgument
from globaltable.levels import UNDERSTOOD
from globaltable.server.config import Address
from globaltable.server.core import NodeCore
from globaltable.server.live_topology import LiveTopology
from globaltable.server.round_trip import RoundTrip
from globaltable.server.slot_claims import Claim
from globaltable.slot_change import deal_slots, grow, move_slots, undo_slots
from globaltable.slot_ranges import parse_slots
from globaltable.toml_section import as_name
from globaltable.topology import Node, Topology
from globaltable.topology_change import (
    Change,
    add,
    drain,
    lead,
    remove,
    replace_node,
    with_geo_regions,
    with_replicas,
)
from globaltable.v1 import admin_pb2 as pb


def change_asked(request: pb.ChangeTopologyRequest) -> Change:
    """What is to be made of the topology. Raises `InvalidArgument`."""
    what = request.WhichOneof("change")
    if what is None:
        raise InvalidArgument("no change is asked for; give one")

    def change(topology: Topology) -> Topology:
        match what:
            case "add":
                return add(topology, node)
            case "remove":
                return remove(topology, request.remove)
            case "replace":
                return replace_node(topology, request.replace.name, node)
            case "replicas":
                return with_replicas(topology, request.replicas)
            case "drain":
                return drain(topology, request.drain.where, undo=request.drain.undo)
            case "grow":
                more = request.grow
                return grow(topology, more.groups, geo=more.geo, empty=more.empty)
            case "move_slots":
                slots = parse_slots(request.move_slots.slots, topology.slots)
                return move_slots(topology, slots, request.move_slots.to)
            case "deal_slots":
                return deal_slots(topology, geo=request.deal_slots.geo)
            case "undo_slots":
                return undo_slots(topology)
            case "geo_regions":
                asked = request.geo_regions
                return with_geo_regions(topology, asked.name, list(asked.regions))
            case _:
                return lead(topology, list(request.leaders.nodes))

    node = Node("", "")
    if what in ("add", "replace"):
        node = _node(request.add if what == "add" else request.replace.node)
    return change


def _node(asked: pb.MemberNode) -> Node:
    try:
        return Node(
            name=as_name("name", asked.name),
            region=as_name("region", asked.region),
            peer=str(Address.parse(asked.peer, "peer")),
            client=str(Address.parse(asked.client, "client")),
            learner=asked.learner,
        )
    except ConfigError as error:
        raise InvalidArgument(str(error)) from error


def topology_standing(
    core: NodeCore, live: LiveTopology, round_trips: Iterable[tuple[str, RoundTrip]]
) -> pb.TopologyStanding:
    return pb.TopologyStanding(
        node=core.node,
        json=live.text,
        unsettled=sorted(live.unsettled),
        replicas=[_standing(core, number) for number in sorted({*core.replicas, *core.failures})],
        round_trips=[
            pb.RoundTrip(node=name, round_trip_s=one.smooth_s, samples=one.samples)
            for name, one in round_trips
        ],
        claims=[_claims(geo, claims) for geo, claims in live.claims.by_geo().items()],
        levels=levels_standing(live),
        release=__version__,
    )


def levels_standing(live: LiveTopology) -> pb.LevelsStanding:
    understood = UNDERSTOOD
    return pb.LevelsStanding(
        oldest=understood.oldest, newest=understood.newest, noted=live.noted_level
    )


def _claims(geo: str, claims: Sequence[Claim]) -> pb.SlotClaims:
    return pb.SlotClaims(
        geo=geo,
        slots=[claim.slot for claim in claims],
        orders=[claim.order for claim in claims],
        groups=[claim.group for claim in claims],
    )


def _standing(core: NodeCore, number: int) -> pb.ReplicaStanding:
    replica = core.replicas.get(number)
    if replica is None:
        return pb.ReplicaStanding(group=number, refusal=core.refusal(number))
    members = replica.members
    return pb.ReplicaStanding(
        group=number,
        leads=replica.is_leader,
        term=replica.guard.term,
        leader=replica.guard.leader or "",
        voters=members.voters if members is not None else (),
        learners=members.learners if members is not None else (),
        committed=replica.members_committed,
        removed=replica.is_removed,
        refusal=core.refusal(number),
    )
